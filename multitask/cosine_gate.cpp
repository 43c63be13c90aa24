// Cosine gate: Du, Czarnecki, Jayakumar, Farajtabar, Pascanu, Lakshminarayanan, "Adapting Auxiliary
// Losses Using Gradient Similarity", arXiv 1812.02224.
//
//   c_j = cos(g_main, g_j),  0 when a gradient is zero
//   d   = g_main + sum_j [c_j >= 0] g_j       form=unweighted, Algorithm 1
//   d   = g_main + sum_j max(0, c_j) g_j      form=weighted, Algorithm 2 (appendix C)
//
// Each auxiliary is compared with the main task only. Either way <g_main, d> >= |g_main|^2, so
// every step is a descent direction of the main loss (Proposition 1).
#include <concord/multitask/methods.h>

#include <algorithm>

namespace concord::multitask {

namespace {

class CosineGate : public Aggregator {
 public:
  CosineGate(int main, bool weighted)
      : Aggregator("cosine_gate"), main_(main), weighted_(weighted) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const int main = in.row_of(main_);
    if (main < 0) {  // nothing to judge the auxiliaries by: all gates stay closed
      out.note = "main task absent";
      return;
    }
    for (int r = 0; r < in.rows(); ++r) {
      const double cosine = in.gram.cosine(main, r);
      const double gate = weighted_ ? std::max(cosine, 0.0) : (cosine >= 0 ? 1.0 : 0.0);
      out.weights[static_cast<std::size_t>(r)] = r == main ? 1.0 : gate;
    }
  }

  int main_;
  bool weighted_;
};

}  // namespace

AggregatorPtr make_cosine_gate(Options& options) {
  const int main = options.integer("main", 0, 0, 1 << 30);
  return std::make_unique<CosineGate>(
      main, options.choice("form", {"unweighted", "weighted"}) == "weighted");
}

}  // namespace concord::multitask
