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
  length_.assign(static_cast<std::size_t>(n), rollout_.steps());
  index_t playing = n;
  begin_iteration();
  env_->reset(rollout_.observation[0]);
  rollout_.terminated.zero();
  rollout_.truncated.zero();
  for (index_t t = 0; t < rollout_.steps() && playing > 0; ++t) {
    collect_step(learner_->theta(), t);
    for (index_t i = 0; i < n; ++i) {
      const index_t k = t * n + i;
      const bool over =
          rollout_.terminated.data<std::uint8_t>()[k] | rollout_.truncated.data<std::uint8_t>()[k];
      auto& steps = length_[static_cast<std::size_t>(i)];
      if (!over || steps <= t) continue;
      steps = t + 1;
      --playing;
    }
  }
  evaluate_values();
  worth_.stretch().next_value.zero();
  lambda_returns(worth_.stretch(), common_.gamma, 1, target_);
  advantages_from_targets();
  rows_.rows.clear();
  rows_.bounds.assign(1, 0);
  for (std::size_t task = 0; task + 1 < bounds_.size(); ++task) {
    for (index_t i = bounds_[task]; i < bounds_[task + 1]; ++i)
      for (index_t t = 0; t < length_[static_cast<std::size_t>(i)]; ++t)
        rows_.rows.push_back(t * n + i);
    rows_.bounds.push_back(static_cast<index_t>(rows_.rows.size()));
  }
  update_popart(rows_);
  learn(rows_);
}

}  // namespace concord::rl
