// Statistics of few runs on several tasks: Agarwal et al., "Deep reinforcement learning at the edge
// of the statistical precipice", 2108.13264, sec. 4.
#pragma once

#include <concord/tensor/random.h>

#include <functional>
#include <span>
#include <vector>

namespace concord::experiments {

/// Mean of what is left after the floor(n / 4) smallest and as many of the largest values: the
/// interquartile mean, IQM. NaN without values.
double interquartile_mean(std::span<const double> values);

struct Interval {
  double low = 0, high = 0;
};

/// scores[task][run] -> one number.
using Scores = std::vector<std::vector<double>>;
using Statistic = std::function<double(const Scores&)>;

/// The IQM over the runs of all tasks together.
double pooled_iqm(const Scores& scores);

/// The middle 95 % of `statistic` over `draws` resamples, each with as many runs of every task as
/// there are, drawn with replacement within the task (stratified percentile bootstrap). Quantiles
/// lie between the two nearest resamples, linearly. NaN when a task has fewer than two runs: there
/// is nothing to resample. Throws ValueError for draws < 1.
Interval bootstrap_95(const Scores& scores, const Statistic& statistic, const Rng& rng,
                      int draws = 2000);

}  // namespace concord::experiments
