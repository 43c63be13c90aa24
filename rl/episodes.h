// Episodes: scores as they are reported, of whole episodes and raw rewards, whatever an agent does
// to rewards for its own training.
#pragma once

#include <concord/rl/archive.h>
#include <concord/rl/environment.h>

#include <cstdint>
#include <vector>

namespace concord::rl {

struct Episode {
  int task = 0;
  double score = 0;         ///< sum of the raw rewards
  std::int64_t length = 0;  ///< steps
  std::int64_t at = 0;      ///< environment steps of the whole run when it ended
};

class Episodes {
 public:
  /// Means are over the latest `window` episodes of a task.
  explicit Episodes(const VecEnv& env, index_t window = 100);

  /// One step of all environments has been taken, the run's steps `at`-N+1 to `at`.
  void record(const StepBuffers& step, std::int64_t at);

  int tasks() const { return static_cast<int>(finished_.size()); }
  std::int64_t finished(int task) const { return finished_[static_cast<std::size_t>(task)]; }
  /// NaN before the first episode of the task has ended.
  double mean_score(int task) const;
  /// The episodes that ended since the last call, in order.
  std::vector<Episode> take();

  void archive(const Archive& a);

 private:
  Tensor tasks_;
  index_t window_;
  std::vector<double> score_, length_;  // of the running episodes
  std::vector<std::int64_t> finished_;
  std::vector<double> recent_;  // [tasks, window]: a ring of scores per task
  std::vector<Episode> ended_;
};

}  // namespace concord::rl
