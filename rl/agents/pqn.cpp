#include <concord/rl/agents/pqn.h>
#include <concord/rl/losses.h>

namespace concord::rl {

Pqn::Pqn(EnvPtr env, const PqnOptions& options, std::uint64_t seed)
    : Agent("pqn", std::move(env), seed),
      options_(options),
      rollout_(*env_, options.steps),
      worth_(rollout_, bounds_),
      minibatches_(worth_.rows(), options.minibatches),
      target_(Tensor::zeros(rollout_.reward.shape())) {
  const int tasks = static_cast<int>(bounds_.size()) - 1;
  network_ = std::make_unique<QNetwork>(Scope(store_), *env_, options.trunk, head_groups(tasks));
  learner_ = std::make_unique<Learner>(store_, tasks, options.learner, rng_);
  env_->reset(rollout_.observation[options.steps]);
}

void Pqn::act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
              const Tensor& actions) const {
  (*network_)({.theta = &learner_->theta()}, to_input(observation), bounds, acting_);
  epsilon_greedy(*network_, acting_, bounds, greedy ? 0 : options_.exploration(steps_), rng,
                 actions);
}

void Pqn::iterate() {
  begin_iteration();
  const Rng order = rng_.fork("order").fork(static_cast<std::uint64_t>(steps_));
  rollout_.go_on();
  for (index_t t = 0; t < options_.steps; ++t) {
    act(rollout_.observation[t], bounds_, rng_.fork("act").fork(static_cast<std::uint64_t>(steps_)),
        false, rollout_.action[t]);
    watch_.lap(Phase::acting);
    play(rollout_.action[t], rollout_.step(t));
    watch_.lap(Phase::environment);
  }
  clip_rewards(rollout_.reward, options_.reward_clip);
  worth_.evaluate([this](const Tensor& inputs, const Bounds& bounds, std::span<float> out) {
    (*network_)({.theta = &learner_->theta()}, inputs, bounds, q_);
    for (std::size_t t = 0; t < q_.size(); ++t) {
      if (bounds[t] == bounds[t + 1]) continue;
      row_maxima(q_[t].value(), out.subspan(static_cast<std::size_t>(bounds[t]),
                                            static_cast<std::size_t>(bounds[t + 1] - bounds[t])));
    }
  });
  lambda_returns(worth_.stretch(), options_.gamma, options_.lambda, target_);
  watch_.lap(Phase::other);
  for (index_t epoch = 0; epoch < options_.epochs; ++epoch) {
    minibatches_.shuffle(order.fork(static_cast<std::uint64_t>(epoch)));
    for (index_t m = 0; m < minibatches_.count(); ++m) learn(minibatches_[m]);
  }
}

void Pqn::learn(const Rows& rows) {
  gather_rows(flat(rollout_.observation), rows.rows, observation_);
  gather_rows(flat(rollout_.action), rows.rows, action_);
  gather_rows(flat(target_), rows.rows, y_);
  watch_.lap(Phase::other);
  learner_->step(
      [&](const Context& ctx, std::vector<Var>& losses) {
        (*network_)(ctx, observation_, rows.bounds, q_);
        losses.clear();
        for (std::size_t t = 0; t < q_.size(); ++t) {
          const index_t first = rows.bounds[t], last = rows.bounds[t + 1];
          const Tensor actions = action_.rows(first, last).view({-1, 1}).to(q_[t].value().device());
          losses.push_back(value_loss(view(gather(q_[t], 1, actions), {-1}), y_.rows(first, last)));
          if (ctx.tape) measure("value_loss", losses.back().item());
        }
      },
      watch_, linear_decay(began_, options_.anneal));
}

void Pqn::archive_own(const Archive& a) {
  learner_->archive(a / "learner");
  if (a.loading()) env_->observe(rollout_.observation[rollout_.steps()]);
}

}  // namespace concord::rl
