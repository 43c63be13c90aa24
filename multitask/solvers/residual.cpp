#include <concord/multitask/solvers/residual.h>

#include <algorithm>
#include <cmath>

namespace concord::multitask {

double simplex_residual(const Gram& gram, std::span<const double> w,
                        std::span<const double> direction) {
  const int tasks = gram.tasks();
  double mean = 0, least = 0, longest = 0, length = 0, sum = 0, negative = 0;
  for (int t = 0; t < tasks; ++t) {
    const auto g = gram.row(t);
    double progress = 0;  // <g_t, d>
    for (std::size_t j = 0; j < g.size(); ++j) progress += g[j] * direction[j];
    const double weight = w[static_cast<std::size_t>(t)];
    mean += weight * progress;
    least = t == 0 ? progress : std::min(least, progress);
    longest = std::max(longest, gram.norm(t));
    length += std::abs(direction[static_cast<std::size_t>(t)]) * gram.norm(t);
    sum += weight;
    negative = std::max(negative, -weight);
  }
  const double scale = longest * length;
  return (scale > 0 ? std::max(mean - least, 0.0) / scale : 0.0) + std::abs(sum - 1) + negative;
}

double cone_residual(const Gram& gram, std::span<const double> u, std::span<const double> v) {
  const int tasks = gram.tasks();
  double length = 0, worst = 0;
  for (int t = 0; t < tasks; ++t) length += std::abs(v[static_cast<std::size_t>(t)]) * gram.norm(t);
  if (length == 0) return 0;
  for (int t = 0; t < tasks; ++t) {
    if (gram(t, t) == 0) continue;
    const auto g = gram.row(t);
    const auto i = static_cast<std::size_t>(t);
    double progress = 0;
    for (std::size_t j = 0; j < g.size(); ++j) progress += g[j] * v[j];
    const double cosine = progress / (gram.norm(t) * length);
    const double moved = (v[i] - u[i]) * gram.norm(t) / length;
    worst = std::max({worst, -cosine, -moved, std::min(std::abs(cosine), std::abs(moved))});
  }
  return worst;
}

}  // namespace concord::multitask
