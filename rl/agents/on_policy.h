// What REINFORCE, A2C, PPO and IMPALA share: a policy and a value per task, a stretch of steps with
// them, and losses on it. An algorithm says how targets and advantages come about and what its
// policy loss is.
#pragma once

#include <concord/rl/agent.h>
#include <concord/rl/losses.h>
#include <concord/rl/popart.h>
#include <concord/rl/rollout.h>

#include <functional>
#include <memory>
#include <optional>

namespace concord::rl {

/// Another policy to learn from beside the reward: distillation or kickstarting.
struct Teacher {
  /// What the teacher says about observations [B, ...] of a task, as networks take them.
  std::function<Distribution(const Tensor& observation, int task)> policy;
  TeacherSchedule weight;      ///< of its loss, by environment steps
  bool cross_entropy = false;  ///< kickstarting_loss instead of distillation_loss
  /// Its losses are rows of their own, so that the multitask method stands between: for T tasks,
  /// cosine_gate with mains = 0,...,T-1,0,...,T-1 is the gating of Du et al. (1812.02224). The
  /// policy heads count as shared then.
  bool apart = false;
};

struct OnPolicyOptions {
  ActorCriticOptions network;
  LearnerOptions learner;
  index_t steps = 128;  ///< T of each iteration
  double gamma = 0.99;
  double entropy = 0.01;     ///< weight of the entropy bonus
  double value = 0.5;        ///< weight of the value loss
  double reward_clip = 0;    ///< rewards are learned from as clamped to +-this; 0: as they are
  double popart = 0;         ///< rate of PopArt's statistics; 0: off
  bool standardise = false;  ///< advantages of each batch and task: mean 0, deviation 1
  bool apart = false;        ///< policy and value losses are rows of their own
  std::int64_t anneal = 0;   ///< the rate falls linearly to 0 over so many environment steps; 0: no
  std::optional<Teacher> teacher;
};

/// Losses are rows in this order: per task the policy's (with the value's, unless `apart`); if
/// `apart`, per task the value's; if the teacher is apart, per task the teacher's.
class OnPolicyAgent : public Agent {
 public:
  void act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
           const Tensor& actions) const override;
  const Learner& learner() const override { return *learner_; }
  const ParameterStore& store() const { return store_; }
  const ActorCritic& network() const { return *network_; }
  const PopArt& popart() const { return *popart_; }

 protected:
  /// The rows of one task in a batch of B, all [B].
  struct TaskBatch {
    Tensor log_prob;   ///< of the actions when they were chosen
    Tensor advantage;  ///< divided by PopArt's deviation
    Tensor value;      ///< V when the batch was evaluated, on the scale of the network's output
    Tensor target;     ///< likewise
  };

  OnPolicyAgent(std::string name, EnvPtr env, const OnPolicyOptions& options, std::uint64_t seed);

  virtual Var policy_loss(const TaskBatch& batch, const Var& log_prob) const;
  virtual Var value_loss(const TaskBatch& batch, const Var& value) const;

  /// T steps with the policy of `behaviour`.
  void collect(const Theta& behaviour);
  /// Step t of them.
  void collect_step(const Theta& behaviour, index_t t);
  /// Values of all that was seen, into worth_.
  void evaluate_values();
  /// advantage_ = target_ - V.
  void advantages_from_targets();
  /// Moves PopArt's statistics towards target_ on these rows.
  void update_popart(const Rows& rows);
  /// One step on these rows of the T*N that were collected.
  void learn(const Rows& rows);
  void archive_own(const Archive& a) override;

  OnPolicyOptions common_;
  ParameterStore store_;
  std::unique_ptr<ActorCritic> network_;
  std::unique_ptr<Learner> learner_;
  std::unique_ptr<PopArt> popart_;
  Rollout rollout_;
  RolloutValues worth_;
  Tensor target_, advantage_;  ///< [T,N], for the algorithm to fill

 private:
  void record_losses(const Context& ctx, std::vector<Var>& losses);

  std::vector<Distribution> policies_;
  std::vector<Var> values_;
  std::vector<float> targets_;  // one task's
  // The batch.
  Bounds batch_bounds_;
  Tensor observation_, action_;
  TaskBatch batch_;
};

}  // namespace concord::rl
