// A2C: advantage actor-critic, the synchronous form of A3C (Mnih et al., 1602.01783, sec. 4): one
// step on each short stretch. Settings of Stable-Baselines3; with its 16 environments.
#pragma once

#include <concord/rl/agents/on_policy.h>

namespace concord::rl {

struct A2cOptions : OnPolicyOptions {
  A2cOptions() {
    steps = 5;
    learner.optimizer = "rmsprop";
    learner.rate = 7e-4;
  }
  double lambda = 1;  ///< 1: n-step returns
};

class A2c final : public OnPolicyAgent {
 public:
  A2c(EnvPtr env, const A2cOptions& options, std::uint64_t seed)
      : OnPolicyAgent("a2c", std::move(env), options, seed), lambda_(options.lambda) {}

  void iterate() override {
    collect(learner_->theta());
    evaluate_values();
    lambda_returns(worth_.stretch(), common_.gamma, lambda_, target_);
    advantages_from_targets();
    update_popart(worth_.rows());
    learn(worth_.rows());
  }

 private:
  double lambda_;
};

}  // namespace concord::rl
