// DQN (Mnih et al., Nature 2015), with double Q-learning (van Hasselt et al., 1509.06461), n-step
// returns and prioritised replay (Schaul et al., 1511.05952) as options. Defaults are CleanRL's for
// CartPole, which differ from the paper's: Adam instead of RMSProp, squared errors without
// clipping, raw rewards, a small network, one copy to the target network per 500 steps. The paper's
// are huber = 1 and reward_clip = 1 with RMSProp.
#pragma once

#include <concord/rl/agent.h>
#include <concord/rl/agents/q_learning.h>
#include <concord/rl/replay.h>

#include <memory>

namespace concord::rl {

struct DqnOptions {
  DqnOptions() {
    trunk.hidden = {120, 84};
    trunk.activation = "relu";
    learner.eps = 1e-8;
    learner.clip_norm = 0;
  }
  TrunkOptions trunk;
  LearnerOptions learner;
  ReplayOptions replay;  ///< capacity, n, gamma, and alpha > 0 for prioritised replay
  double beta = 0.4;     ///< of prioritised replay, rising linearly to 1 over exploration.steps
  index_t batch = 128;   ///< per task
  std::int64_t start = 10'000;      ///< environment steps before learning begins
  std::int64_t train_every = 10;    ///< environment steps per learner step
  std::int64_t target_every = 500;  ///< environment steps between copies to the target network
  Exploration exploration;
  bool double_q = false;   ///< the online network chooses the action that the target one values
  double huber = 0;        ///< squared errors above this are linear (error clipping); 0: squared
  double reward_clip = 0;  ///< as in OnPolicyOptions
};

/// One loss per task: mean w (Q(s,a) - y)^2 / 2, y = sum_k gamma^k r_k + gamma^n Q'(s', a*).
class Dqn final : public Agent {
 public:
  /// Throws ValueError for continuous actions and options out of range.
  Dqn(EnvPtr env, const DqnOptions& options, std::uint64_t seed);

  /// At least `train_every` steps, and the learner steps that are due.
  void iterate() override;
  void act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
           const Tensor& actions) const override;
  const Learner& learner() const override { return *learner_; }

 private:
  void learn();
  void archive_own(const Archive& a) override;

  DqnOptions options_;
  ParameterStore store_;
  std::unique_ptr<QNetwork> network_;
  std::unique_ptr<Learner> learner_;
  std::unique_ptr<Theta> target_;
  TaskReplay replay_;
  StepBuffers out_;
  Tensor actions_, rewards_;
  std::vector<Var> q_, next_q_, online_next_q_;
  mutable std::vector<Var> acting_;  // scratch
  Tensor y_;                         // [B]
  std::vector<float> errors_;
};

/// y_i = reward_i + discount_i q'_i, where q' = next_q[i, a*] and a* is the best action of
/// `chooser` [B,A]: next_q itself, or with double Q-learning the online network's values of the
/// same states.
void q_targets(const Transitions& batch, const Tensor& next_q, const Tensor& chooser,
               std::span<float> y);

}  // namespace concord::rl
