// Toy problems of Du, Czarnecki, Jayakumar, Farajtabar, Pascanu, Lakshminarayanan, "Adapting
// Auxiliary Losses Using Gradient Similarity", arXiv 1812.02224: one dimension, two dimensions
// (figure 1), and Proposition 1 over random fields. Loss 0 is the main one, 1 the auxiliary.
#pragma once

#include <concord/experiments/toy.h>

namespace concord::experiments {

/// L_main = (x1 - 10)^2, L_aux = x1^2; x2 takes no part.
LossPair du_line(const Point& x);
/// L_main = |x|^2, L_aux = |x - (3, 0)|^2.
LossPair du_bowls(const Point& x);
/// L_main = |x|^2 and the rotation V = 2 (-x2, x1 - 3), the gradient of nothing. L_main's gradient
/// plus V vanishes at (1.5, 1.5), away from the optimum.
LossPair du_rotation(const Point& x);

/// How often Proposition 1 and what follows from it hold along descents of L = |x|^2 from random
/// starts, with a random auxiliary field V.
struct PropositionOptions {
  std::string form = "weighted";  ///< of the cosine gate
  std::string field =
      "noise";  ///< noise: V drawn anew at each step; linear: V = M x + b, M and b drawn once
  int dimensions = 2;
  std::int64_t walks = 100, steps = 100;
  double deviation = 3;  ///< of V's, M's and b's entries
  double rate = 0.25;    ///< the fixed step whose rises are counted
  std::uint64_t seed = 1;
};
struct PropositionCounts {
  std::int64_t steps = 0, open = 0;  ///< open: the auxiliary was let through
  double least = 0;                  ///< smallest <g, d> / |g|^2: Proposition 1 says at least 1
  /// Steps after which L was larger: of the length a = 2 <g, d> / (2 |d|^2), at which a smooth L
  /// with Lipschitz constant 2 cannot rise (beyond rounding), and of the fixed length.
  std::int64_t rises_bounded = 0, rises_fixed = 0;
};
PropositionCounts check_proposition(const PropositionOptions& options);

Experiment du_toy();

}  // namespace concord::experiments
