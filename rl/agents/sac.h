// SAC: soft actor-critic with a learned temperature (Haarnoja et al., 1812.05905), for continuous
// actions.
#pragma once

#include <concord/optim/average.h>
#include <concord/rl/agent.h>
#include <concord/rl/replay.h>

#include <array>
#include <memory>

namespace concord::rl {

struct SacOptions {
  SacOptions() {
    trunk.hidden = {256, 256};
    trunk.activation = "relu";
    replay.capacity = 1'000'000;
    for (LearnerOptions* l : {&actor, &critic, &temperature}) {
      l->eps = 1e-8;
      l->clip_norm = 0;
    }
    actor.rate = 3e-4;
    critic.rate = temperature.rate = 1e-3;
  }
  TrunkOptions trunk;  ///< of the policy and of both critics, each with its own
  LearnerOptions actor, critic, temperature;
  ReplayOptions replay;        ///< capacity per task, n, gamma; alpha must be 0
  index_t batch = 256;         ///< per task
  std::int64_t start = 5'000;  ///< environment steps with uniform random actions, not learned from
  std::int64_t train_every = 1;  ///< environment steps per learner step
  double tau = 0.005;            ///< target critics: theta' <- (1 - tau) theta' + tau theta
  double alpha = 1;              ///< temperature at the start
  /// The temperature is moved until the policy's entropy is this per dimension of the action.
  double target_entropy = -1;
};

/// Per task t, with a' and log pi' drawn from the policy at s', and alpha_t the temperature:
///   critics: mean (Q1 - y)^2 + (Q2 - y)^2, y = r + gamma (min(Q1', Q2')(s',a') - alpha_t log pi')
///   policy:  mean alpha_t log pi(a|s) - min(Q1, Q2)(s, a)
///   log alpha_t:  -mean alpha_t (log pi + target entropy), log pi a constant.
/// Three learners, so that an aggregator may stand in each.
class Sac final : public Agent {
 public:
  /// Throws ValueError for discrete actions and options out of range.
  Sac(EnvPtr env, const SacOptions& options, std::uint64_t seed);

  void iterate() override;
  void act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
           const Tensor& actions) const override;
  const Learner& learner() const override { return *actor_learner_; }
  const Learner& critic_learner() const { return *critic_learner_; }
  double temperature(int task) const;

 private:
  /// The policy's Gaussian before squashing, per task.
  void policy(const Context& ctx, const Var& observation, const Bounds& bounds,
              std::vector<Distribution>& out) const;
  /// Q_k(s, a) of both critics, [B_t] per task.
  void values(const Context& ctx, const Var& observation, const Var& action, const Bounds& bounds,
              std::array<std::vector<Var>, 2>& out) const;
  /// Actions and log pi of a batch with the noise of this stream; the tasks' actions are joined.
  Var draw(const Context& ctx, const Tensor& observation, const Rng& noise);
  void learn();
  void archive_own(const Archive& a) override;

  SacOptions options_;
  double low_, high_;
  ParameterStore actor_store_, critic_store_, temperature_store_;
  std::unique_ptr<nn::Trunk> actor_trunk_;
  std::unique_ptr<Heads> actor_heads_;
  std::array<std::unique_ptr<nn::Trunk>, 2> critic_trunks_;
  std::array<std::unique_ptr<Heads>, 2> critic_heads_;
  std::vector<SliceId> log_alpha_;  // per task
  std::unique_ptr<Learner> actor_learner_, critic_learner_, temperature_learner_;
  std::unique_ptr<optim::MovingAverage> target_;
  TaskReplay replay_;
  StepBuffers out_;
  Tensor actions_, noise_, y_;
  mutable std::vector<Distribution> acting_;     // scratch
  mutable std::vector<Var> features_, outputs_;  // scratch
  std::vector<Distribution> policies_;
  std::vector<Var> log_pi_, squashed_;
  std::array<std::vector<Var>, 2> q_;
};

}  // namespace concord::rl
