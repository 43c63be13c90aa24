#include <concord/experiments/statistics.h>
#include <concord/tensor/check.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace concord::experiments {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - std::floor(at)) * (sorted[above] - sorted[below]);
}

}  // namespace

double interquartile_mean(std::span<const double> values) {
  if (values.empty()) return kNan;
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const auto cut = static_cast<std::ptrdiff_t>(sorted.size() / 4);
  const double sum = std::accumulate(sorted.begin() + cut, sorted.end() - cut, 0.0);
  return sum / static_cast<double>(sorted.size() - 2 * static_cast<std::size_t>(cut));
}

double pooled_iqm(const Scores& scores) {
  std::vector<double> all;
  for (const std::vector<double>& runs : scores) all.insert(all.end(), runs.begin(), runs.end());
  return interquartile_mean(all);
}

Interval bootstrap_95(const Scores& scores, const Statistic& statistic, const Rng& rng, int draws) {
  if (draws < 1) throw ValueError("bootstrap_95: draws must be at least 1");
  for (const std::vector<double>& runs : scores)
    if (runs.size() < 2) return {kNan, kNan};
  Scores resample = scores;
  std::vector<double> values;
  std::uint64_t next = 0;
  for (int d = 0; d < draws; ++d) {
    for (std::size_t task = 0; task < scores.size(); ++task) {
      const std::vector<double>& runs = scores[task];
      for (double& x : resample[task])
        x = runs[static_cast<std::size_t>(rng.below(next++, static_cast<index_t>(runs.size())))];
    }
    values.push_back(statistic(resample));
  }
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.025), quantile(values, 0.975)};
}

}  // namespace concord::experiments
