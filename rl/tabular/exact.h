// What a known MDP gives away without playing: values and visits of a policy, the gradient of its
// return, and the optimum. All by sweeps over the states until nothing moves; `discount` must be
// below 1, or every policy must end its episodes.
#pragma once

#include <concord/rl/mdp.h>
#include <concord/rl/tabular/action_table.h>

#include <vector>

namespace concord::rl::tabular {

/// V(s) = sum_a policy(a|s) (R(s,a) + bonus(s,a) + discount E V(s')): [S]. `bonus` may be null.
std::vector<double> state_values(const Mdp& mdp, const ActionTable& policy, double discount,
                                 const ActionTable* bonus = nullptr);
/// Q(s,a) = R(s,a) + discount E V(s').
ActionTable action_values(const Mdp& mdp, const std::vector<double>& values, double discount);
/// d(s) = sum_t discount^t P(s_t = s) from the MDP's start: [S]. States that end an episode are not
/// counted.
std::vector<double> visits(const Mdp& mdp, const ActionTable& policy, double discount);
/// sum_s start(s) V(s): the expected discounted return.
double expected_return(const Mdp& mdp, const std::vector<double>& values);

/// The gradient of that return with respect to the logits of a softmax policy,
///   dJ/dlogit(s,a) = d(s) policy(a|s) (Q(s,a) - V(s)),
/// the policy gradient theorem (Sutton et al. 1999). With `bonus`, which may depend on the policy
/// as -log policy does: its own derivative vanishes in the mean over actions.
ActionTable policy_gradient(const Mdp& mdp, const ActionTable& policy, double discount,
                            const ActionTable* bonus = nullptr);

/// Q of the best policy, by value iteration.
ActionTable optimal_values(const Mdp& mdp, double discount);

}  // namespace concord::rl::tabular
