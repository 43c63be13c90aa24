// One copy of a known MDP, played step by step: what tabular learners need and no more. Many copies
// in step, with buffers and time limits, are make_mdp_env's.
#pragma once

#include <concord/rl/draws.h>
#include <concord/rl/mdp.h>

#include <span>

namespace concord::rl::tabular {

/// An index with the given probabilities, which add up to 1.
index_t draw(std::span<const double> probabilities, Draws& draws);
inline index_t draw_start(const Mdp& mdp, Draws& draws) { return draw(mdp.start, draws); }
const Consequence& draw_consequence(const Mdp& mdp, index_t state, index_t action, Draws& draws);

}  // namespace concord::rl::tabular
