// MinAtar's five games (Young and Tian 2019): one agent per game, and one network for all of them.
#pragma once

#include <concord/experiments/experiment.h>

namespace concord::experiments {

Experiment minatar();
Experiment mt_minatar();

}  // namespace concord::experiments
