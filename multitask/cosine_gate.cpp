// Cosine gate: Du, Czarnecki, Jayakumar, Farajtabar, Pascanu, Lakshminarayanan, "Adapting Auxiliary
// Losses Using Gradient Similarity", arXiv 1812.02224.
//
//   c_j = cos(g_main, g_j),  0 when a gradient is zero
//   d   = g_main + sum_j [c_j >= 0] g_j       form=unweighted, Algorithm 1
//   d   = g_main + sum_j max(0, c_j) g_j      form=weighted, Algorithm 2 (appendix C)
//
// beta > 0 smooths the cosines over the steps, c_j <- beta c_j + (1 - beta) cos, corrected for the
// start as in Adam: a gate then opens and closes with the trend rather than with the batch.
//
// Each auxiliary is compared with the main task only. Either way <g_main, d> >= |g_main|^2, so
// every step is a descent direction of the main loss (Proposition 1); not so with averages.
#include <concord/multitask/methods.h>

#include <algorithm>
#include <cmath>

namespace concord::multitask {

namespace {

class CosineGate : public Aggregator {
 public:
  CosineGate(int main, bool weighted, double beta)
      : Aggregator("cosine_gate"), main_(main), weighted_(weighted), beta_(beta) {}

  void save(State& state) const override {
    if (beta_ == 0) return;
    state["cosine_gate.cosines"] = cosines_;
    state["cosine_gate.steps"] = steps_;
  }
  void load(const State& state) override {
    if (beta_ == 0) return;
    const auto found = state.find("cosine_gate.cosines");
    const std::size_t size = found == state.end() ? 0 : found->second.size();
    cosines_ = state_entry(state, "cosine_gate", "cosine_gate.cosines", size);
    steps_ = state_entry(state, "cosine_gate", "cosine_gate.steps", size);
  }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const int main = in.row_of(main_);
    if (main < 0) {  // nothing to judge the auxiliaries by: all gates stay closed
      out.note = "main task absent";
      return;
    }
    for (int r = 0; r < in.rows(); ++r) {
      const double cosine = smoothed(in.gram.cosine(main, r), in.task(r));
      const double gate = weighted_ ? std::max(cosine, 0.0) : (cosine >= 0 ? 1.0 : 0.0);
      out.weights[static_cast<std::size_t>(r)] = r == main ? 1.0 : gate;
    }
  }

  double smoothed(double cosine, int task) {
    if (beta_ == 0) return cosine;
    const auto t = static_cast<std::size_t>(task);
    if (t >= cosines_.size()) {
      cosines_.resize(t + 1, 0.0);
      steps_.resize(t + 1, 0.0);
    }
    cosines_[t] = beta_ * cosines_[t] + (1 - beta_) * cosine;
    steps_[t] += 1;
    return cosines_[t] / (1 - std::pow(beta_, steps_[t]));
  }

  int main_;
  bool weighted_;
  double beta_;
  std::vector<double> cosines_, steps_;  // by task
};

}  // namespace

AggregatorPtr make_cosine_gate(Options& options) {
  const int main = options.integer("main", 0, 0, 1 << 30);
  const bool weighted = options.choice("form", {"unweighted", "weighted"}) == "weighted";
  return std::make_unique<CosineGate>(main, weighted, options.number("beta", 0, 0, 0.999999));
}

}  // namespace concord::multitask
