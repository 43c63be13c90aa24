// CAGrad: Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning",
// NeurIPS 2021, arXiv 2110.14048:
//
//   d = argmax_d min_t <g_t, d>  subject to  |d - g_0| <= c |g_0|,   g_0 = mean of the gradients
//
// Through the dual: w minimises <g_w, g_0> + c |g_0| |g_w| over the simplex, g_w = J^T w, and
// d = g_0 + lambda g_w with lambda = c |g_0| / |g_w|. All terms follow from the Gram matrix.
//
// CAGrad-Fast (same paper, section 4.3) looks after `sample` tasks S drawn anew in each step, and
// after the mean of the others: the minimum is over <g_t, d>, t in S, and <mean of the rest, d>.
// (The authors' code leaves one of the others out of that mean.)
//
// c = 0 is gradient descent on the mean; c -> infinity turns towards MGDA's direction. Where g_w =
// 0 (a Pareto-stationary point with no better direction in the ball) the second term is undefined:
// d = g_0 for c < 1, so that descent on the mean goes on, and d = 0 for c >= 1; the note says so.
#include <concord/multitask/methods.h>
#include <concord/multitask/solvers/residual.h>
#include <concord/multitask/solvers/simplex.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

namespace concord::multitask {

namespace {

enum class Scale { none, one_plus_c, one_plus_c2, one_plus_lambda };

class CaGrad : public Aggregator {
 public:
  CaGrad(std::string name, double c, Scale scale, bool times_tasks)
      : Aggregator(std::move(name)), c_(c), scale_(scale), times_tasks_(times_tasks) {}

 protected:
  /// Fills w, on the simplex, and g_w's length. False when g_w = 0.
  virtual bool minimise_dual(const StepInputs& in, std::span<const double> g0, double norm,
                             double radius, std::span<double> w) {
    return solver_.conflict_averse(in.gram, g0, norm, radius, w);
  }
  /// How far the answer is from the optimum.
  virtual double residual(const Gram& gram, std::span<const double> w,
                          std::span<const double> direction) {
    return simplex_residual(gram, w, direction);
  }

  SimplexSolver solver_;

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
      if (minimise_dual(in, g0_, norm, radius, w_)) {
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
    if (lambda > 0) out.residual = residual(gram, w_, out.weights);

    double factor = times_tasks_ ? in.rows() : 1.0;
    if (scale_ == Scale::one_plus_c) factor /= 1 + c_;
    if (scale_ == Scale::one_plus_c2) factor /= 1 + c_ * c_;
    if (scale_ == Scale::one_plus_lambda) factor /= 1 + lambda;
    for (double& w : out.weights) w *= factor;
  }

  double c_;
  Scale scale_;
  bool times_tasks_;
  std::vector<double> mean_, g0_, w_;
};

/// The same dual over the sampled rows and the mean of the rest, as rows of their own: the Gram
/// matrix B G B^T, where B picks and averages.
class CaGradFast : public CaGrad {
 public:
  CaGradFast(double c, Scale scale, bool times_tasks, int sample)
      : CaGrad("cagrad_fast", c, scale, times_tasks), sample_(sample) {}

 private:
  bool minimise_dual(const StepInputs& in, std::span<const double> g0, double norm, double radius,
                     std::span<double> w) override {
    const int tasks = in.rows();
    order_.resize(static_cast<std::size_t>(tasks));
    in.rng.fork(static_cast<std::uint64_t>(in.step)).permutation(order_);
    picked_ = std::min(sample_, tasks);
    const int rows = picked_ + (picked_ < tasks);
    reduced_.resize(rows);
    g0_of_row_.assign(static_cast<std::size_t>(rows), 0.0);
    w_of_row_.resize(static_cast<std::size_t>(rows));
    for (int i = 0; i < tasks; ++i) {
      const int a = task_at(i);
      g0_of_row_[static_cast<std::size_t>(row_of(i))] += share(i) * g0[static_cast<std::size_t>(a)];
      for (int j = 0; j < tasks; ++j) {
        const double entry = share(i) * share(j) * in.gram(a, task_at(j));
        if (row_of(j) <= row_of(i))
          reduced_.set(row_of(i), row_of(j), reduced_(row_of(i), row_of(j)) + entry);
      }
    }
    const bool found = solver_.conflict_averse(reduced_, g0_of_row_, norm, radius, w_of_row_);
    for (int i = 0; i < tasks; ++i) {
      w[static_cast<std::size_t>(task_at(i))] =
          share(i) * w_of_row_[static_cast<std::size_t>(row_of(i))];
    }
    return found;
  }

  double residual(const Gram& gram, std::span<const double>,
                  std::span<const double> direction) override {
    // <row, d> of the sampled rows and of the mean of the rest.
    reduced_progress_.assign(w_of_row_.size(), 0.0);
    progress_.resize(direction.size());
    gram.times(direction, progress_);
    for (int i = 0; i < gram.tasks(); ++i) {
      reduced_progress_[static_cast<std::size_t>(row_of(i))] +=
          share(i) * progress_[static_cast<std::size_t>(task_at(i))];
    }
    double mean = 0, longest = 0, length = 0;
    for (std::size_t k = 0; k < w_of_row_.size(); ++k) mean += w_of_row_[k] * reduced_progress_[k];
    for (int t = 0; t < gram.tasks(); ++t) {
      longest = std::max(longest, gram.norm(t));
      length += std::abs(direction[static_cast<std::size_t>(t)]) * gram.norm(t);
    }
    const double least = *std::min_element(reduced_progress_.begin(), reduced_progress_.end());
    return std::max(mean - least, 0.0) / (longest * length);
  }

  int task_at(int i) const { return static_cast<int>(order_[static_cast<std::size_t>(i)]); }
  /// The row of the i-th task in order, and its share of it.
  int row_of(int i) const { return std::min(i, picked_); }
  double share(int i) const {
    return i < picked_ ? 1.0 : 1.0 / (static_cast<int>(order_.size()) - picked_);
  }

  int sample_, picked_ = 0;
  std::vector<index_t> order_;
  Gram reduced_;
  std::vector<double> g0_of_row_, w_of_row_, progress_, reduced_progress_;
};

/// Options common to both; the presets only move the default of `scale`.
struct Common {
  double c;
  Scale scale;
  bool times_tasks;
};

Common read(Options& options, std::string_view standard_scale) {
  const double c = options.number("c", 0.5, 0, std::numeric_limits<double>::max());
  const std::string text =
      options.choice("scale", {"none", "1+c", "1+c^2", "1+lambda"}, standard_scale);
  Scale scale = Scale::none;
  if (text == "1+c") scale = Scale::one_plus_c;
  if (text == "1+c^2") scale = Scale::one_plus_c2;
  if (text == "1+lambda") scale = Scale::one_plus_lambda;
  return {c, scale, options.choice("times", {"one", "tasks"}) == "tasks"};
}

}  // namespace

AggregatorPtr make_cagrad(Options& options) {
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const Common o = read(options, preset == "libmtl" ? "1+c^2" : "none");
  return std::make_unique<CaGrad>("cagrad", o.c, o.scale, o.times_tasks);
}

AggregatorPtr make_cagrad_fast(Options& options) {
  const Common o = read(options, "1+c");  // as in the authors' reinforcement learning
  return std::make_unique<CaGradFast>(o.c, o.scale, o.times_tasks,
                                      options.integer("sample", 4, 1, 1 << 20));
}

}  // namespace concord::multitask
