// Distral on networks (Teh et al., 1707.04175, section 3), with A2C in place of the paper's A3C.
// Each policy is made of columns, one shared by all tasks and one per task, in one of the seven
// forms of the paper's table 1; what is learned from is the regularised reward
//
//   R_i + (alpha/beta) log pi_0(a|s) - (1/beta) log pi_i(a|s)
//
// with alpha = c_KL / (c_KL + c_Ent) and beta = 1 / (c_KL + c_Ent).
#pragma once

#include <concord/rl/agent.h>
#include <concord/rl/rollout.h>

#include <memory>
#include <string>

namespace concord::rl {

struct ColumnForm;  // rl/distral.h

struct DistralA2cOptions {
  DistralA2cOptions() {
    learner.optimizer = "rmsprop";
    learner.rate = 7e-4;
  }
  std::string form = "KL+ent_2col";  ///< of column_forms(): what is shared, and alpha
  double beta = 100;                 ///< 1 / (c_KL + c_Ent)
  TrunkOptions trunk;                ///< of each column
  LearnerOptions learner;
  index_t steps = 5;  ///< T of each iteration
  double gamma = 0.99;
  double lambda = 1;        ///< 1: n-step returns
  double value = 0.5;       ///< weight of the value loss
  std::int64_t anneal = 0;  ///< as in OnPolicyOptions
};

/// One row per task:
///   -mean log pi_i(a|s) A + value mean (V - G)^2 / 2 + (alpha/beta) mean KL(pi_i || pi_0),
/// the last for pi_0 alone: pi_i is a constant there, its part of the divergence is in the reward.
/// Columns and values of a task are reached by its row, h by all. Not in the paper: a value per
/// task also where there is one policy, no tie between the values, and means over the steps of a
/// stretch, undiscounted, in place of gamma^t.
class DistralA2c final : public Agent {
 public:
  /// Throws ValueError for continuous actions, an unknown form and beta <= 0.
  DistralA2c(EnvPtr env, const DistralA2cOptions& options, std::uint64_t seed);
  void iterate() override;
  void act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
           const Tensor& actions) const override;
  const Learner& learner() const override { return *learner_; }
  const ColumnNetwork& network() const { return *network_; }
  const ColumnForm& form() const { return form_; }

 private:
  void collect_step(index_t t);
  void learn();
  void archive_own(const Archive& a) override;

  DistralA2cOptions options_;
  const ColumnForm& form_;
  ParameterStore store_;
  std::unique_ptr<ColumnNetwork> network_;
  std::unique_ptr<Learner> learner_;
  Rollout rollout_;  // its rewards are the regularised ones
  RolloutValues worth_;
  Tensor target_;                                   // [T,N]
  Tensor observation_, action_, y_, advantage_;     // the batch
  std::vector<Distribution> policies_, distilled_;  // by task
  std::vector<Var> values_;
};

}  // namespace concord::rl
