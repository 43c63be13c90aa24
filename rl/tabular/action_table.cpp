#include <concord/rl/tabular/action_table.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::rl::tabular {

ActionTable uniform_policy(index_t states, index_t actions) {
  return {states, actions, 1 / static_cast<double>(actions)};
}

ActionTable softmax(const ActionTable& logits) {
  ActionTable policy = logits;
  for (index_t s = 0; s < policy.states(); ++s) {
    const std::span<double> row = policy[s];
    const double most = *std::max_element(row.begin(), row.end());
    for (double& v : row) v = std::exp(v - most);
  }
  return normalised(policy);
}

ActionTable normalised(const ActionTable& counts) {
  ActionTable policy = counts;
  for (index_t s = 0; s < policy.states(); ++s) {
    const double sum = std::accumulate(policy[s].begin(), policy[s].end(), 0.0);
    for (double& v : policy[s]) v /= sum;
  }
  return policy;
}

}  // namespace concord::rl::tabular
