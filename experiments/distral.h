// The two rooms of Distral (Teh et al. 2017, section 4.1, figure 3): soft Q-learning with a shared
// distilled policy against the same learners on their own. And on networks (section 3): the forms
// of its columns in four rooms, from pixels.
#pragma once

#include <concord/experiments/experiment.h>

namespace concord::experiments {

Experiment distral();
Experiment distral_deep();

}  // namespace concord::experiments
