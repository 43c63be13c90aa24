#include <concord/multitask/solvers/cone.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();
/// From this many tasks on, block pivoting pays.
constexpr int kManyTasks = 16;

}  // namespace

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

bool ConeSolver::pivot_in_blocks(const Gram& gram, std::span<const double> b, double scale,
                                 std::span<double> y) {
  const std::size_t n = y.size();
  const auto inside = std::span(blocked_);  // which tasks are in the set
  for (std::size_t t = 0; t < n; ++t) inside[t] = b[t] < 0 && norms_[t] > 0;
  std::size_t fewest = n + 1;
  for (int patience = 3; patience >= 0;) {
    set_.clear();
    for (std::size_t t = 0; t < n; ++t) {
      if (inside[t]) set_.push_back(static_cast<int>(t));
    }
    if (!factor_.assign(set_)) break;
    const auto x = std::span(x_).first(set_.size());
    for (std::size_t p = 0; p < x.size(); ++p) x[p] = -b[static_cast<std::size_t>(set_[p])];
    factor_.solve(x);
    std::copy(b.begin(), b.end(), gradient_.begin());
    std::fill(y.begin(), y.end(), 0.0);
    double length = scale;
    for (std::size_t p = 0; p < x.size(); ++p) {
      const auto t = static_cast<std::size_t>(set_[p]);
      const auto g = gram.row(set_[p]);
      y[t] = x[p];
      length += std::abs(x[p]) * norms_[t];
      for (std::size_t s = 0; s < n; ++s) gradient_[s] += x[p] * g[s];
    }
    // Wrong are negative y inside the set and descent outside it; each wrong task changes sides.
    const double rounding = 4 * static_cast<double>(n) * kEps * length;
    std::size_t wrong = 0;
    for (std::size_t t = 0; t < n; ++t) {
      if (inside[t] ? y[t] >= 0 : gradient_[t] >= -rounding * norms_[t]) continue;
      inside[t] = !inside[t];
      ++wrong;
    }
    if (wrong == 0) return true;
    if (wrong < fewest) {
      fewest = wrong;
      patience = 3;
    } else {
      --patience;
    }
  }
  std::fill(y.begin(), y.end(), 0.0);
  return false;
}

void ConeSolver::solve(const Gram& gram, std::span<const double> b, double scale,
                       std::span<double> y) {
  const int tasks = gram.tasks();
  const auto n = static_cast<std::size_t>(tasks);
  x_.resize(n);
  gradient_.resize(n);
  norms_.resize(n);
  for (int t = 0; t < tasks; ++t) norms_[static_cast<std::size_t>(t)] = gram.norm(t);
  factor_.reset(gram, 0);
  if (tasks >= kManyTasks) {
    set_.reserve(n);
    blocked_.resize(n);
    if (std::all_of(y.begin(), y.end(), [](double v) { return v == 0; }) &&
        pivot_in_blocks(gram, b, scale, y)) {
      return;
    }
    factor_.reset(gram, 0);
  }
  blocked_.assign(n, 0);
  for (int t = 0; t < tasks; ++t) {
    double& value = y[static_cast<std::size_t>(t)];
    if (value > 0 && !factor_.append(t)) value = 0;
  }
  minimise_on_face(b, y);

  for (int iteration = 0; iteration < 20 * tasks + 20; ++iteration) {
    gram.times(y, gradient_);
    double length =
        scale;  // bounds |J^T y| + |J^T u| from above, for the rounding error of <g_t, d>
    for (int t = 0; t < tasks; ++t)
      length += y[static_cast<std::size_t>(t)] * norms_[static_cast<std::size_t>(t)];
    int entering = -1;
    double steepest = 0;
    for (int t = 0; t < tasks; ++t) {
      const auto i = static_cast<std::size_t>(t);
      gradient_[i] += b[i];
      if (blocked_[i] || norms_[i] == 0 || factor_.contains(t)) continue;
      const double slope = gradient_[i] / norms_[i];
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
