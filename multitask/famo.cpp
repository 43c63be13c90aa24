// FAMO: Liu, Feng, Stone, Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, arXiv
// 2306.03792, Algorithm 1. With D_t = L_t - low_t + 1e-8 and z = softmax(xi), xi = 0 at first:
//
//   w_t = c z_t / D_t,   c = 1 / sum_j (z_j / D_j)
//   after the step, on the same batch:   delta_t = log D_t(before) - log D_t(after)
//   xi descends along (d softmax / d xi)^T delta + gamma xi, by Adam with the rate lr
//
// so that tasks that fell less than the others gain weight; the weights sum to 1. `low` are lower
// bounds on the losses, 0 by default.
#include <concord/multitask/learned.h>
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace concord::multitask {

namespace {

class Famo : public Aggregator {
 public:
  Famo(double lr, double gamma, std::vector<double> low)
      : Aggregator("famo"), xi_(0, lr, gamma), low_(std::move(low)) {}

  bool needs_losses() const override { return true; }
  bool needs_losses_after() const override { return true; }
  void save(State& state) const override { xi_.save(state, "famo.xi"); }
  void load(const State& state) override { xi_.load(state, "famo", "famo.xi"); }

 private:
  double log_gap(std::size_t task, double loss) const {
    if (!low_.empty() && task >= low_.size()) {
      throw ShapeError(
          fmt::format("famo: option low has {} numbers, none for task {}", low_.size(), task));
    }
    const double gap = loss - (low_.empty() ? 0.0 : low_[task]) + 1e-8;
    if (!(gap > 0)) {
      throw NumericError(
          fmt::format("famo: loss of task {} is {}, expected a value above its "
                      "lower bound {}",
                      task, loss, low_.empty() ? 0.0 : low_[task]));
    }
    return std::log(gap);
  }

  void solve(const StepInputs& in, Direction& out) override {
    const std::size_t rows = out.weights.size();
    tasks_.resize(rows);
    before_.resize(rows);
    z_.resize(rows);
    double most = -std::numeric_limits<double>::infinity();
    for (std::size_t r = 0; r < rows; ++r) {
      tasks_[r] = static_cast<std::size_t>(in.task(static_cast<int>(r)));
      before_[r] = log_gap(tasks_[r], in.losses[r]);
      z_[r] = xi_.value(tasks_[r]);
      most = std::max(most, z_[r]);
    }
    double sum = 0, total = 0;
    for (double& z : z_) sum += z = std::exp(z - most);
    for (std::size_t r = 0; r < rows; ++r) {
      z_[r] /= sum;
      out.weights[r] = z_[r] * std::exp(-before_[r]);
      total += out.weights[r];
    }
    for (double& w : out.weights) w /= total;
  }

  void learn(std::span<const double> losses) override {
    double mean = 0;
    for (std::size_t r = 0; r < losses.size(); ++r) {
      before_[r] -= log_gap(tasks_[r], losses[r]);  // delta
      mean += z_[r] * before_[r];
    }
    for (std::size_t r = 0; r < losses.size(); ++r)
      xi_.descend(tasks_[r], z_[r] * (before_[r] - mean));
  }

  LearnedPerTask xi_;
  std::vector<double> low_;
  std::vector<std::size_t> tasks_;  // of the rows of the step under way
  std::vector<double> before_, z_;  // log D before the step, and softmax
};

}  // namespace

AggregatorPtr make_famo(Options& options) {
  constexpr double kMax = std::numeric_limits<double>::max();
  const double lr = options.number("lr", 0.025, 0, kMax);
  const double gamma = options.number("gamma", 0.001, 0, kMax);
  return std::make_unique<Famo>(lr, gamma, options.numbers("low"));
}

}  // namespace concord::multitask
