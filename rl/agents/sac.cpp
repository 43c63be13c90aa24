#include <concord/rl/agents/sac.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::rl {
namespace {

/// log std = low + (high - low) (tanh(x) + 1) / 2: bounded, and smooth at the bounds.
constexpr double kLowLogStd = -5, kHighLogStd = 2;

const VecEnv& continuous(const VecEnv& env) {
  if (env.spec().action.count > 0)
    throw ValueError(
        fmt::format("sac: '{}' has discrete actions, expected continuous ones", env.spec().name));
  if (env.spec().observation.dtype == DType::i64)
    throw DTypeError(fmt::format("sac: '{}' shows numbers of states, expected f32 or u8 values",
                                 env.spec().name));
  return env;
}

}  // namespace

Sac::Sac(EnvPtr env, const SacOptions& options, std::uint64_t seed)
    : Agent("sac", std::move(env), seed),
      options_(options),
      low_(continuous(*env_).spec().action.low),
      high_(env_->spec().action.high),
      replay_(*env_, bounds_, options.replay, options.batch),
      out_(env_->buffers()),
      actions_(env_->actions()) {
  if (options.train_every < 1 || options.batch < 1 || options.replay.alpha != 0 ||
      !(options.alpha > 0) || !(options.tau > 0 && options.tau <= 1)) {
    throw ValueError(fmt::format(
        "sac: train_every = {}, batch = {}, replay.alpha = {}, alpha = {}, tau = {}, expected the "
        "first two at least 1, uniform replay, alpha > 0, tau in (0, 1]",
        options.train_every, options.batch, options.replay.alpha, options.alpha, options.tau));
  }
  const int tasks = static_cast<int>(bounds_.size()) - 1;
  const std::vector<int> groups = head_groups(tasks);
  const ObservationSpec& seen = env_->spec().observation;
  const index_t dimensions = env_->spec().action.dimensions;
  actor_trunk_ = make_trunk(Scope(actor_store_) / "actor", seen, options.trunk);
  actor_heads_ = std::make_unique<Heads>(Scope(actor_store_) / "policy", groups,
                                         actor_trunk_->features(), 2 * dimensions, 0.01);
  const ObservationSpec pair{DType::f32, {seen.shape.numel() + dimensions}};
  for (std::size_t k = 0; k < 2; ++k) {
    const Scope scope = Scope(critic_store_) / fmt::format("critic{}", k + 1);
    critic_trunks_[k] = make_trunk(scope / "trunk", pair, options.trunk);
    critic_heads_[k] =
        std::make_unique<Heads>(scope / "q", groups, critic_trunks_[k]->features(), 1, 1.0);
  }
  for (int t = 0; t < tasks; ++t)
    log_alpha_.push_back(Scope(temperature_store_)
                             .parameter(fmt::format("log_alpha.{}", t), {},
                                        nn::init::constant(std::log(options.alpha))));
  actor_learner_ =
      std::make_unique<Learner>(actor_store_, tasks, options.actor, rng_.fork("actor"));
  critic_learner_ =
      std::make_unique<Learner>(critic_store_, tasks, options.critic, rng_.fork("critic"));
  temperature_learner_ = std::make_unique<Learner>(temperature_store_, tasks, options.temperature,
                                                   rng_.fork("temperature"));
  // Polyak's average: momentum 1 - tau.
  target_ = std::make_unique<optim::MovingAverage>(critic_learner_->theta(), 1 - options.tau);
  noise_ = Tensor::empty({replay_.bounds().back(), dimensions});
  y_ = Tensor::empty({replay_.bounds().back()});
  env_->reset(out_.observation);
  replay_.begin(out_.observation);
}

double Sac::temperature(int task) const {
  return std::exp(temperature_learner_->theta()[log_alpha_[static_cast<std::size_t>(task)]].item());
}

void Sac::policy(const Context& ctx, const Var& observation, const Bounds& bounds,
                 std::vector<Distribution>& out) const {
  features_by_task(*actor_trunk_, ctx, observation, bounds, features_);
  (*actor_heads_)(ctx, features_, outputs_);
  out.clear();
  for (const Var& y : outputs_) {
    if (!y.value().defined()) {
      out.emplace_back();
      continue;
    }
    const index_t dimensions = y.dim(1) / 2;
    constexpr double kHalf = (kHighLogStd - kLowLogStd) / 2;
    out.push_back(
        {.mean = slice(y, 1, 0, dimensions),
         .log_std = tanh(slice(y, 1, dimensions, 2 * dimensions)) * kHalf + (kLowLogStd + kHalf)});
  }
}

void Sac::values(const Context& ctx, const Var& observation, const Var& action,
                 const Bounds& bounds, std::array<std::vector<Var>, 2>& out) const {
  const auto on_device = [&](const Var& x) {
    return x.recorded() ? x : Var(x.value().to(ctx.theta->device()));
  };
  const Var pair = concat({flatten(on_device(observation)), on_device(action)}, 1);
  for (std::size_t k = 0; k < 2; ++k) {
    features_by_task(*critic_trunks_[k], ctx, pair, bounds, features_);
    (*critic_heads_[k])(ctx, features_, out[k]);
    for (Var& q : out[k]) q = view(q, {-1});
  }
}

Var Sac::draw(const Context& ctx, const Tensor& observation, const Rng& noise) {
  const Bounds& bounds = replay_.bounds();
  policy(ctx, observation, bounds, policies_);
  noise.fill_normal(noise_);
  squashed_.clear();
  log_pi_.clear();
  for (std::size_t t = 0; t < policies_.size(); ++t) {
    const Squashed s = squash(policies_[t], noise_.rows(bounds[t], bounds[t + 1]), low_, high_);
    squashed_.push_back(s.action);
    log_pi_.push_back(s.log_prob);
  }
  return squashed_.size() == 1 ? squashed_[0] : concat(squashed_, 0);
}

void Sac::act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
              const Tensor& actions) const {
  policy({.theta = &actor_learner_->theta()}, to_input(observation), bounds, acting_);
  const index_t dimensions = actions.dim(1);
  for (std::size_t t = 0; t < acting_.size(); ++t) {
    const index_t first = bounds[t], rows = bounds[t + 1] - first;
    if (rows == 0) continue;
    const Tensor noise = Tensor::zeros({rows, dimensions});
    for (index_t k = 0; k < (greedy ? 0 : rows * dimensions); ++k)
      noise.data<float>()[k] =
          static_cast<float>(rng.normal(static_cast<std::uint64_t>(first * dimensions + k)));
    actions.rows(first, first + rows)
        .copy_from(squash(acting_[t], noise, low_, high_).action.value());
  }
}

void Sac::iterate() {
  begin_iteration();
  while (steps_ / options_.train_every == began_ / options_.train_every) {
    const Rng rng = rng_.fork("act").fork(static_cast<std::uint64_t>(steps_));
    if (steps_ < options_.start)
      rng.fill_uniform(actions_, low_, high_);
    else
      act(out_.observation, bounds_, rng, false, actions_);
    watch_.lap(Phase::acting);
    play(actions_, out_);
    watch_.lap(Phase::environment);
    replay_.add(actions_, out_.reward, out_);
    watch_.lap(Phase::other);
  }
  if (steps_ <= options_.start) return;
  for (std::int64_t k = began_ / options_.train_every; k < steps_ / options_.train_every; ++k)
    learn();
}

void Sac::learn() {
  const Rng rng = rng_.fork("learn").fork(static_cast<std::uint64_t>(critic_learner_->steps()));
  replay_.sample(rng.fork("replay"), 0);
  const Transitions& all = replay_.batch();
  const Bounds& bounds = replay_.bounds();
  const std::size_t tasks = bounds.size() - 1;

  const Var next_action =
      draw({.theta = &actor_learner_->theta()}, all.next_observation, rng.fork("next"));
  values({.theta = &target_->theta()}, all.next_observation, next_action, bounds, q_);
  for (std::size_t t = 0; t < tasks; ++t) {
    const double alpha = temperature(static_cast<int>(t));
    const Tensor soft = (minimum(q_[0][t], q_[1][t]) - alpha * log_pi_[t]).value();
    const Transitions& part = replay_.batch(static_cast<int>(t));
    y_.rows(bounds[t], bounds[t + 1])
        .copy_from((Var(part.reward) + Var(part.discount) * Var(soft.to(kCpu))).value());
  }
  watch_.lap(Phase::other);

  critic_learner_->step(
      [&](const Context& ctx, std::vector<Var>& losses) {
        values(ctx, all.observation, all.action, bounds, q_);
        losses.clear();
        for (std::size_t t = 0; t < tasks; ++t) {
          const Var y(y_.rows(bounds[t], bounds[t + 1]).to(ctx.theta->device()));
          losses.push_back(mean(square(q_[0][t] - y) + square(q_[1][t] - y)));
          if (ctx.tape) measure("value_loss", losses.back().item());
        }
      },
      watch_);

  const Rng noise = rng.fork("policy");
  actor_learner_->step(
      [&](const Context& ctx, std::vector<Var>& losses) {
        const Var action = draw(ctx, all.observation, noise);
        // Without a tape the critics' parameters are constants; the gradient flows through
        // `action`.
        values({.theta = &critic_learner_->theta()}, all.observation, action, bounds, q_);
        losses.clear();
        for (std::size_t t = 0; t < tasks; ++t) {
          const double alpha = temperature(static_cast<int>(t));
          losses.push_back(mean(alpha * log_pi_[t] - minimum(q_[0][t], q_[1][t])));
          if (!ctx.tape) continue;
          measure("policy_loss", losses.back().item());
          measure("entropy", -mean(log_pi_[t].detach()).item());
        }
      },
      watch_);

  const double wanted = options_.target_entropy * static_cast<double>(actions_.dim(1));
  temperature_learner_->step(
      [&](const Context& ctx, std::vector<Var>& losses) {
        losses.clear();
        for (std::size_t t = 0; t < tasks; ++t) {
          const double gap = mean(log_pi_[t].detach()).item() + wanted;
          losses.push_back(-gap * exp(ctx.parameter(log_alpha_[t])));
          if (ctx.tape) measure("temperature", temperature(static_cast<int>(t)));
        }
      },
      watch_);

  target_->update(critic_learner_->theta());
  watch_.lap(Phase::other);
}

void Sac::archive_own(const Archive& a) {
  actor_learner_->archive(a / "actor");
  critic_learner_->archive(a / "critic");
  temperature_learner_->archive(a / "temperature");
  a("target", target_->theta().values());
  replay_.archive(a / "replay");
  if (a.loading()) env_->observe(out_.observation);
}

}  // namespace concord::rl
