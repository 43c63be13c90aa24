#include <concord/rl/tabular/q_learning.h>

#include <algorithm>

namespace concord::rl::tabular {
namespace {

index_t best(std::span<const double> row) {
  return std::max_element(row.begin(), row.end()) - row.begin();
}

}  // namespace

ActionTable q_learning(const Mdp& mdp, const QLearningOptions& o, Draws& draws) {
  ActionTable q(mdp.states(), mdp.actions(), o.initial);
  for (index_t episode = 0; episode < o.episodes; ++episode) {
    index_t s = draw_start(mdp, draws);
    for (index_t t = 0; t < o.max_steps; ++t) {
      const index_t a =
          draws.chance(o.explore) ? draws.below(static_cast<int>(mdp.actions())) : best(q[s]);
      const Consequence& c = draw_consequence(mdp, s, a, draws);
      const double later = c.terminal ? 0 : q[c.next][best(q[c.next])];
      q[s][a] += o.rate * (c.reward + o.discount * later - q[s][a]);
      if (c.terminal) break;
      s = c.next;
    }
  }
  return q;
}

ActionTable policy_of(const ActionTable& q, double temperature) {
  ActionTable policy(q.states(), q.actions());
  if (temperature == 0) {
    for (index_t s = 0; s < q.states(); ++s) policy[s][best(q[s])] = 1;
    return policy;
  }
  for (std::size_t k = 0; k < q.values().size(); ++k)
    policy.values()[k] = q.values()[k] / temperature;
  return softmax(policy);
}

}  // namespace concord::rl::tabular
