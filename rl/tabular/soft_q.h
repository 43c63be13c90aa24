// Soft Q-learning towards a prior: the soft Bellman equations of Teh et al., "Distral", 1707.04175,
// section 2 (their eqs 2 and 3). With weights w(a|s) = prior(a|s)^alpha,
//
//   V(s) = (1/beta) log sum_a w(a|s) exp(beta Q(s,a))
//   Q(s,a) = R(s,a) + discount E V(s')
//   policy(a|s) = w(a|s) exp(beta (Q(s,a) - V(s)))
//
// is the best policy for the reward R + (alpha/beta) log prior - (1/beta) log policy. For alpha < 1
// the weights do not add up to 1; what is missing is a bonus for entropy.
#pragma once

#include <concord/rl/tabular/action_table.h>
#include <concord/rl/tabular/play.h>

#include <span>

namespace concord::rl::tabular {

/// prior^alpha.
ActionTable soft_weights(const ActionTable& prior, double alpha);

/// V of one state.
double soft_value(std::span<const double> q, std::span<const double> weights, double beta);
/// Writes the policy of one state and returns its V.
double soft_policy(std::span<const double> q, std::span<const double> weights, double beta,
                   std::span<double> policy);
/// The policy of all states.
ActionTable soft_policy(const ActionTable& q, const ActionTable& weights, double beta);

/// Q of the equations, to rounding. Throws ValueError unless discount < 1.
ActionTable soft_values(const Mdp& mdp, const ActionTable& weights, double beta, double discount);

struct SoftQOptions {
  double beta = 5, discount = 0.95;
  double rate = 0.1;  ///< of Q(s,a) += rate (r + discount V(s') - Q(s,a))
  index_t max_steps = 100;
};

struct EpisodeOutcome {
  double reward = 0;  ///< their plain sum
  index_t steps = 0;
  bool ended = false;  ///< in a terminal state, rather than by max_steps
};

/// One episode under the soft policy, Q learned after each step. Every pair (s,a) on the way adds 1
/// to `counts`.
EpisodeOutcome soft_q_episode(const Mdp& mdp, const ActionTable& weights,
                              const SoftQOptions& options, Draws& draws, ActionTable& q,
                              ActionTable& counts);

}  // namespace concord::rl::tabular
