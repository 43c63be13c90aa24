// UPGrad and DualProj: projections onto the dual cone C = {d: <g_t, d> >= 0 for all t} of the
// gradients.
//
//   DualProj (Lopez-Paz and Ranzato, "Gradient Episodic Memory", arXiv 1706.08840):
//     d = P_C(J^T p)
//   UPGrad (Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", arXiv
//   2406.16232):
//     d = sum_t P_C(p_t g_t)
//
// with the preference p (default 1/T). P_C(J^T u) = J^T v where v minimises v^T G v over v >= u: a
// quadratic program in T variables, solved exactly. Neither method makes a task worse to first
// order; UPGrad is linear in the length of each gradient besides.
//
// preset=torchjd divides G by its trace (a trace below 1e-4 counts as G = 0) and adds 1e-4 to the
// diagonal, as TorchJD does to please its solver; the answer then differs in the fourth digit.
#include <concord/multitask/methods.h>
#include <concord/multitask/preference.h>
#include <concord/multitask/solvers/cone.h>
#include <concord/multitask/solvers/residual.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

class ConeProjection : public Aggregator {
 public:
  ConeProjection(std::string name, bool each, Preference preference, bool regularize)
      : Aggregator(std::move(name)),
        each_(each),
        preference_(std::move(preference)),
        regularize_(regularize) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const auto rows = static_cast<std::size_t>(in.rows());
    for (auto* v : {&preferred_, &u_, &v_, &b_, &y_}) v->assign(rows, 0.0);
    preference_.fill(in, preferred_);
    const Gram& gram = regularize_ ? regularized(in.gram) : in.gram;
    if (!each_) {
      u_ = preferred_;
      project(gram, out);
      return;
    }
    // Few tasks: the next program starts from the last one's answer, since neighbouring projections
    // share much of it. Many tasks: a fresh start ends sooner (solvers/cone.h).
    for (std::size_t t = 0; t < rows; ++t) {
      if (rows > 16) std::fill(y_.begin(), y_.end(), 0.0);
      u_[t] = preferred_[t];
      project(gram, out);
      u_[t] = 0;
    }
  }

  /// Adds the weights of P_C(J^T u) to the answer.
  void project(const Gram& gram, Direction& out) {
    gram.times(u_, b_);
    solver_.solve(gram, b_, std::sqrt(gram.squared_norm(u_)), y_);
    for (std::size_t t = 0; t < u_.size(); ++t) {
      v_[t] = u_[t] + y_[t];
      out.weights[t] += v_[t];
    }
    out.residual = std::max(out.residual, cone_residual(gram, u_, v_));
  }

  const Gram& regularized(const Gram& gram) {
    double trace = 0;
    for (int t = 0; t < gram.tasks(); ++t) trace += gram(t, t);
    const double factor = trace < 1e-4 ? 0.0 : 1 / trace;
    regularized_.resize(gram.tasks());
    for (int i = 0; i < gram.tasks(); ++i) {
      for (int j = 0; j <= i; ++j)
        regularized_.set(i, j, gram(i, j) * factor + (i == j ? 1e-4 : 0.0));
    }
    return regularized_;
  }

  bool each_;
  Preference preference_;
  bool regularize_;
  ConeSolver solver_;
  Gram regularized_;
  std::vector<double> preferred_, u_, v_, b_, y_;
};

AggregatorPtr make(Options& options, bool each) {
  const bool regularize = options.choice("preset", {"paper", "torchjd"}) == "torchjd";
  return std::make_unique<ConeProjection>(options.method(), each, Preference::from(options, "mean"),
                                          regularize);
}

}  // namespace

AggregatorPtr make_upgrad(Options& options) { return make(options, true); }
AggregatorPtr make_dualproj(Options& options) { return make(options, false); }

}  // namespace concord::multitask
