#include <concord/rl/agents/on_policy.h>

namespace concord::rl {
OnPolicyAgent::OnPolicyAgent(std::string name, EnvPtr env, const OnPolicyOptions& options,
                             std::uint64_t seed)
    : Agent(std::move(name), std::move(env), seed),
      common_(options),
      rollout_(*env_, options.steps),
      worth_(rollout_, bounds_) {
  const int tasks = static_cast<int>(bounds_.size()) - 1;
  const bool teacher_apart = options.teacher && options.teacher->apart;
  const bool one_head = options.network.shared_heads;
  network_ = std::make_unique<ActorCritic>(Scope(store_), *env_, options.network,
                                           head_groups(tasks, 0, one_head || teacher_apart),
                                           head_groups(tasks, options.apart ? tasks : 0, one_head));
  const int rows = tasks * (1 + (options.apart ? 1 : 0) + (teacher_apart ? 1 : 0));
  learner_ = std::make_unique<Learner>(store_, rows, options.learner, rng_);
  popart_ = std::make_unique<PopArt>(store_, "value", tasks, options.popart);

  target_ = Tensor::zeros(rollout_.reward.shape());
  advantage_ = Tensor::zeros(rollout_.reward.shape());
  env_->reset(rollout_.observation[options.steps]);
}

void OnPolicyAgent::act(const Tensor& observation, const Bounds& bounds, const Rng& rng,
                        bool greedy, const Tensor& actions) const {
  std::vector<Distribution> policies;
  (*network_)({.theta = &learner_->theta()}, to_input(observation), bounds, &policies, nullptr);
  choose(policies, bounds, rng, greedy, actions, {});
}

void OnPolicyAgent::collect(const Theta& behaviour) {
  begin_iteration();
  rollout_.go_on();
  for (index_t t = 0; t < rollout_.steps(); ++t) collect_step(behaviour, t);
}

void OnPolicyAgent::collect_step(const Theta& behaviour, index_t t) {
  const Rng rng = rng_.fork("act").fork(static_cast<std::uint64_t>(steps_));
  (*network_)({.theta = &behaviour}, to_input(rollout_.observation[t]), bounds_, &policies_,
              nullptr);
  choose(policies_, bounds_, rng, false, rollout_.action[t], rollout_.log_prob[t]);
  watch_.lap(Phase::acting);
  play(rollout_.action[t], rollout_.step(t));
  clip_rewards(rollout_.reward[t], common_.reward_clip);
  watch_.lap(Phase::environment);
}

void OnPolicyAgent::evaluate_values() {
  worth_.evaluate([this](const Tensor& inputs, const Bounds& bounds, std::span<float> out) {
    (*network_)({.theta = &learner_->theta()}, inputs, bounds, nullptr, &values_);
    for (std::size_t t = 0; t < values_.size(); ++t) {
      if (bounds[t] == bounds[t + 1]) continue;
      const auto mean = static_cast<float>(popart_->mean(static_cast<int>(t)));
      const auto deviation = static_cast<float>(popart_->deviation(static_cast<int>(t)));
      const Tensor values = values_[t].value().to(kCpu);
      const float* v = values.data<float>();
      for (index_t k = bounds[t]; k < bounds[t + 1]; ++k)
        out[static_cast<std::size_t>(k)] = mean + deviation * v[k - bounds[t]];
    }
  });
  watch_.lap(Phase::other);
}

void OnPolicyAgent::advantages_from_targets() {
  const float *target = target_.data<float>(), *value = worth_.stretch().value.data<float>();
  for (index_t k = 0; k < target_.numel(); ++k) advantage_.data<float>()[k] = target[k] - value[k];
}

void OnPolicyAgent::update_popart(const Rows& rows) {
  if (common_.popart == 0) return;
  for (std::size_t t = 0; t + 1 < rows.bounds.size(); ++t) {
    targets_.clear();
    for (index_t k = rows.bounds[t]; k < rows.bounds[t + 1]; ++k)
      targets_.push_back(target_.data<float>()[rows.rows[static_cast<std::size_t>(k)]]);
    popart_->update(learner_->theta(), static_cast<int>(t), targets_);
  }
}

void OnPolicyAgent::learn(const Rows& rows) {
  const Bounds& bounds = batch_bounds_ = rows.bounds;
  gather_rows(flat(rollout_.observation), rows.rows, observation_);
  gather_rows(flat(rollout_.action), rows.rows, action_);
  gather_rows(flat(rollout_.log_prob), rows.rows, batch_.log_prob);
  gather_rows(flat(advantage_), rows.rows, batch_.advantage);
  gather_rows(flat(worth_.stretch().value), rows.rows, batch_.value);
  gather_rows(flat(target_), rows.rows, batch_.target);
  if (common_.popart > 0) {
    for (std::size_t t = 0; t + 1 < bounds.size(); ++t) {
      const double mean = popart_->mean(static_cast<int>(t));
      const double scale = 1 / popart_->deviation(static_cast<int>(t));
      for (index_t k = bounds[t]; k < bounds[t + 1]; ++k) {
        batch_.advantage.data<float>()[k] *= static_cast<float>(scale);
        for (const Tensor& v : {batch_.value, batch_.target})
          v.data<float>()[k] = static_cast<float>((v.data<float>()[k] - mean) * scale);
      }
    }
  }
  if (common_.standardise) {
    for (std::size_t t = 0; t + 1 < bounds.size(); ++t)
      if (bounds[t] < bounds[t + 1]) standardise(batch_.advantage.rows(bounds[t], bounds[t + 1]));
  }
  watch_.lap(Phase::other);
  learner_->step(
      [this](const Context& ctx, std::vector<Var>& losses) { record_losses(ctx, losses); }, watch_,
      linear_decay(began_, common_.anneal));
}

void OnPolicyAgent::record_losses(const Context& ctx, std::vector<Var>& losses) {
  const std::size_t tasks = batch_bounds_.size() - 1;
  const bool teacher_apart = common_.teacher && common_.teacher->apart;
  losses.assign(tasks * (1 + (common_.apart ? 1 : 0) + (teacher_apart ? 1 : 0)), Var());
  (*network_)(ctx, observation_, batch_bounds_, &policies_, &values_);
  for (std::size_t t = 0; t < tasks; ++t) {
    const index_t first = batch_bounds_[t], last = batch_bounds_[t + 1];
    if (first == last) continue;
    const TaskBatch batch{batch_.log_prob.rows(first, last), batch_.advantage.rows(first, last),
                          batch_.value.rows(first, last), batch_.target.rows(first, last)};
    const Var log_probs = log_prob(policies_[t], action_.rows(first, last));
    const Var policy = policy_loss(batch, log_probs);
    const Var bonus = mean(entropy(policies_[t]));
    const Var value = value_loss(batch, values_[t]);
    losses[t] = policy - common_.entropy * bonus;
    if (common_.apart)
      losses[tasks + t] = common_.value * value;
    else
      losses[t] = losses[t] + common_.value * value;
    if (ctx.tape) {  // not when a method asks for the losses after the step
      measure("policy_loss", policy.item());
      measure("value_loss", value.item());
      measure("entropy", bonus.item());
    }
    if (!common_.teacher) continue;
    const Teacher& teacher = *common_.teacher;
    const Distribution said = teacher.policy(observation_.rows(first, last), static_cast<int>(t));
    const Var loss = teacher.cross_entropy ? kickstarting_loss(said, policies_[t])
                                           : distillation_loss(said, policies_[t]);
    if (ctx.tape) measure("teacher_loss", loss.item());
    const Var weighted = teacher.weight(steps_) * loss;
    if (teacher_apart)
      losses[losses.size() - tasks + t] = weighted;
    else
      losses[t] = losses[t] + weighted;
  }
}

Var OnPolicyAgent::policy_loss(const TaskBatch& batch, const Var& log_prob) const {
  return policy_gradient_loss(log_prob, batch.advantage);
}

Var OnPolicyAgent::value_loss(const TaskBatch& batch, const Var& value) const {
  return rl::value_loss(value, batch.target);
}

void OnPolicyAgent::archive_own(const Archive& a) {
  learner_->archive(a / "learner");
  popart_->archive(a / "popart");
  if (a.loading()) env_->observe(rollout_.observation[rollout_.steps()]);
}

}  // namespace concord::rl
