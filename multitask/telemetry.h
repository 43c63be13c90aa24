// Telemetry: what papers draw by hand, for every method alike and at no extra pass over the
// gradients. Everything follows from the T x T Gram matrix, the losses and the weights of the step;
// only the curvature asks for the losses at a second point.
#pragma once

#include <concord/multitask/aggregator.h>
#include <concord/multitask/solvers/symmetric_eigen.h>

#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

namespace concord::multitask {

/// A ring of the latest steps, one row of named numbers per step. The columns, for tasks t and
/// pairs of tasks i < j, are (definitions of Yu et al., "Gradient Surgery", NeurIPS 2020):
///
/// - loss_t: as given to the method; NaN for absent tasks and missing losses
/// - norm_t: |g_t|
/// - weight_t: of d = sum_t weight_t g_t
/// - cos_i_j: cosine of g_i and g_j, 0 when one is zero; for at most kMaxPairTasks tasks
/// - mean_cosine: over all pairs, like the next four
/// - conflict_rate: share of pairs with a negative cosine (def. 1)
/// - magnitude_similarity: Phi = 2 |g_i| |g_j| / (|g_i|^2 + |g_j|^2), 1 = equal length (def. 2)
/// - bounding_measure: the multi-task curvature bounding measure (sec. 2.5),
///   xi = (1 - cos^2) |g_i - g_j|^2 / |g_i + g_j|^2; pairs with g_i + g_j = 0 are left out
/// - dominated_conflict: share of pairs with cos <= -Phi, theorem 2's condition (a)
/// - log10_condition: of lambda_max / lambda_min of the Gram matrix; at most -log10(T eps), where
///   rounding begins; NaN when all gradients are zero
/// - gate_open: share of the tasks other than `main` with cosine to `main` >= 0, as a cosine gate
/// - direction_norm: |d|
/// - min_progress: min_t <g_t, d>, negative when the step makes some task worse
/// - curvature, theorem_2: see probe(); NaN without it
///
/// Pair columns of a step with fewer than two tasks are NaN.
class Telemetry {
 public:
  /// With more tasks only the means over pairs are kept: T^2 / 2 columns would be too many.
  static constexpr int kMaxPairTasks = 64;

  /// `capacity` steps are kept; older ones are overwritten.
  explicit Telemetry(int tasks, int capacity = 256, int main = 0);

  void record(const StepInputs& in, const Direction& answer);

  /// What a Gram matrix cannot know. `losses` are those of the rows of the last record(), on the
  /// same batch, at theta' = theta - t g, where g = sum_r g_r: the plain multitask step (of the
  /// shared parameters; the heads stay), whatever the method does. With L the sum of the losses,
  ///
  /// - curvature = H / |g|^2 with H = 2 (L(theta') - L(theta) + t |g|^2) / t^2, the average
  ///   curvature along g (sec. 2.5), exact for quadratics. An error e of L becomes
  ///   2 e / (t^2 |g|^2): choose t so that L changes by more than its rounding.
  /// - theorem_2 = 1 where PCGrad's step is shown to beat the plain step of this length, else 0;
  ///   two tasks only, NaN otherwise. Its conditions are (a) cos <= -Phi, (b) H >= l |g|^2 with
  ///   l >= xi Lip, (c) t >= 2 / (l - xi Lip), checked with l = curvature. For Lip, the Lipschitz
  ///   constant of L's gradient, stands the largest |curvature| probed so far: a lower bound, so
  ///   that (b) and (c) are necessary conditions here, and sufficient once Lip has been seen.
  ///
  /// Throws UsageError unless a record() with losses came just before, ShapeError for
  /// another number of losses, ValueError unless t > 0.
  void probe(std::span<const double> losses, double t);

  const std::vector<std::string>& columns() const { return columns_; }
  /// Steps recorded in all, and steps still held.
  std::int64_t steps() const { return steps_; }
  int held() const;
  /// The values of a step still held; 0 is the latest. Throws UsageError for older ones.
  std::span<const double> row(int back) const;
  /// Column means over the latest `steps` steps, oldest first, NaNs left out (NaN when nothing is
  /// left).
  std::vector<double> mean(int steps) const;

  /// The steps held as CSV, oldest first: a header, then rows that begin with the step's number
  /// (from 0, as recorded). Numbers keep every bit.
  void write_csv(std::ostream& out) const;

  void save(State& state) const;
  /// Throws ValueError when the state is of another size.
  void load(const State& state);

 private:
  std::size_t place(std::int64_t step) const;

  int tasks_, capacity_, main_;
  std::vector<std::string> columns_;
  std::int64_t steps_ = 0;
  std::vector<double> ring_;
  double lipschitz_ = 0;  // largest |curvature| so far

  struct Plain {  // the plain step from the last record(), for probe()
    int rows = 0;
    double loss = 0, squared_norm = 0;  // L and |g|^2
    double xi = 0;                      // of the only pair, when there are two tasks
    bool dominated = false;             // condition (a), likewise
  } plain_;
  std::vector<double> scratch_;
  SymmetricEigen eigen_;
};

/// One Telemetry per named block of the parameters (layer, part, tensor), whether the method works
/// block by block or on the whole trunk: where do the tasks conflict?
class BlockTelemetry {
 public:
  BlockTelemetry(std::vector<std::string> names, int tasks, int capacity = 256, int main = 0);

  /// `in.gram` is that of one block; the blocks' matrices sum to the whole trunk's. Call it for
  /// each block of a step.
  void record(std::size_t block, const StepInputs& in, const Direction& answer) {
    blocks_[block].record(in, answer);
  }

  const std::vector<std::string>& names() const { return names_; }
  const Telemetry& operator[](std::size_t block) const { return blocks_[block]; }

  void save(State& state) const;
  void load(const State& state);

 private:
  std::vector<std::string> names_;
  std::vector<Telemetry> blocks_;
};

}  // namespace concord::multitask
