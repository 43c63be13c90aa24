// The two-dimensional problem of Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for
// Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782, appendix D and figure 1.
#pragma once

#include <concord/experiments/toy.h>

namespace concord::experiments {

/// L1 = 20 log max(|t1/2 + tanh t2|, 5e-6), L2 = 25 log max(|t1/2 - tanh t2 + 2|, 5e-6).
/// Both are smallest where t1 = -2 and tanh t2 -> 1.
LossPair pcgrad_landscape(const Point& t);

Experiment pcgrad_toy();

}  // namespace concord::experiments
