#include <concord/rl/rollout.h>

#include <fmt/format.h>

namespace concord::rl {

Rollout::Rollout(const VecEnv& env, index_t steps) {
  if (steps < 1) throw ValueError(fmt::format("rollout: {} steps, expected at least 1", steps));
  const ObservationSpec& spec = env.spec().observation;
  const index_t n = env.size();
  const Shape row = spec.shape.insert(0, n);
  observation = Tensor::zeros(row.insert(0, steps + 1), spec.dtype);
  final_observation = Tensor::zeros(row.insert(0, steps), spec.dtype);
  const Tensor one = env.actions();
  action = Tensor::zeros(one.shape().insert(0, steps), one.dtype());
  log_prob = Tensor::zeros({steps, n});
  reward = Tensor::zeros({steps, n});
  terminated = Tensor::zeros({steps, n}, DType::u8);
  truncated = Tensor::zeros({steps, n}, DType::u8);
}

StepBuffers Rollout::step(index_t t) const {
  return {observation[t + 1], final_observation[t], reward[t], terminated[t], truncated[t]};
}

}  // namespace concord::rl
