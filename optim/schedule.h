// Schedules: the learning rate as a multiple of its base value, as a pure function of the step.
// Nothing is counted, so a resumed run needs no state. Names and shapes are
// torch.optim.lr_scheduler's.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::optim {

/// schedule(step) * base rate is the rate of step 0, 1, ...
using Schedule = std::function<double(std::int64_t step)>;

Schedule constant();
/// factor^floor(step / every). Throws ValueError unless every >= 1.
Schedule step_decay(std::int64_t every, double factor);
/// factor^(milestones passed); a milestone is passed from its step on.
Schedule multi_step(std::vector<std::int64_t> milestones, double factor);
/// floor + (1 - floor) (1 + cos(pi step / total)) / 2; stays at `floor` beyond `total`. Throws
/// ValueError unless total >= 1.
Schedule cosine(std::int64_t total, double floor = 0);
/// Linearly from `start` to 1 over `steps`, then `then`, whose steps count from the end of the
/// warm-up. Throws ValueError unless steps >= 1.
Schedule warm_up(std::int64_t steps, double start, Schedule then);

struct OneCycle {
  double rising = 0.3;         ///< share of the steps before the peak
  double start_divisor = 25;   ///< the first factor is 1 / start_divisor
  double final_divisor = 1e4;  ///< the last is 1 / (start_divisor * final_divisor)
  bool linear = false;         ///< straight lines instead of half cosines
};
/// Smith and Topin, 1708.07120: up to 1, then far down, over `total` steps. Throws ValueError
/// unless total >= 2.
Schedule one_cycle(std::int64_t total, const OneCycle& o = {});

/// By name for a run of `total` steps: constant; step (x 0.5 after each third); cosine (to 0);
/// warm_up_cosine (5 % warm-up); one_cycle. Throws ValueError with the nearest names.
Schedule make_schedule(std::string_view name, std::int64_t total);
std::span<const std::string_view> schedule_names();

}  // namespace concord::optim
