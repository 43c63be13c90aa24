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
//
// mains=0,1,0,1 is several such pairs in one matrix: entry j is the main task of task j, and a task
// that is its own main counts in full. T policies that share a trunk, each with a teacher of its
// own, are mains=0,...,T-1,0,...,T-1. A pair that is let in does not turn against its own main
// task; what it does to the others' is not looked at.
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::multitask {

namespace {

class CosineGate : public Aggregator {
 public:
  /// Empty `mains`: `main` is that of all tasks.
  CosineGate(int main, std::vector<int> mains, bool weighted, double beta)
      : Aggregator("cosine_gate"),
        main_(main),
        mains_(std::move(mains)),
        weighted_(weighted),
        beta_(beta) {}

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
    for (int r = 0; r < in.rows() && !mains_.empty(); ++r) {
      if (static_cast<std::size_t>(in.task(r)) >= mains_.size()) {
        throw ShapeError(
            fmt::format("cosine_gate: {} mains, none for task {}", mains_.size(), in.task(r)));
      }
    }
    for (int r = 0; r < in.rows(); ++r) {
      double& weight = out.weights[static_cast<std::size_t>(r)];
      const int task = in.task(r), main = main_of(task), main_row = in.row_of(main);
      if (task == main) {
        weight = 1;
      } else if (main_row < 0) {  // nothing to judge the auxiliary by: its gate stays closed
        out.note = "main task absent";
      } else {
        const double cosine = smoothed(in.gram.cosine(main_row, r), task);
        weight = weighted_ ? std::max(cosine, 0.0) : (cosine >= 0 ? 1.0 : 0.0);
      }
    }
  }

  int main_of(int task) const {
    return mains_.empty() ? main_ : mains_[static_cast<std::size_t>(task)];
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
  std::vector<int> mains_;  // by task
  bool weighted_;
  double beta_;
  std::vector<double> cosines_, steps_;  // by task
};

std::vector<int> read_mains(Options& options) {
  std::vector<int> mains;
  const std::vector<double> given = options.numbers("mains");
  for (const double entry : given) {
    const bool a_task = entry >= 0 && entry < static_cast<double>(given.size());
    if (!a_task || given[static_cast<std::size_t>(entry)] != entry) {
      throw ValueError(fmt::format(
          "cosine_gate: option mains names {} as a main task, expected a task from 0 to {} that is "
          "its own main",
          entry, given.size() - 1));
    }
    mains.push_back(static_cast<int>(entry));
  }
  return mains;
}

}  // namespace

AggregatorPtr make_cosine_gate(Options& options) {
  const int main = options.integer("main", 0, 0, 1 << 30);
  std::vector<int> mains = read_mains(options);
  if (main != 0 && !mains.empty())
    throw ValueError("cosine_gate: options main and mains are given, expected one of them");
  const bool weighted = options.choice("form", {"unweighted", "weighted"}) == "weighted";
  return std::make_unique<CosineGate>(main, std::move(mains), weighted,
                                      options.number("beta", 0, 0, 0.999999));
}

}  // namespace concord::multitask
