#include <concord/multitask/preference.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::multitask {

Preference Preference::from(Options& options, std::string_view standard) {
  const std::string_view other = standard == "mean" ? "sum" : "mean";
  auto [text, numbers] = options.choice_or_numbers("preference", {standard, other});
  for (const double p : numbers) {
    if (!(p >= 0))
      throw ValueError(
          fmt::format("{}: option preference has {}, expected numbers >= 0", options.method(), p));
  }
  Preference preference;
  preference.mean_ = text == "mean";
  preference.by_task_ = std::move(numbers);
  return preference;
}

void Preference::fill(const StepInputs& in, std::span<double> out) const {
  if (by_task_.empty()) {
    std::fill(out.begin(), out.end(), mean_ ? 1.0 / in.rows() : 1.0);
    return;
  }
  for (int r = 0; r < in.rows(); ++r) {
    const auto task = static_cast<std::size_t>(in.task(r));
    if (task >= by_task_.size()) {
      throw ShapeError(
          fmt::format("preference: {} numbers, none for task {}", by_task_.size(), task));
    }
    out[static_cast<std::size_t>(r)] = by_task_[task];
  }
}

}  // namespace concord::multitask
