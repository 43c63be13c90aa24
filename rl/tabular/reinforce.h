// REINFORCE (Williams 1992) with a softmax policy whose logits stand in a table, and distillation
// from a teacher. Gradients are those of losses, to be minimised, in closed form: with respect to a
// row of logits, the derivative of -log policy(a) is policy - 1_a.
#pragma once

#include <concord/rl/tabular/action_table.h>
#include <concord/rl/tabular/play.h>

#include <span>
#include <vector>

namespace concord::rl::tabular {

/// What happened at each step.
struct Episode {
  std::vector<index_t> states, actions;
  std::vector<double> rewards;

  index_t steps() const { return static_cast<index_t>(states.size()); }
  /// G_t = sum_u discount^(u-t) r_u, one per step.
  std::vector<double> returns(double discount) const;
};

/// From the MDP's start, at most `max_steps` steps.
Episode play_episode(const Mdp& mdp, const ActionTable& policy, index_t max_steps, Draws& draws);

/// Adds `scale` times the gradient of sum_t -A_t log policy(a_t|s_t) to `gradient`, [S,A]
/// row-major. advantages: A_t = G_t minus a baseline, one per step.
void add_reinforce(const Episode& episode, const ActionTable& policy,
                   std::span<const double> advantages, double scale, std::span<double> gradient);

/// Adds `scale` times the gradient of sum_t KL(teacher(.|s_t) || policy(.|s_t)). The states are
/// taken as they came: that they depend on the policy is not differentiated, so this field need not
/// be the gradient of anything.
void add_distillation(const Episode& episode, const ActionTable& policy, const ActionTable& teacher,
                      double scale, std::span<double> gradient);

}  // namespace concord::rl::tabular
