// FairGrad and Nash-MTL: alpha-fair directions. With w > 0,
//
//   FairGrad (Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, arXiv
//   2402.15638):                                  G w = w^(-1/alpha),  d = J^T w
//   Nash-MTL (Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, arXiv
//   2202.01017):
//                                                 G w = 1 / w          (alpha = 1)
//
// The progress of task t is <g_t, d> = w_t^(-1/alpha) > 0: alpha = 0 gives w = 1 (the sum), large
// alpha approaches equal progress. For alpha = 1, |d|^2 = T always. Zero gradients have no
// equation; their weight is 0. Where a convex combination of the gradients vanishes there is no
// solution: d = 0 and the note says so.
#include <concord/multitask/methods.h>
#include <concord/multitask/solvers/fair.h>
#include <concord/multitask/solvers/simplex.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace concord::multitask {

namespace {

class Fair : public Aggregator {
 public:
  /// `max_norm` bounds |d|; 0: no bound. `mean` divides by T.
  Fair(std::string name, double alpha, double max_norm, bool mean)
      : Aggregator(std::move(name)), alpha_(alpha), max_norm_(max_norm), mean_(mean) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    if (alpha_ > 0) {
      solve_equations(in.gram, out);
    } else {
      std::fill(out.weights.begin(), out.weights.end(), 1.0);
    }
    double factor = mean_ ? 1.0 / in.rows() : 1.0;
    if (max_norm_ > 0) {
      const double norm = factor * std::sqrt(in.gram.squared_norm(out.weights));
      if (norm > max_norm_) factor *= max_norm_ / norm;
    }
    for (double& w : out.weights) w *= factor;
  }

  void solve_equations(const Gram& gram, Direction& out) {
    rows_.clear();
    for (int t = 0; t < gram.tasks(); ++t) {
      if (gram(t, t) > 0) rows_.push_back(t);
    }
    const auto n = static_cast<int>(rows_.size());
    if (n == 0) {
      out.note = "all gradients are zero";
      return;
    }
    present_.resize(n);
    cosines_.resize(n);
    for (int i = 0; i < n; ++i) {
      const int a = rows_[static_cast<std::size_t>(i)];
      for (int j = 0; j <= i; ++j) {
        const int b = rows_[static_cast<std::size_t>(j)];
        present_.set(i, j, gram(a, b));
        cosines_.set(i, j, gram.cosine(a, b));
      }
    }
    w_.resize(rows_.size());
    nearest_.min_norm(cosines_, w_);
    if (cosines_.squared_norm(w_) <= 1e-14) {
      out.note = "pareto-stationary";
      return;
    }
    const double p = 1 / alpha_;
    solver_.solve(present_, p, w_);
    for (int i = 0; i < n; ++i) {
      const auto k = static_cast<std::size_t>(i);
      const auto g = present_.row(i);
      double progress = 0;
      for (std::size_t j = 0; j < g.size(); ++j) progress += g[j] * w_[j];
      out.residual = std::max(out.residual, std::abs(progress * std::pow(w_[k], p) - 1));
      out.weights[static_cast<std::size_t>(rows_[k])] = w_[k];
    }
  }

  double alpha_, max_norm_;
  bool mean_;
  SimplexSolver nearest_;
  FairSolver solver_;
  Gram present_, cosines_;
  std::vector<int> rows_;
  std::vector<double> w_;
};

constexpr double kMax = std::numeric_limits<double>::max();

}  // namespace

AggregatorPtr make_nash_mtl(Options& options) {
  // Both libraries bound |d| by 1; max_norm = 0 leaves the solution as it is.
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const double max_norm = options.number("max_norm", preset == "paper" ? 0 : 1, 0, kMax);
  return std::make_unique<Fair>("nash_mtl", 1.0, max_norm, false);
}

AggregatorPtr make_fairgrad(Options& options) {
  const double alpha = options.number("alpha", 1, 0, kMax);
  // TorchJD's alpha = 0 is the mean; the limit of the equations is the sum.
  const bool mean =
      options.choice("preset", {"paper", "torchjd", "libmtl"}) == "torchjd" && alpha == 0;
  return std::make_unique<Fair>("fairgrad", alpha, options.number("max_norm", 0, 0, kMax), mean);
}

}  // namespace concord::multitask
