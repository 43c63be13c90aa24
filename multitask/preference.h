// Preference: how much each task counts, for methods that start from a weighted sum of the
// gradients.
#pragma once

#include <concord/multitask/aggregator.h>
#include <concord/multitask/options.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::multitask {

/// Option `preference`: mean (1/T each, T the tasks present), sum (1 each), or one number per task.
class Preference {
 public:
  /// `standard` (mean or sum) is the default.
  static Preference from(Options& options, std::string_view standard);

  /// One value per row. Throws ShapeError when a task has no number.
  void fill(const StepInputs& in, std::span<double> out) const;

 private:
  bool mean_ = true;
  std::vector<double> by_task_;
};

}  // namespace concord::multitask
