#include <concord/rl/agents/ppo.h>

namespace concord::rl {

Ppo::Ppo(EnvPtr env, const PpoOptions& options, std::uint64_t seed)
    : OnPolicyAgent("ppo", std::move(env), options, seed),
      options_(options),
      minibatches_(worth_.rows(), options.minibatches) {}

void Ppo::iterate() {
  const Rng rng = rng_.fork("order").fork(static_cast<std::uint64_t>(steps_));
  collect(learner_->theta());
  evaluate_values();
  lambda_returns(worth_.stretch(), options_.gamma, options_.lambda, target_);
  advantages_from_targets();
  update_popart(worth_.rows());
  for (index_t epoch = 0; epoch < options_.epochs; ++epoch) {
    minibatches_.shuffle(rng.fork(static_cast<std::uint64_t>(epoch)));
    for (index_t m = 0; m < minibatches_.count(); ++m) learn(minibatches_[m]);
  }
}

Var Ppo::policy_loss(const TaskBatch& batch, const Var& log_prob) const {
  return clipped_policy_loss(log_prob, batch.log_prob, batch.advantage, options_.clip);
}

Var Ppo::value_loss(const TaskBatch& batch, const Var& value) const {
  if (!options_.clip_value) return rl::value_loss(value, batch.target);
  return clipped_value_loss(value, batch.value, batch.target, options_.clip);
}

}  // namespace concord::rl
