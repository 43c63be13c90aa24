#include <concord/rl/agents/distral_a2c.h>
#include <concord/rl/distral.h>
#include <concord/rl/losses.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::rl {

DistralA2c::DistralA2c(EnvPtr env, const DistralA2cOptions& options, std::uint64_t seed)
    : Agent("distral", std::move(env), seed),
      options_(options),
      form_(find_column_form(options.form)),
      rollout_(*env_, options.steps),
      worth_(rollout_, bounds_),
      target_(Tensor::zeros(rollout_.reward.shape())) {
  if (!(options.beta > 0))
    throw ValueError(fmt::format("distral: beta is {}, expected more than 0", options.beta));
  network_ =
      std::make_unique<ColumnNetwork>(Scope(store_), *env_, options.trunk, form_.shared, form_.own);
  learner_ = std::make_unique<Learner>(store_, network_->tasks(), options.learner, rng_);
  env_->reset(rollout_.observation[options.steps]);
}

void DistralA2c::act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
                     const Tensor& actions) const {
  std::vector<Distribution> policies;
  (*network_)({.theta = &learner_->theta()}, to_input(observation), bounds, &policies, nullptr,
              nullptr);
  choose(policies, bounds, rng, greedy, actions, {});
}

void DistralA2c::iterate() {
  begin_iteration();
  rollout_.go_on();
  for (index_t t = 0; t < rollout_.steps(); ++t) collect_step(t);
  worth_.evaluate([this](const Tensor& inputs, const Bounds& bounds, std::span<float> out) {
    (*network_)({.theta = &learner_->theta()}, inputs, bounds, nullptr, nullptr, &values_);
    for (std::size_t t = 0; t < values_.size(); ++t) {
      if (bounds[t] == bounds[t + 1]) continue;
      const Tensor v = values_[t].value().to(kCpu);
      std::copy_n(v.data<float>(), v.numel(), out.begin() + bounds[t]);
    }
  });
  lambda_returns(worth_.stretch(), options_.gamma, options_.lambda, target_);
  watch_.lap(Phase::other);
  learn();
}

void DistralA2c::collect_step(index_t t) {
  const Tensor actions = rollout_.action[t], log_probs = rollout_.log_prob[t],
               rewards = rollout_.reward[t];
  (*network_)({.theta = &learner_->theta()}, to_input(rollout_.observation[t]), bounds_, &policies_,
              form_.alpha > 0 ? &distilled_ : nullptr, nullptr);
  choose(policies_, bounds_, rng_.fork("act").fork(static_cast<std::uint64_t>(steps_)), false,
         actions, log_probs);
  watch_.lap(Phase::acting);
  play(actions, rollout_.step(t));
  watch_.lap(Phase::environment);
  const auto kl = static_cast<float>(form_.alpha / options_.beta);
  const auto temperature = static_cast<float>(1 / options_.beta);
  const auto reward = rewards.values<float>(), log_pi = log_probs.values<float>();
  for (std::size_t i = 0; i < reward.size(); ++i) reward[i] -= temperature * log_pi[i];
  if (form_.alpha == 0) return;
  for (std::size_t k = 0; k + 1 < bounds_.size(); ++k) {
    const index_t first = bounds_[k], last = bounds_[k + 1];
    const Tensor log_pi_0 = log_prob(distilled_[k], actions.rows(first, last)).value().to(kCpu);
    for (index_t i = first; i < last; ++i)
      reward[static_cast<std::size_t>(i)] += kl * log_pi_0.data<float>()[i - first];
  }
}

void DistralA2c::learn() {
  const Rows& all = worth_.rows();
  gather_rows(flat(rollout_.observation), all.rows, observation_);
  gather_rows(flat(rollout_.action), all.rows, action_);
  gather_rows(flat(target_), all.rows, y_);
  gather_rows(flat(worth_.stretch().value), all.rows, advantage_);
  for (index_t k = 0; k < y_.numel(); ++k)
    advantage_.data<float>()[k] = y_.data<float>()[k] - advantage_.data<float>()[k];
  watch_.lap(Phase::other);
  learner_->step(
      [&](const Context& ctx, std::vector<Var>& losses) {
        const bool divergence = form_.alpha > 0;
        (*network_)(ctx, observation_, all.bounds, &policies_, divergence ? &distilled_ : nullptr,
                    &values_);
        losses.clear();
        for (std::size_t t = 0; t < policies_.size(); ++t) {
          const index_t first = all.bounds[t], last = all.bounds[t + 1];
          const Var log_probs = log_prob(policies_[t], action_.rows(first, last));
          const Var policy = policy_gradient_loss(log_probs, advantage_.rows(first, last));
          const Var value = value_loss(values_[t], y_.rows(first, last));
          losses.push_back(policy + options_.value * value);
          if (ctx.tape) {
            measure("policy_loss", policy.item());
            measure("value_loss", value.item());
            measure("entropy", -mean(log_probs).item());
          }
          if (!divergence) continue;
          const Var kl = distillation_loss(policies_[t], distilled_[t]);
          losses.back() = losses.back() + form_.alpha / options_.beta * kl;
          if (ctx.tape) measure("divergence", kl.item());
        }
      },
      watch_, linear_decay(began_, options_.anneal));
}

void DistralA2c::archive_own(const Archive& a) {
  learner_->archive(a / "learner");
  if (a.loading()) env_->observe(rollout_.observation[rollout_.steps()]);
}

}  // namespace concord::rl
