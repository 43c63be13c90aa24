// Distillation from a teacher that was trained for another reward, gated by the cosine of the two
// gradients: Du et al., "Adapting auxiliary losses using gradient similarity", 1812.02224, on
// random grid worlds.
#pragma once

#include <concord/experiments/experiment.h>

namespace concord::experiments {

Experiment du_gridworld();

}  // namespace concord::experiments
