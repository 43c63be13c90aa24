// CAGrad: Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning",
// NeurIPS 2021, arXiv 2110.14048:
//
//   d = argmax_d min_t <g_t, d>  subject to  |d - g_0| <= c |g_0|,   g_0 = mean of the gradients
//
// Through the dual: w minimises <g_w, g_0> + c |g_0| |g_w| over the simplex, g_w = J^T w, and
// d = g_0 + lambda g_w with lambda = c |g_0| / |g_w|. All terms follow from the Gram matrix.
//
// c = 0 is gradient descent on the mean; c -> infinity turns towards MGDA's direction. Where g_w =
// 0 (a Pareto-stationary point with no better direction in the ball) the second term is undefined:
// d = g_0 for c < 1, so that descent on the mean goes on, and d = 0 for c >= 1; the note says so.
#include <concord/multitask/methods.h>
#include <concord/multitask/solvers/residual.h>
#include <concord/multitask/solvers/simplex.h>

#include <cmath>
#include <limits>
#include <string>

namespace concord::multitask {

namespace {

enum class Scale { none, one_plus_c, one_plus_c2, one_plus_lambda };

class CaGrad : public Aggregator {
 public:
  CaGrad(double c, Scale scale, bool times_tasks)
      : Aggregator("cagrad"), c_(c), scale_(scale), times_tasks_(times_tasks) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const Gram& gram = in.gram;
    const auto rows = static_cast<std::size_t>(in.rows());
    const double share = 1.0 / in.rows();
    mean_.assign(rows, share);
    g0_.resize(rows);
    w_.resize(rows);
    gram.times(mean_, g0_);
    const double norm = std::sqrt(gram.squared_norm(mean_));
    const double radius = c_ * norm;

    double lambda = 0;
    bool zero = false;
    if (radius > 0) {
      if (solver_.conflict_averse(gram, g0_, norm, radius, w_)) {
        lambda = radius / std::sqrt(gram.squared_norm(w_));
      } else {
        out.note = "pareto-stationary";
        zero = c_ >= 1;
      }
    } else if (norm == 0) {
      out.note = "mean gradient is zero";
    }
    for (std::size_t t = 0; t < rows; ++t)
      out.weights[t] = zero ? 0.0 : share + lambda * (lambda > 0 ? w_[t] : 0.0);
    if (lambda > 0) out.residual = simplex_residual(gram, w_, out.weights);

    double factor = times_tasks_ ? in.rows() : 1.0;
    if (scale_ == Scale::one_plus_c) factor /= 1 + c_;
    if (scale_ == Scale::one_plus_c2) factor /= 1 + c_ * c_;
    if (scale_ == Scale::one_plus_lambda) factor /= 1 + lambda;
    for (double& w : out.weights) w *= factor;
  }

  double c_;
  Scale scale_;
  bool times_tasks_;
  SimplexSolver solver_;
  std::vector<double> mean_, g0_, w_;
};

}  // namespace

AggregatorPtr make_cagrad(Options& options) {
  // The presets only move the default of `scale`.
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const double c = options.number("c", 0.5, 0, std::numeric_limits<double>::max());
  const std::string text = options.choice("scale", {"none", "1+c", "1+c^2", "1+lambda"},
                                          preset == "libmtl" ? "1+c^2" : "none");
  Scale scale = Scale::none;
  if (text == "1+c") scale = Scale::one_plus_c;
  if (text == "1+c^2") scale = Scale::one_plus_c2;
  if (text == "1+lambda") scale = Scale::one_plus_lambda;
  return std::make_unique<CaGrad>(c, scale, options.choice("times", {"one", "tasks"}) == "tasks");
}

}  // namespace concord::multitask
