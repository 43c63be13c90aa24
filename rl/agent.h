// Agent: what all learners have in common, as experiments see them.
//
//   Ppo agent(make_env("cartpole", {.size = 4, .seed = 1}), PpoOptions(), /*seed=*/1);
//   while (agent.steps() < 500'000) agent.iterate();
//   agent.episodes().mean_score(0);
//
// Random numbers are functions of (seed, step, environment): a run depends neither on the number of
// threads nor on being interrupted.
#pragma once

#include <concord/rl/archive.h>
#include <concord/rl/environment.h>
#include <concord/rl/episodes.h>
#include <concord/rl/learner.h>
#include <concord/rl/networks.h>
#include <concord/rl/stopwatch.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concord::rl {

class Agent {
 public:
  virtual ~Agent() = default;
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Some steps of all environments and what is learned from them.
  virtual void iterate() = 0;
  /// Actions for observations [M, ...] whose rows of task t are [bounds[t], bounds[t+1]): drawn, or
  /// with `greedy` the best ones. Environments of another number than in training may be played.
  virtual void act(const Tensor& observation, const Bounds& bounds, const Rng& rng, bool greedy,
                   const Tensor& actions) const = 0;
  /// The learner whose telemetry tells how the tasks get along.
  virtual const Learner& learner() const = 0;

  const std::string& name() const { return name_; }
  const VecEnv& env() const { return *env_; }
  std::int64_t steps() const { return steps_; }  ///< of all environments together
  Episodes& episodes() { return episodes_; }
  const Episodes& episodes() const { return episodes_; }
  const Stopwatch& watch() const { return watch_; }
  /// Means over the last iterate(), by name: "policy_loss", "entropy" ...
  const std::vector<std::pair<std::string, double>>& metrics() const { return metrics_; }

  /// Everything that a continuation needs to be bitwise the same run. Loading throws FileError for
  /// a checkpoint of another agent.
  void archive(const Archive& a);

 protected:
  Agent(std::string name, EnvPtr env, std::uint64_t seed);
  virtual void archive_own(const Archive& a) = 0;
  /// All environments take one step; counts it and records the scores. `chosen` as VecEnv::step.
  void play(const Tensor& chosen, const StepBuffers& out);
  /// Adds to the metric's mean.
  void measure(std::string_view name, double value);
  /// Clears the metrics; the learning rate of the whole iteration is that of its first step.
  void begin_iteration();

  EnvPtr env_;
  Bounds bounds_;  ///< of one row per environment
  Rng rng_;
  std::int64_t steps_ = 0;
  std::int64_t began_ = 0;  ///< steps_ when the iteration began
  Stopwatch watch_;

 private:
  std::string name_;
  Episodes episodes_;
  std::vector<std::pair<std::string, double>> metrics_;
  std::vector<std::int64_t> metric_counts_;
};

/// 1 at step 0, falling linearly to 0 at step `over`; 1 throughout when `over` is 0.
double linear_decay(std::int64_t step, std::int64_t over);

/// Actions for rows as Agent::act has them by each task's policy, and their log-probabilities, f32
/// [M], unless undefined or `greedy`. The draw of a row does not depend on the others.
void choose(const std::vector<Distribution>& policies, const Bounds& bounds, const Rng& rng,
            bool greedy, const Tensor& actions, const Tensor& log_probs);

/// Clamps f32 rewards to [-bound, bound]; 0: leaves them.
void clip_rewards(const Tensor& rewards, double bound);

/// Of some episodes of every task t.
struct Evaluation {
  std::vector<double> score;  ///< [t]: mean
  std::vector<index_t> cut;   ///< [t]: episodes cut off at the last step, with what they had
};

/// How a policy does, apart from training: raw scores of `episodes` episodes of every task of env,
/// which must be the agent's. Each environment plays as many as the next one, whatever their
/// lengths, so that short ones are not favoured. A policy without noise may play for ever
/// (Breakout's ball can fall into a circle): after `max_steps` steps of each environment the
/// episodes that run are cut off and count, those that have not begun are left out. Throws
/// ValueError for less than one episode or step.
Evaluation evaluate(const Agent& agent, VecEnv& env, index_t episodes, bool greedy,
                    std::uint64_t seed, std::int64_t max_steps = 100'000);

}  // namespace concord::rl
