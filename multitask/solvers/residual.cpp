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

}  // namespace concord::multitask
