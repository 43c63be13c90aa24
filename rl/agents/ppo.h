// PPO: proximal policy optimisation (Schulman et al., 1707.06347), with the details of CleanRL's
// ppo.py: advantages standardised per minibatch, clipped value loss, Adam with eps 1e-5, orthogonal
// initialisation, rate annealed to 0.
#pragma once

#include <concord/rl/agents/on_policy.h>

namespace concord::rl {

struct PpoOptions : OnPolicyOptions {
  PpoOptions() { standardise = true; }
  double lambda = 0.95;  ///< of the generalised advantage estimate
  double clip = 0.2;
  bool clip_value = true;
  index_t epochs = 4, minibatches = 4;
};

class Ppo final : public OnPolicyAgent {
 public:
  /// Throws ValueError for options out of range.
  Ppo(EnvPtr env, const PpoOptions& options, std::uint64_t seed);
  void iterate() override;

 private:
  Var policy_loss(const TaskBatch& batch, const Var& log_prob) const override;
  Var value_loss(const TaskBatch& batch, const Var& value) const override;

  PpoOptions options_;
  Minibatches minibatches_;
};

}  // namespace concord::rl
