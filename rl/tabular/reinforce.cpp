#include <concord/rl/tabular/reinforce.h>

namespace concord::rl::tabular {

std::vector<double> Episode::returns(double discount) const {
  std::vector<double> g = rewards;
  for (index_t t = steps() - 2; t >= 0; --t) g[t] += discount * g[t + 1];
  return g;
}

Episode play_episode(const Mdp& mdp, const ActionTable& policy, index_t max_steps, Draws& draws) {
  Episode episode;
  index_t s = draw_start(mdp, draws);
  while (episode.steps() < max_steps) {
    const index_t a = draw(policy[s], draws);
    const Consequence& c = draw_consequence(mdp, s, a, draws);
    episode.states.push_back(s);
    episode.actions.push_back(a);
    episode.rewards.push_back(c.reward);
    if (c.terminal) break;
    s = c.next;
  }
  return episode;
}

void add_reinforce(const Episode& episode, const ActionTable& policy,
                   std::span<const double> advantages, double scale, std::span<double> gradient) {
  const index_t actions = policy.actions();
  for (index_t t = 0; t < episode.steps(); ++t) {
    const index_t s = episode.states[t];
    double* row = &gradient[s * actions];
    for (index_t a = 0; a < actions; ++a) row[a] += scale * advantages[t] * policy[s][a];
    row[episode.actions[t]] -= scale * advantages[t];
  }
}

void add_distillation(const Episode& episode, const ActionTable& policy, const ActionTable& teacher,
                      double scale, std::span<double> gradient) {
  const index_t actions = policy.actions();
  for (const index_t s : episode.states)
    for (index_t a = 0; a < actions; ++a)
      gradient[s * actions + a] += scale * (policy[s][a] - teacher[s][a]);
}

}  // namespace concord::rl::tabular
