#include <concord/rl/tabular/play.h>

namespace concord::rl::tabular {

index_t draw(std::span<const double> probabilities, Draws& draws) {
  double u = draws.uniform();
  index_t chosen = 0;
  for (index_t i = 0; i < static_cast<index_t>(probabilities.size()); ++i) {
    if (probabilities[i] <= 0) continue;
    chosen = i;  // the last one that is possible stands for what rounding leaves
    if (u < probabilities[i]) break;
    u -= probabilities[i];
  }
  return chosen;
}

const Consequence& draw_consequence(const Mdp& mdp, index_t state, index_t action, Draws& draws) {
  const std::span<const Consequence> list = mdp.at(state, action);
  if (list.size() == 1) return list[0];
  double u = draws.uniform();
  for (const Consequence& c : list) {
    if (u < c.probability) return c;
    u -= c.probability;
  }
  return list.back();
}

}  // namespace concord::rl::tabular
