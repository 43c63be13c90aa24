// What tests of environments share: a policy without a mind, and runs of it.
#pragma once

#include <concord/rl/environment.h>
#include <concord/tensor/random.h>

#include <functional>

namespace concord::testing {

/// The same actions for the same (step, environment), whatever the number of environments. Actions
/// that a task lacks are replaced by its first one.
inline void random_actions(const rl::VecEnv& env, std::uint64_t seed, index_t step,
                           const Tensor& actions) {
  const Rng rng = Rng(seed).fork("actions").fork(static_cast<std::uint64_t>(step));
  const rl::ActionSpec& spec = env.spec().action;
  for (index_t i = 0; i < env.size(); ++i) {
    const auto u = static_cast<std::uint64_t>(i);
    if (spec.count > 0) {
      const index_t a = rng.below(u, spec.count);
      actions.data<std::int64_t>()[i] =
          env.action_mask().data<std::uint8_t>()[i * spec.count + a] ? a : 0;
    } else {
      for (index_t d = 0; d < spec.dimensions; ++d)
        actions.data<float>()[i * spec.dimensions + d] = static_cast<float>(
            spec.low +
            (spec.high - spec.low) * rng.uniform(u * static_cast<std::uint64_t>(spec.dimensions) +
                                                 static_cast<std::uint64_t>(d)));
    }
  }
}

/// `steps` steps of random actions, counted from `first`; `seen` is called after each.
inline void play(
    rl::VecEnv& env, std::uint64_t seed, index_t first, index_t steps, const rl::StepBuffers& out,
    const std::function<void(index_t)>& seen = [](index_t) {}) {
  const Tensor actions = env.actions();
  for (index_t t = first; t < first + steps; ++t) {
    random_actions(env, seed, t, actions);
    env.step(actions, out);
    seen(t);
  }
}

}  // namespace concord::testing
