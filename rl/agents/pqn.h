// PQN (Gallici et al., 2407.04811): Q-learning on short stretches of many environments with
// lambda-returns and layer normalisation; no replay, no target network.
#pragma once

#include <concord/rl/agent.h>
#include <concord/rl/agents/q_learning.h>
#include <concord/rl/rollout.h>

#include <memory>

namespace concord::rl {

struct PqnOptions {
  PqnOptions() {
    trunk.hidden = {120, 84};
    trunk.activation = "relu";
    trunk.layer_norm = true;
    learner.clip_norm = 10;
  }
  TrunkOptions trunk;
  LearnerOptions learner;
  index_t steps = 32;
  double gamma = 0.99, lambda = 0.65;
  index_t epochs = 2, minibatches = 16;
  Exploration exploration;
  double reward_clip = 0;   ///< as in OnPolicyOptions
  std::int64_t anneal = 0;  ///< likewise
};

/// One loss per task: mean (Q(s,a) - G)^2 / 2.
class Pqn final : public Agent {
 public:
  /// Throws ValueError for continuous actions and options out of range.
  Pqn(EnvPtr env, const PqnOptions& options, std::uint64_t seed);
  void iterate() override;
  void act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
           const Tensor& actions) const override;
  const Learner& learner() const override { return *learner_; }

 private:
  void learn(const Rows& rows);
  void archive_own(const Archive& a) override;

  PqnOptions options_;
  ParameterStore store_;
  std::unique_ptr<QNetwork> network_;
  std::unique_ptr<Learner> learner_;
  Rollout rollout_;
  RolloutValues worth_;
  Minibatches minibatches_;
  Tensor target_;  // [T,N]
  Tensor observation_, action_, y_;
  std::vector<Var> q_;
  mutable std::vector<Var> acting_;  // scratch
};

}  // namespace concord::rl
