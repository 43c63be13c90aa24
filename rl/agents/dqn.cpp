#include <concord/nn/losses.h>
#include <concord/rl/agents/dqn.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::rl {
Dqn::Dqn(EnvPtr env, const DqnOptions& options, std::uint64_t seed)
    : Agent("dqn", std::move(env), seed),
      options_(options),
      replay_(*env_, bounds_, options.replay, options.batch),
      out_(env_->buffers()),
      actions_(env_->actions()),
      rewards_(Tensor::empty({env_->size()})) {
  if (options.train_every < 1 || options.target_every < 1 || options.batch < 1)
    throw ValueError(fmt::format(
        "dqn: train_every = {}, target_every = {}, batch = {}, expected at least 1 each",
        options.train_every, options.target_every, options.batch));
  const int tasks = static_cast<int>(bounds_.size()) - 1;
  network_ = std::make_unique<QNetwork>(Scope(store_), *env_, options.trunk, head_groups(tasks));
  learner_ = std::make_unique<Learner>(store_, tasks, options.learner, rng_);
  target_ = std::make_unique<Theta>(learner_->theta().clone());
  y_ = Tensor::empty({replay_.bounds().back()});
  env_->reset(out_.observation);
  replay_.begin(out_.observation);
}

void Dqn::act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
              const Tensor& actions) const {
  (*network_)({.theta = &learner_->theta()}, to_input(observation), bounds, acting_);
  epsilon_greedy(*network_, acting_, bounds, greedy ? 0 : options_.exploration(steps_), rng,
                 actions);
}

void Dqn::iterate() {
  begin_iteration();
  while (steps_ / options_.train_every == began_ / options_.train_every) {
    const std::int64_t copies = steps_ / options_.target_every;
    act(out_.observation, bounds_, rng_.fork("act").fork(static_cast<std::uint64_t>(steps_)), false,
        actions_);
    watch_.lap(Phase::acting);
    play(actions_, out_);
    watch_.lap(Phase::environment);
    rewards_.copy_from(out_.reward);
    clip_rewards(rewards_, options_.reward_clip);
    replay_.add(actions_, rewards_, out_);
    if (steps_ / options_.target_every > copies) target_->copy_from(learner_->theta());
    watch_.lap(Phase::other);
  }
  if (steps_ <= options_.start) return;
  for (std::int64_t k = began_ / options_.train_every; k < steps_ / options_.train_every; ++k)
    learn();
}

void q_targets(const Transitions& batch, const Tensor& next_q, const Tensor& chooser,
               std::span<float> y) {
  const index_t count = next_q.dim(1);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const float* choice = chooser.data<float>() + static_cast<index_t>(i) * count;
    const index_t best = std::max_element(choice, choice + count) - choice;
    y[i] = batch.reward.data<float>()[i] +
           batch.discount.data<float>()[i] *
               next_q.data<float>()[static_cast<index_t>(i) * count + best];
  }
}

void Dqn::learn() {
  const double progress =
      std::min(1.0, static_cast<double>(steps_) /
                        static_cast<double>(std::max<std::int64_t>(options_.exploration.steps, 1)));
  replay_.sample(rng_.fork("replay").fork(static_cast<std::uint64_t>(learner_->steps())),
                 options_.beta + progress * (1 - options_.beta));
  const Transitions& all = replay_.batch();
  const Bounds& bounds = replay_.bounds();
  (*network_)({.theta = target_.get()}, all.next_observation, bounds, next_q_);
  if (options_.double_q)
    (*network_)({.theta = &learner_->theta()}, all.next_observation, bounds, online_next_q_);
  for (std::size_t t = 0; t + 1 < bounds.size(); ++t) {
    const Tensor next_q = next_q_[t].value().to(kCpu);
    q_targets(replay_.batch(static_cast<int>(t)), next_q,
              options_.double_q ? online_next_q_[t].value().to(kCpu) : next_q,
              y_.rows(bounds[t], bounds[t + 1]).values<float>());
  }
  watch_.lap(Phase::other);
  learner_->step(
      [&](const Context& ctx, std::vector<Var>& losses) {
        (*network_)(ctx, all.observation, bounds, q_);
        losses.clear();
        for (std::size_t t = 0; t < q_.size(); ++t) {
          const Transitions& part = replay_.batch(static_cast<int>(t));
          const Device device = q_[t].value().device();
          const Var q = view(gather(q_[t], 1, part.action.view({-1, 1}).to(device)), {-1});
          const Tensor target = y_.rows(bounds[t], bounds[t + 1]);
          const Var y(target.to(device));
          const Var each = options_.huber > 0
                               ? nn::huber_loss(q, y, options_.huber, Reduction::none)
                               : 0.5 * square(q - y);
          losses.push_back(mean(Var(part.weight.to(device)) * each));
          if (!ctx.tape) continue;  // a method asks for the losses after the step
          measure("value_loss", losses.back().item());
          measure("q", mean(q.detach()).item());
          const Tensor values = q.value().to(kCpu);
          errors_.resize(static_cast<std::size_t>(q.dim(0)));
          for (std::size_t i = 0; i < errors_.size(); ++i)
            errors_[i] = values.data<float>()[i] - target.data<float>()[i];
          replay_.update(static_cast<int>(t), errors_);
        }
      },
      watch_);
}

void Dqn::archive_own(const Archive& a) {
  learner_->archive(a / "learner");
  a("target", target_->values());
  replay_.archive(a / "replay");
  if (a.loading()) env_->observe(out_.observation);
}

}  // namespace concord::rl
