// zeng: agents without a centre learn one policy for several environments (Zeng et al., UAI 2021).
// Started by `mpirun -n 4 concord run zeng`, agents live on ranks of their own.
#pragma once

#include <concord/experiments/experiment.h>

namespace concord::experiments {

Experiment zeng();

}  // namespace concord::experiments
