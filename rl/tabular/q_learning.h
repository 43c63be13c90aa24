// Q-learning (Watkins 1989) in a table.
#pragma once

#include <concord/rl/tabular/action_table.h>
#include <concord/rl/tabular/play.h>

namespace concord::rl::tabular {

struct QLearningOptions {
  double discount = 0.95;
  double rate = 0.1;     ///< of Q(s,a) += rate (r + discount max_b Q(s',b) - Q(s,a))
  double explore = 0.1;  ///< probability of a uniform action instead of the best one
  double initial = 0;    ///< Q everywhere at first; above the largest value, it makes for curiosity
  index_t episodes = 2000, max_steps = 200;
};

/// Q after so many episodes from the MDP's start. Among best actions the first is taken.
ActionTable q_learning(const Mdp& mdp, const QLearningOptions& options, Draws& draws);

/// softmax(Q / temperature), with probability 1 on the first best action at temperature 0.
ActionTable policy_of(const ActionTable& q, double temperature);

}  // namespace concord::rl::tabular
