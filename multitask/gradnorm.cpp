// GradNorm: Chen, Badrinarayanan, Lee, Rabinovich, ICML 2018, arXiv 1711.02257. The weights are
// learned so that the weighted gradients' norms follow the tasks' rates of training:
//
//   N_t = w_t |g_t|,   r_t = (L_t / L_t(0)) / mean_j (L_j / L_j(0))
//   minimise over w   sum_t |N_t - target_t|,   target_t = mean_j N_j * r_t^alpha held fixed
//
// The derivative is |g_t| sign(N_t - target_t): the Gram matrix's diagonal is all that is needed.
// w = T softmax(s) keeps the weights positive and their sum at T (the paper renormalises); s
// follows Adam with the rate lr. L_t(0) is the task's first loss.
#include <concord/multitask/learned.h>
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

class GradNorm : public Aggregator {
 public:
  GradNorm(double alpha, double lr) : Aggregator("gradnorm"), alpha_(alpha), s_(0, lr) {}

  bool needs_losses() const override { return true; }
  void save(State& state) const override {
    s_.save(state, "gradnorm.s");
    state["gradnorm.first_losses"] = first_losses_;
  }
  void load(const State& state) override {
    s_.load(state, "gradnorm", "gradnorm.s");
    const auto found = state.find("gradnorm.first_losses");
    first_losses_ = state_entry(state, "gradnorm", "gradnorm.first_losses",
                                found == state.end() ? 0 : found->second.size());
  }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    for (int r = 0; r < in.rows(); ++r) {
      const double loss = in.losses[static_cast<std::size_t>(r)];
      if (!(loss > 0)) {
        throw NumericError(fmt::format("gradnorm: loss of task {} is {}, expected a positive value",
                                       in.task(r), loss));
      }
    }
    const int rows = in.rows();
    rates_.resize(out.weights.size());
    double most = -std::numeric_limits<double>::infinity(), sum = 0, mean_rate = 0, mean_norm = 0;
    for (int r = 0; r < rows; ++r)
      most = std::max(most, s_.value(static_cast<std::size_t>(in.task(r))));
    for (int r = 0; r < rows; ++r) {
      const auto t = static_cast<std::size_t>(in.task(r)), i = static_cast<std::size_t>(r);
      if (t >= first_losses_.size()) first_losses_.resize(t + 1, 0.0);
      if (first_losses_[t] == 0) first_losses_[t] = in.losses[i];
      rates_[i] = in.losses[i] / first_losses_[t];
      mean_rate += rates_[i] / rows;
      out.weights[i] = std::exp(s_.value(t) - most);
      sum += out.weights[i];
    }
    for (int r = 0; r < rows; ++r) {
      double& w = out.weights[static_cast<std::size_t>(r)];
      w *= rows / sum;
      mean_norm += w * in.gram.norm(r) / rows;
    }
    // Through the softmax: dF/ds_t = w_t (slope_t - sum_j w_j slope_j / T).
    double mean_slope = 0;
    for (int r = 0; r < rows; ++r) {
      const auto i = static_cast<std::size_t>(r);
      const double norm = in.gram.norm(r);
      const double gap =
          out.weights[i] * norm - mean_norm * std::pow(rates_[i] / mean_rate, alpha_);
      rates_[i] = gap > 0 ? norm : gap < 0 ? -norm : 0;
      mean_slope += out.weights[i] * rates_[i] / rows;
    }
    for (int r = 0; r < rows; ++r) {
      const auto i = static_cast<std::size_t>(r);
      s_.descend(static_cast<std::size_t>(in.task(r)), out.weights[i] * (rates_[i] - mean_slope));
    }
  }

  double alpha_;
  LearnedPerTask s_;
  std::vector<double> first_losses_;  // by task; 0: not seen yet
  std::vector<double> rates_;         // r_t, then the slopes
};

}  // namespace

AggregatorPtr make_gradnorm(Options& options) {
  constexpr double kMax = std::numeric_limits<double>::max();
  const double alpha = options.number("alpha", 1.5, 0, kMax);
  return std::make_unique<GradNorm>(alpha, options.number("lr", 0.025, 0, kMax));
}

}  // namespace concord::multitask
