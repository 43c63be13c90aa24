#include <concord/optim/schedule.h>
#include <concord/tensor/check.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace concord::optim {
namespace {

void require(bool condition, const char* text) {
  if (!condition) throw ValueError(text);
}

/// From a (share 0) to b (share 1), along half a cosine.
double half_cosine(double a, double b, double share) {
  return b + (a - b) * (1 + std::cos(std::numbers::pi * share)) / 2;
}

}  // namespace

Schedule constant() {
  return [](std::int64_t) { return 1.0; };
}

Schedule step_decay(std::int64_t every, double factor) {
  require(every >= 1, "schedule: step needs a length of at least 1");
  return [=](std::int64_t step) { return std::pow(factor, static_cast<double>(step / every)); };
}

Schedule multi_step(std::vector<std::int64_t> milestones, double factor) {
  std::sort(milestones.begin(), milestones.end());
  return [milestones = std::move(milestones), factor](std::int64_t step) {
    const auto passed =
        std::upper_bound(milestones.begin(), milestones.end(), step) - milestones.begin();
    return std::pow(factor, static_cast<double>(passed));
  };
}

Schedule cosine(std::int64_t total, double floor) {
  require(total >= 1, "schedule: cosine needs a length of at least 1");
  return [=](std::int64_t step) {
    return half_cosine(1, floor,
                       static_cast<double>(std::min(step, total)) / static_cast<double>(total));
  };
}

Schedule warm_up(std::int64_t steps, double start, Schedule then) {
  require(steps >= 1, "schedule: warm-up needs a length of at least 1");
  return [=, then = std::move(then)](std::int64_t step) {
    if (step >= steps) return then(step - steps);
    return start + (1 - start) * static_cast<double>(step) / static_cast<double>(steps);
  };
}

Schedule one_cycle(std::int64_t total, const OneCycle& o) {
  require(total >= 2, "schedule: one_cycle needs at least 2 steps");
  const double first = 1 / o.start_divisor, last = first / o.final_divisor;
  const double peak = o.rising * static_cast<double>(total) - 1,
               end = static_cast<double>(total) - 1;
  const auto blend = [linear = o.linear](double a, double b, double share) {
    return linear ? a + (b - a) * share : half_cosine(a, b, share);
  };
  return [=](std::int64_t step) {
    const double s = std::min(static_cast<double>(step), end);
    return s <= peak ? blend(first, 1, s / peak) : blend(1, last, (s - peak) / (end - peak));
  };
}

std::span<const std::string_view> schedule_names() {
  static constexpr std::array<std::string_view, 5> kNames{"constant", "step", "cosine",
                                                          "warm_up_cosine", "one_cycle"};
  return kNames;
}

Schedule make_schedule(std::string_view name, std::int64_t total) {
  if (name == "constant") return constant();
  if (name == "step") return step_decay(std::max<std::int64_t>(total / 3, 1), 0.5);
  if (name == "cosine") return cosine(std::max<std::int64_t>(total, 1));
  if (name == "warm_up_cosine") {
    const std::int64_t warm = std::max<std::int64_t>(total / 20, 1);
    return warm_up(warm, 0, cosine(std::max<std::int64_t>(total - warm, 1)));
  }
  if (name == "one_cycle") return one_cycle(std::max<std::int64_t>(total, 2));
  throw_unknown("schedule", name, {schedule_names().begin(), schedule_names().end()});
}

}  // namespace concord::optim
