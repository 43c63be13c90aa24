// A finite Markov decision process that is known exactly: experiments solve it, agents play it.
#pragma once

#include <concord/rl/vectorised.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace concord::rl {

/// One of the things that can happen after an action.
struct Consequence {
  double probability = 1;
  std::int32_t next = 0;  ///< the state that follows; where the episode ended, if `terminal`
  float reward = 0;
  bool terminal = false;
};

/// States 0 to states-1, actions 0 to actions-1.
class Mdp {
 public:
  /// Every action leads back to its state without reward until `set` says otherwise; every episode
  /// starts in state 0 until `start` is changed.
  Mdp(std::string name, index_t states, std::vector<std::string> action_names);

  index_t states() const { return states_; }
  index_t actions() const { return static_cast<index_t>(action_names.size()); }

  /// What follows action a in state s; consequences with the same state, reward and end are joined,
  /// those of probability 0 left out. Throws ValueError unless the probabilities add up to 1 and
  /// the states exist.
  void set(index_t s, index_t a, std::vector<Consequence> consequences);
  std::span<const Consequence> at(index_t s, index_t a) const { return table_[s * actions() + a]; }

  /// P: f64 [S,A,S], P[s,a,s'] the probability that the episode goes on in s'; a row adds up to 1
  /// minus the probability of its end.
  Tensor transitions() const;
  /// R: f64 [S,A], the expected reward of an action.
  Tensor rewards() const;

  std::string name;
  std::vector<std::string> action_names;
  std::vector<double> start;  ///< [S], adds up to 1: where episodes begin
  index_t max_steps = 0;      ///< of an episode that is played; 0: no limit
  /// What a player sees: row s of f32 or u8 [S, ...]. Undefined: the number of the state.
  Tensor observations;
  /// Pictures: the scene, and the pixel at the centre of the agent in each state. Empty: the states
  /// in a row.
  std::vector<Canvas> scene;
  std::vector<std::pair<double, double>> places;

 private:
  index_t states_;
  std::vector<std::vector<Consequence>> table_;
};

/// Copies of `mdp` to play.
EnvPtr make_mdp_env(const Mdp& mdp, const EnvCount& count);

}  // namespace concord::rl
