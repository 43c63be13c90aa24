#include <concord/rl/agents/ppo.h>

#include <fmt/format.h>

namespace concord::rl {

Ppo::Ppo(EnvPtr env, const PpoOptions& options, std::uint64_t seed)
    : OnPolicyAgent("ppo", std::move(env), options, seed), options_(options) {
  for (std::size_t t = 0; t + 1 < all_bounds_.size(); ++t) {
    const index_t rows = all_bounds_[t + 1] - all_bounds_[t];
    if (options.minibatches < 1 || rows < options.minibatches)
      throw ValueError(fmt::format("ppo: {} minibatches of {} steps of task {}, expected 1 to {}",
                                   options.minibatches, rows, t, rows));
    order_.emplace_back(static_cast<std::size_t>(rows));
  }
}

void Ppo::iterate() {
  const Rng rng = rng_.fork("order").fork(static_cast<std::uint64_t>(steps_));
  collect(learner_->theta());
  evaluate_values();
  lambda_returns(stretch_, options_.gamma, options_.lambda, target_);
  advantages_from_targets();
  update_popart();
  const std::size_t tasks = order_.size();
  for (index_t epoch = 0; epoch < options_.epochs; ++epoch) {
    for (std::size_t t = 0; t < tasks; ++t)
      rng.fork(static_cast<std::uint64_t>(epoch)).fork(t).permutation(order_[t]);
    for (index_t m = 0; m < options_.minibatches; ++m) {
      rows_.clear();
      minibatch_.assign(1, 0);
      for (std::size_t t = 0; t < tasks; ++t) {
        const auto n = static_cast<index_t>(order_[t].size());
        for (index_t k = m * n / options_.minibatches; k < (m + 1) * n / options_.minibatches; ++k)
          rows_.push_back(all_rows_[static_cast<std::size_t>(
              all_bounds_[t] + order_[t][static_cast<std::size_t>(k)])]);
        minibatch_.push_back(static_cast<index_t>(rows_.size()));
      }
      learn(rows_, minibatch_);
    }
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
