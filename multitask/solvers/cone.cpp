#include <concord/multitask/solvers/cone.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

void ConeSolver::minimise_on_face(std::span<const double> b, std::span<double> y) {
  while (factor_.size() > 0) {
    const int k = factor_.size();
    for (int p = 0; p < k; ++p)
      x_[static_cast<std::size_t>(p)] = -b[static_cast<std::size_t>(factor_[p])];
    factor_.solve(std::span(x_).first(static_cast<std::size_t>(k)));
    double step = 1;
    int leaving = -1;
    for (int p = 0; p < k; ++p) {
      const double now = y[static_cast<std::size_t>(factor_[p])],
                   target = x_[static_cast<std::size_t>(p)];
      if (target > 0) continue;
      const double ratio = now > 0 ? now / (now - target) : 0;
      if (ratio < step || leaving < 0) {
        step = ratio;
        leaving = p;
      }
    }
    for (int p = 0; p < k; ++p) {
      double& value = y[static_cast<std::size_t>(factor_[p])];
      value = leaving < 0 ? x_[static_cast<std::size_t>(p)]
                          : std::max(0.0, value + step * (x_[static_cast<std::size_t>(p)] - value));
    }
    if (leaving < 0) return;
    y[static_cast<std::size_t>(factor_[leaving])] = 0;
    factor_.remove(leaving);
  }
}

void ConeSolver::solve(const Gram& gram, std::span<const double> b, double scale,
                       std::span<double> y) {
  const int tasks = gram.tasks();
  const auto n = static_cast<std::size_t>(tasks);
  x_.resize(n);
  gradient_.resize(n);
  blocked_.assign(n, 0);
  factor_.reset(gram, 0);
  for (int t = 0; t < tasks; ++t) {
    double& value = y[static_cast<std::size_t>(t)];
    if (value > 0 && !factor_.append(t)) value = 0;
  }
  minimise_on_face(b, y);

  constexpr double kEps = std::numeric_limits<double>::epsilon();
  for (int iteration = 0; iteration < 20 * tasks + 20; ++iteration) {
    gram.times(y, gradient_);
    double length =
        scale;  // bounds |J^T y| + |J^T u| from above, for the rounding error of <g_t, d>
    for (int t = 0; t < tasks; ++t) length += y[static_cast<std::size_t>(t)] * gram.norm(t);
    int entering = -1;
    double steepest = 0;
    for (int t = 0; t < tasks; ++t) {
      const auto i = static_cast<std::size_t>(t);
      gradient_[i] += b[i];
      if (blocked_[i] || gram(t, t) == 0 || factor_.contains(t)) continue;
      const double slope = gradient_[i] / gram.norm(t);
      if (slope < -4 * tasks * kEps * length && slope < steepest) {
        steepest = slope;
        entering = t;
      }
    }
    if (entering < 0) return;
    const auto e = static_cast<std::size_t>(entering);
    if (!factor_.append(entering)) {
      blocked_[e] = 1;  // depends on the set within rounding: its slope is rounding error as well
      continue;
    }
    minimise_on_face(b, y);
    if (y[e] > 0) {
      std::fill(blocked_.begin(), blocked_.end(), 0);
    } else {
      blocked_[e] = 1;  // entered and left at once: rounding, not descent
    }
  }
}

}  // namespace concord::multitask
