#include <concord/rl/agents/reinforce.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::rl {
namespace {

OnPolicyOptions bounded(OnPolicyOptions options, const VecEnv& env) {
  if (options.steps == 0) options.steps = env.spec().max_steps;
  if (options.steps == 0)
    throw ValueError(fmt::format(
        "reinforce: episodes of '{}' have no limit, expected `steps` to set one", env.spec().name));
  return options;
}

}  // namespace

Reinforce::Reinforce(EnvPtr env, const ReinforceOptions& options, std::uint64_t seed)
    : OnPolicyAgent("reinforce", std::move(env), bounded(options, *env), seed) {}

void Reinforce::iterate() {
  const index_t n = env_->size();
  std::vector<index_t> length(static_cast<std::size_t>(n), rollout_.steps());
  index_t playing = n;
  watch_.start();
  clear_metrics();
  env_->reset(rollout_.observation[0]);
  rollout_.terminated.zero();
  rollout_.truncated.zero();
  for (index_t t = 0; t < rollout_.steps() && playing > 0; ++t) {
    collect_step(learner_->theta(), t);
    for (index_t i = 0; i < n; ++i) {
      const index_t k = t * n + i;
      const bool over =
          rollout_.terminated.data<std::uint8_t>()[k] | rollout_.truncated.data<std::uint8_t>()[k];
      auto& steps = length[static_cast<std::size_t>(i)];
      if (!over || steps <= t) continue;
      steps = t + 1;
      --playing;
    }
  }
  evaluate_values();
  stretch_.next_value.zero();
  lambda_returns(stretch_, common_.gamma, 1, target_);
  advantages_from_targets();
  update_popart();
  rows_.clear();
  row_bounds_.assign(1, 0);
  for (std::size_t task = 0; task + 1 < bounds_.size(); ++task) {
    for (index_t i = bounds_[task]; i < bounds_[task + 1]; ++i)
      for (index_t t = 0; t < length[static_cast<std::size_t>(i)]; ++t) rows_.push_back(t * n + i);
    row_bounds_.push_back(static_cast<index_t>(rows_.size()));
  }
  learn(rows_, row_bounds_);
}

}  // namespace concord::rl
