// Telemetry: what papers draw by hand, for every method alike and at no extra pass over the
// gradients. Everything follows from the T x T Gram matrix, the losses and the weights of the step.
#pragma once

#include <concord/multitask/aggregator.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace concord::multitask {

/// A ring of the latest steps, one row of named numbers per step. The columns, for tasks t and
/// pairs of tasks i < j, are:
///
/// - loss_t: as given to the method; NaN for absent tasks and missing losses
/// - norm_t: |g_t|
/// - weight_t: of d = sum_t weight_t g_t
/// - cos_i_j: cosine of g_i and g_j, 0 when one is zero; for at most kMaxPairTasks tasks
/// - mean_cosine: over all pairs, like the next two
/// - conflict_rate: share of pairs with a negative cosine
/// - magnitude_similarity: 2 |g_i| |g_j| / (|g_i|^2 + |g_j|^2), 1 = equal length (PCGrad, def. 2)
/// - gate_open: share of the tasks other than `main` with cosine to `main` >= 0, as a cosine gate
/// - direction_norm: |d|
/// - min_progress: min_t <g_t, d>, negative when the step makes some task worse
///
/// Pair columns of a step with fewer than two tasks are NaN.
class Telemetry {
 public:
  static constexpr int kMaxPairTasks = 16;

  /// `capacity` steps are kept; older ones are overwritten.
  explicit Telemetry(int tasks, int capacity = 256, int main = 0);

  void record(const StepInputs& in, const Direction& answer);

  const std::vector<std::string>& columns() const { return columns_; }
  /// Steps recorded in all, and steps still held.
  std::int64_t steps() const { return steps_; }
  int held() const;
  /// The values of a step still held; 0 is the latest. Throws UsageError for older ones.
  std::span<const double> row(int back) const;
  /// Column means over the latest `steps` steps, oldest first, NaNs left out (NaN when nothing is
  /// left).
  std::vector<double> mean(int steps) const;

  void save(State& state) const;
  /// Throws ValueError when the state is of another size.
  void load(const State& state);

 private:
  std::size_t place(std::int64_t step) const;

  int tasks_, capacity_, main_;
  std::vector<std::string> columns_;
  std::int64_t steps_ = 0;
  std::vector<double> ring_;
  std::vector<double> progress_;
};

}  // namespace concord::multitask
