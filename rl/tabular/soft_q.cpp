#include <concord/rl/tabular/soft_q.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::rl::tabular {

ActionTable soft_weights(const ActionTable& prior, double alpha) {
  ActionTable weights = prior;
  for (double& w : weights.values()) w = std::pow(w, alpha);
  return weights;
}

double soft_value(std::span<const double> q, std::span<const double> weights, double beta) {
  const double most = *std::max_element(q.begin(), q.end());
  double sum = 0;
  for (std::size_t a = 0; a < q.size(); ++a) sum += weights[a] * std::exp(beta * (q[a] - most));
  return most + std::log(sum) / beta;
}

double soft_policy(std::span<const double> q, std::span<const double> weights, double beta,
                   std::span<double> policy) {
  const double most = *std::max_element(q.begin(), q.end());
  double sum = 0;
  for (std::size_t a = 0; a < q.size(); ++a)
    sum += policy[a] = weights[a] * std::exp(beta * (q[a] - most));
  for (double& p : policy) p /= sum;
  return most + std::log(sum) / beta;
}

ActionTable soft_policy(const ActionTable& q, const ActionTable& weights, double beta) {
  ActionTable policy(q.states(), q.actions());
  for (index_t s = 0; s < q.states(); ++s) soft_policy(q[s], weights[s], beta, policy[s]);
  return policy;
}

ActionTable soft_values(const Mdp& mdp, const ActionTable& weights, double beta, double discount) {
  if (!(discount < 1)) {
    throw ValueError(
        fmt::format("soft values of '{}': discount {}, expected one below 1", mdp.name, discount));
  }
  ActionTable q(mdp.states(), mdp.actions());
  std::vector<double> v(mdp.states(), 0.0);
  for (double change = 1; change > 1e-13;) {
    change = 0;
    for (index_t s = 0; s < mdp.states(); ++s) {
      for (index_t a = 0; a < mdp.actions(); ++a) {
        q[s][a] = 0;
        for (const Consequence& c : mdp.at(s, a))
          q[s][a] += c.probability * (c.reward + (c.terminal ? 0 : discount * v[c.next]));
      }
      const double value = soft_value(q[s], weights[s], beta);
      change = std::max(change, std::abs(value - v[s]) / std::max(1.0, std::abs(value)));
      v[s] = value;
    }
  }
  return q;
}

EpisodeOutcome soft_q_episode(const Mdp& mdp, const ActionTable& weights, const SoftQOptions& o,
                              Draws& draws, ActionTable& q, ActionTable& counts) {
  EpisodeOutcome outcome;
  std::vector<double> policy(mdp.actions());
  index_t s = draw_start(mdp, draws);
  while (!outcome.ended && outcome.steps < o.max_steps) {
    soft_policy(q[s], weights[s], o.beta, policy);
    const index_t a = draw(policy, draws);
    const Consequence& c = draw_consequence(mdp, s, a, draws);
    const double later = c.terminal ? 0 : soft_value(q[c.next], weights[c.next], o.beta);
    q[s][a] += o.rate * (c.reward + o.discount * later - q[s][a]);
    counts[s][a] += 1;
    outcome.reward += c.reward;
    ++outcome.steps;
    outcome.ended = c.terminal;
    s = c.next;
  }
  return outcome;
}

}  // namespace concord::rl::tabular
