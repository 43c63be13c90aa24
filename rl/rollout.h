// Rollout: T steps of N environments, written in place by VecEnv::step; what they are worth; and
// how they are cut into minibatches.
#pragma once

#include <concord/rl/networks.h>
#include <concord/rl/returns.h>

#include <functional>
#include <span>
#include <vector>

namespace concord::rl {

struct Rollout {
  Rollout(const VecEnv& env, index_t steps);

  index_t steps() const { return reward.dim(0); }  ///< T
  index_t size() const { return reward.dim(1); }   ///< N
  /// Where step t goes; what it shows becomes row t+1 of `observation`.
  StepBuffers step(index_t t) const;
  /// The next stretch begins where this one ended: row T of `observation` becomes row 0.
  void go_on() const { observation[0].copy_from(observation[steps()]); }

  Tensor observation;            ///< [T+1,N,...]: action t was chosen on row t
  Tensor final_observation;      ///< [T,N,...], where an episode ended
  Tensor action;                 ///< i64 [T,N], or f32 [T,N,D]
  Tensor log_prob;               ///< f32 [T,N]: of the actions, under the policy that chose them
  Tensor reward;                 ///< f32 [T,N]
  Tensor terminated, truncated;  ///< u8 [T,N]
};

/// [T,N,...] as [T*N,...]: row t*N + i is step t of environment i. Shares memory.
Tensor flat(const Tensor& t);

/// Some of those rows, ordered by task.
struct Rows {
  std::vector<index_t> rows;
  Bounds bounds;
};
/// All rows of `steps` steps, when the environments of task t are [tasks[t], tasks[t+1]).
Rows in_order_of_tasks(index_t steps, const Bounds& tasks);

/// The values of all that a rollout has seen.
class RolloutValues {
 public:
  RolloutValues(const Rollout& rollout, const Bounds& tasks);

  /// Fills the stretch. value_of(inputs, bounds, out): V of each row of inputs [B, ...], ordered by
  /// task; it is called once for the observations, and once more for the last states of truncated
  /// episodes when there are some.
  using ValueOf = std::function<void(const Tensor& inputs, const Bounds&, std::span<float> out)>;
  void evaluate(const ValueOf& value_of);

  const Stretch& stretch() const { return stretch_; }
  const Rows& rows() const { return all_; }  ///< of the T*N steps

 private:
  void evaluate(const Tensor& observation, const Rows& rows, const ValueOf& value_of,
                const Tensor& values);

  const Rollout& rollout_;
  Stretch stretch_;
  Rows all_, with_last_, truncated_;  // with_last_: of T+1 rows of observations
  Tensor values_, final_values_;      // [T+1,N], [T,N]
  Tensor inputs_;
  std::vector<float> out_;
};

/// Every task's rows in `count` random parts, anew in each epoch.
class Minibatches {
 public:
  /// `rows` outlives this. Throws ValueError when a task has fewer rows than there are parts.
  Minibatches(const Rows& rows, index_t count);
  void shuffle(const Rng& rng);
  /// Part m of every task; valid until the next call.
  const Rows& operator[](index_t m);
  index_t count() const { return count_; }

 private:
  const Rows& all_;
  index_t count_;
  std::vector<std::vector<index_t>> order_;  // per task
  Rows part_;
};

}  // namespace concord::rl
