// MGDA: Desideri 2012; Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization",
// NeurIPS 2018, arXiv 1810.04650:
//
//   w = argmin over the simplex of |J^T w|^2,  d = J^T w
//
// d is the shortest convex combination of the gradients: <g_t, d> >= |d|^2 for every task, and d =
// 0 exactly at Pareto-stationary points. Found exactly (the published codes iterate Frank-Wolfe or
// projected descent and stop early).
#include <concord/multitask/methods.h>
#include <concord/multitask/solvers/residual.h>
#include <concord/multitask/solvers/simplex.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

enum class Normalize { none, l2, loss, loss_plus };

struct Setting {
  Normalize normalize;
  bool combine_normalized;  // d from the normalised rows (LibMTL) or from the raw ones (the
                            // authors' code)
  bool times_tasks;
};

class Mgda : public Aggregator {
 public:
  explicit Mgda(Setting setting) : Aggregator("mgda"), set_(setting) {}

  bool needs_losses() const override {
    return set_.normalize == Normalize::loss || set_.normalize == Normalize::loss_plus;
  }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const Gram* gram = &in.gram;
    if (set_.normalize != Normalize::none) {
      scale_rows(in);
      gram = &scaled_;
    }
    solver_.min_norm(*gram, out.weights);
    out.residual = simplex_residual(*gram, out.weights, out.weights);
    double length = 0;
    for (int t = 0; t < in.rows(); ++t)
      length += out.weights[static_cast<std::size_t>(t)] * gram->norm(t);
    if (gram->squared_norm(out.weights) <= 1e-14 * length * length) out.note = "pareto-stationary";
    for (int t = 0; t < in.rows(); ++t) {
      double& w = out.weights[static_cast<std::size_t>(t)];
      if (set_.combine_normalized && set_.normalize != Normalize::none)
        w *= factors_[static_cast<std::size_t>(t)];
      if (set_.times_tasks) w *= in.rows();
    }
  }

  /// The Gram matrix of g_t / |g_t| (l2), g_t / L_t (loss) or g_t / (L_t |g_t|) (loss+).
  void scale_rows(const StepInputs& in) {
    const int rows = in.rows();
    factors_.resize(static_cast<std::size_t>(rows));
    for (int t = 0; t < rows; ++t) {
      double divisor = 1;
      if (set_.normalize != Normalize::l2) divisor = in.losses[static_cast<std::size_t>(t)];
      if (!(divisor > 0)) {
        throw ValueError(fmt::format("mgda: loss of task {} is {}, normalize=loss needs losses > 0",
                                     in.task(t), divisor));
      }
      const double norm = in.gram.norm(t);
      if (set_.normalize != Normalize::loss && norm > 0) divisor *= norm;
      factors_[static_cast<std::size_t>(t)] = 1 / divisor;
    }
    scaled_.resize(rows);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j <= i; ++j) {
        scaled_.set(i, j,
                    in.gram(i, j) * factors_[static_cast<std::size_t>(i)] *
                        factors_[static_cast<std::size_t>(j)]);
      }
    }
  }

  Setting set_;
  SimplexSolver solver_;
  Gram scaled_;
  std::vector<double> factors_;
};

}  // namespace

AggregatorPtr make_mgda(Options& options) {
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const std::string normalize = options.choice("normalize", {"none", "l2", "loss", "loss+"});
  Setting setting{Normalize::none, preset == "libmtl",
                  options.choice("times", {"one", "tasks"}) == "tasks"};
  if (normalize == "l2") setting.normalize = Normalize::l2;
  if (normalize == "loss") setting.normalize = Normalize::loss;
  if (normalize == "loss+") setting.normalize = Normalize::loss_plus;
  return std::make_unique<Mgda>(setting);
}

}  // namespace concord::multitask
