// The main job: multitask methods compared on Multi-Fashion, two items of clothing in one image.
#pragma once

#include <concord/experiments/experiment.h>

namespace concord::experiments {

/// Construction of the images: data/multi_fashion.h. Network: a trunk shared by both tasks (LeNet,
/// as Sener and Koltun, NeurIPS 2018) and a linear head each. Arms: each task alone, and the
/// methods. Arms with the same seed start from the same trunk and see the same batches.
Experiment multifashion();

}  // namespace concord::experiments
