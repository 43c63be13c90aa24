// The toy optimisation problem of Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for
// Multi-task Learning", NeurIPS 2021, arXiv 2110.14048, section 5.1 and figures 1 and 3.
#pragma once

#include <concord/experiments/toy.h>

namespace concord::experiments {

///   L1 = c1 f1 + c2 g1,   L2 = c1 f2 + c2 g2
///   f1 = log max(|(-x1 - 7) / 2 - tanh(-x2)|, 5e-6) + 6
///   f2 = log max(|(-x1 + 3) / 2 + tanh(-x2) + 2|, 5e-6) + 6
///   g1 = ((-x1 + 7)^2 + 0.1 (-x2 - 8)^2) / 10 - 20
///   g2 = ((-x1 - 7)^2 + 0.1 (-x2 - 8)^2) / 10 - 20
///   c1 = max(tanh(x2 / 2), 0),  c2 = max(tanh(-x2 / 2), 0)
///
/// The sign of tanh in f2 is that of the authors' program; `printed_sign` takes the article's
/// minus. At x2 = 0, the kink of both c, the derivative is the mean of the one-sided ones.
LossPair cagrad_landscape(const Point& x, bool printed_sign = false);

Experiment cagrad_toy();

}  // namespace concord::experiments
