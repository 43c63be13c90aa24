#include <concord/rl/environment.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::rl {
namespace {

Shape batched(index_t n, const Shape& shape) { return shape.insert(0, n); }

void check(const Tensor& t, std::string_view argument, DType dtype, const Shape& shape) {
  check_dtype("environment", argument, t, dtype);
  check_shape("environment", argument, t, shape);
}

}  // namespace

VecEnv::VecEnv(EnvSpec spec, index_t size) : spec_(std::move(spec)), size_(size) {
  if (size < 1) {
    throw ValueError(fmt::format("{}: {} environments, expected at least 1", spec_.name, size));
  }
  tasks_ = Tensor::zeros({size}, DType::i64);
  if (spec_.action.count > 0) {
    action_mask_ = Tensor::full({size, spec_.action.count}, 1, DType::u8);
  }
}

void VecEnv::reset(const Tensor& observation) {
  check(observation, "observation", spec_.observation.dtype,
        batched(size_, spec_.observation.shape));
  do_reset(observation);
}

void VecEnv::observe(const Tensor& observation) const {
  if (!started()) throw UsageError(spec_.name + ": observe before the first reset");
  check(observation, "observation", spec_.observation.dtype,
        batched(size_, spec_.observation.shape));
  do_observe(observation);
}

void VecEnv::step(const Tensor& actions, const StepBuffers& out) {
  if (!started()) throw UsageError(spec_.name + ": step before the first reset");
  const Shape rows = batched(size_, spec_.observation.shape);
  check(out.observation, "observation", spec_.observation.dtype, rows);
  check(out.final_observation, "final_observation", spec_.observation.dtype, rows);
  check(out.reward, "reward", DType::f32, {size_});
  check(out.terminated, "terminated", DType::u8, {size_});
  check(out.truncated, "truncated", DType::u8, {size_});
  const ActionSpec& a = spec_.action;
  if (a.count > 0) {
    check(actions, "actions", DType::i64, {size_});
    const std::int64_t* chosen = actions.data<std::int64_t>();
    const std::uint8_t* mask = action_mask_.data<std::uint8_t>();
    for (index_t i = 0; i < size_; ++i) {
      const std::uint8_t* exists = mask + i * a.count;
      if (chosen[i] < 0 || chosen[i] >= a.count || !exists[chosen[i]]) {
        throw ValueError(fmt::format("{}: action {} in environment {}, expected one of its {}",
                                     spec_.name, chosen[i], i,
                                     std::count(exists, exists + a.count, 1)));
      }
    }
  } else {
    check(actions, "actions", DType::f32, {size_, a.dimensions});
  }
  do_step(actions, out);
}

StepBuffers VecEnv::buffers() const {
  const Shape rows = batched(size_, spec_.observation.shape);
  return {Tensor::zeros(rows, spec_.observation.dtype),
          Tensor::zeros(rows, spec_.observation.dtype), Tensor::zeros({size_}),
          Tensor::zeros({size_}, DType::u8), Tensor::zeros({size_}, DType::u8)};
}

Tensor VecEnv::actions() const {
  return spec_.action.count > 0 ? Tensor::zeros({size_}, DType::i64)
                                : Tensor::zeros({size_, spec_.action.dimensions});
}

}  // namespace concord::rl
