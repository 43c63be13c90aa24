#include <concord/multitask/solvers/simplex.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace concord::multitask {

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// sum_t w_t |g_t|: what the rounding error of g_w is measured against.
double total_length(const Gram& gram, std::span<const double> w) {
  double sum = 0;
  for (int t = 0; t < gram.tasks(); ++t) sum += w[at(t)] * gram.norm(t);
  return sum;
}

/// The shift of the factor only has to be positive. The smallest squared norm lets every row keep
/// its own scale, so that short rows do not drown beside long ones.
double shift_of(const Gram& gram) {
  double shift = 0;
  for (int t = 0; t < gram.tasks(); ++t) {
    if (gram(t, t) > 0 && (shift == 0 || gram(t, t) < shift)) shift = gram(t, t);
  }
  return shift > 0 ? shift : 1.0;
}

}  // namespace

/// Starts at the vertex of the shortest gradient.
void SimplexSolver::start(const Gram& gram, std::span<double> w) {
  const int tasks = gram.tasks();
  int shortest = 0;
  for (int t = 1; t < tasks; ++t) {
    if (gram(t, t) < gram(shortest, shortest)) shortest = t;
  }
  origin_.resize(at(tasks));
  towards_.resize(at(tasks));
  gw_.resize(at(tasks));
  blocked_.resize(at(tasks));
  factor_.reset(gram, shift_of(gram));
  factor_.append(shortest);
  std::fill(w.begin(), w.end(), 0.0);
  w[at(shortest)] = 1;
}

/// With M = G_SS + s 1 1^T and e = 1: the point of the affine hull nearest to zero has the weights
/// u = M^-1 e / (e^T M^-1 e), and the projection of g_0 onto the hull's directions has the
/// coefficients z = M^-1 b - mu M^-1 e with e^T z = 0. Along g_w = J^T (u - t z / p), p = |J^T z|,
/// the objective is const - t p + radius sqrt(r^2 + t^2), r = |J^T u|: its minimum is t = r p /
/// sqrt(radius^2 - p^2), and for p >= radius it falls for ever, so that a weight must reach zero on
/// the way.
void SimplexSolver::minimise_on_face(const Gram& gram, const Linear& linear, std::span<double> w) {
  while (true) {
    const int k = factor_.size();
    const auto u = std::span(origin_).first(at(k));
    const auto z = std::span(towards_).first(at(k));
    std::fill(u.begin(), u.end(), 1.0);
    factor_.solve(u);
    double total = 0;
    for (const double x : u) total += x;
    bool bounded = true;
    double along = 0;  // target = u - along * z
    if (!linear.g0.empty() && k > 1) {
      for (int p = 0; p < k; ++p) z[at(p)] = linear.g0[at(factor_[p])];
      factor_.solve(z);
      double sum = 0;
      for (const double x : z) sum += x;
      for (int p = 0; p < k; ++p) z[at(p)] -= sum / total * u[at(p)];
      double squared = 0;  // |J^T z|^2 = <J^T z, g_0>, as J^T z is a projection of g_0
      for (int p = 0; p < k; ++p) squared += z[at(p)] * linear.g0[at(factor_[p])];
      const double room = linear.radius * linear.radius - squared;
      double nearest = 0;
      for (int p = 0; p < k; ++p) {
        for (int q = 0; q < k; ++q) nearest += u[at(p)] * u[at(q)] * gram(factor_[p], factor_[q]);
      }
      nearest = std::sqrt(std::max(nearest, 0.0)) / total;
      bounded = room > 0;
      along = bounded ? nearest / std::sqrt(room) : 1.0;
    } else {
      std::fill(z.begin(), z.end(), 0.0);
    }
    for (double& x : u) x /= total;

    // The step from w to the target (or along -z), shortened where a weight reaches zero.
    double step = bounded ? 1.0 : std::numeric_limits<double>::infinity();
    int leaving = -1;
    for (int p = 0; p < k; ++p) {
      const double now = w[at(factor_[p])];
      const double change = bounded ? u[at(p)] - along * z[at(p)] - now : -z[at(p)];
      if (bounded ? now + change > 0 : change >= 0) continue;
      const double ratio = now > 0 ? now / -change : 0;
      if (ratio < step || leaving < 0) {
        step = std::min(step, ratio);
        leaving = p;
      }
    }
    if (leaving < 0 && !bounded) return;  // z = 0 within rounding: the objective is flat here
    for (int p = 0; p < k; ++p) {
      double& now = w[at(factor_[p])];
      const double change = bounded ? u[at(p)] - along * z[at(p)] - now : -z[at(p)];
      now = std::max(0.0, now + step * change);
    }
    if (leaving < 0) return;
    w[at(factor_[leaving])] = 0;
    factor_.remove(leaving);
  }
}

/// At g_w = 0 the objective is 0 and has no gradient. It is the minimum unless some g_w of the cone
/// has <g_w, g_0> < -radius |g_w|, i.e. unless the distance of g_0 from the dual cone is more than
/// `radius` (Moreau); the projection itself shows the way then.
bool SimplexSolver::leave_zero(const Gram& gram, const Linear& linear, std::span<double> w) {
  const auto y = std::span(origin_);
  std::fill(y.begin(), y.end(), 0.0);
  cone_.solve(gram, linear.g0, linear.g0_norm, y);
  double total = 0;
  for (const double x : y) total += x;
  if (std::sqrt(gram.squared_norm(y)) <= linear.radius * (1 + 1e-12) || total == 0) return false;
  factor_.reset(gram, shift_of(gram));
  for (int t = 0; t < gram.tasks(); ++t) {
    w[at(t)] = y[at(t)] / total;
    if (w[at(t)] > 0) factor_.append(t);
  }
  return true;
}

bool SimplexSolver::minimise(const Gram& gram, const Linear& linear, std::span<double> w) {
  const int tasks = gram.tasks();
  bool left_zero = false;
  std::fill(blocked_.begin(), blocked_.end(), 0);
  for (int iteration = 0; iteration < 20 * tasks + 20; ++iteration) {
    const double length = total_length(gram, w);
    gram.times(w, gw_);
    double squared = 0;
    for (int t = 0; t < tasks; ++t) squared += w[at(t)] * gw_[at(t)];
    if (squared <= 16 * tasks * kEps * length * length) {
      if (linear.g0.empty() || left_zero || !leave_zero(gram, linear, w)) return false;
      left_zero = true;
      minimise_on_face(gram, linear, w);
      continue;
    }
    // Slopes of the objective, times |g_w| / radius: r_t = <g_t, g_w> + <g_t, g_0> |g_w| / radius.
    const double r = std::sqrt(squared);
    const double pull = linear.g0.empty() ? 0.0 : r / linear.radius;
    double level = 0;
    for (int t = 0; t < tasks; ++t) {
      if (pull > 0) gw_[at(t)] += pull * linear.g0[at(t)];
      level += w[at(t)] * gw_[at(t)];
    }
    const double rounding = 4 * tasks * kEps * (length + pull * linear.g0_norm);
    int entering = -1;
    double steepest = 0;
    for (int t = 0; t < tasks; ++t) {
      if (blocked_[at(t)] || factor_.contains(t)) continue;
      const double slope = gw_[at(t)] - level;
      if (slope < -rounding * (gram.norm(t) + length) && slope < steepest) {
        steepest = slope;
        entering = t;
      }
    }
    if (entering < 0) return true;
    if (!factor_.append(entering)) {
      blocked_[at(entering)] = 1;  // affinely dependent within rounding: so is its slope
      continue;
    }
    minimise_on_face(gram, linear, w);
    if (w[at(entering)] > 0) {
      std::fill(blocked_.begin(), blocked_.end(), 0);
    } else {
      blocked_[at(entering)] = 1;  // entered and left at once: rounding, not descent
    }
  }
  return true;
}

void SimplexSolver::min_norm(const Gram& gram, std::span<double> w) {
  start(gram, w);
  if (gram.tasks() > 1) minimise(gram, {}, w);
}

bool SimplexSolver::conflict_averse(const Gram& gram, std::span<const double> g0, double g0_norm,
                                    double radius, std::span<double> w) {
  start(gram, w);
  return minimise(gram, {g0, g0_norm, radius}, w);
}

void project_onto_simplex(std::span<double> x, std::vector<double>& scratch) {
  scratch.assign(x.begin(), x.end());
  std::sort(scratch.begin(), scratch.end(), std::greater<>());
  double sum = 0, level = 0;
  for (std::size_t k = 0; k < scratch.size(); ++k) {
    sum += scratch[k];
    const double candidate = (sum - 1) / static_cast<double>(k + 1);
    if (scratch[k] > candidate) level = candidate;
  }
  for (double& v : x) v = std::max(v - level, 0.0);
}

}  // namespace concord::multitask
