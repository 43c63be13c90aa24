// Rollout: T steps of N environments, written in place by VecEnv::step.
#pragma once

#include <concord/rl/environment.h>

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

}  // namespace concord::rl
