// Numbers that a method learns, one per task, beside the network.
#pragma once

#include <concord/multitask/aggregator.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace concord::multitask {

/// One number per task with its own Adam (beta .9 / .999, eps 1e-8). Each task counts its own
/// steps, so that an absent task stands still.
class LearnedPerTask {
 public:
  /// `decay` is coupled weight decay: it enters the moments.
  LearnedPerTask(double initial, double lr, double decay = 0)
      : initial_(initial), lr_(lr), decay_(decay) {}

  double value(std::size_t task);
  void descend(std::size_t task, double gradient);

  /// As entries `name`, `name`.m, `name`.v and `name`.steps.
  void save(State& state, const std::string& name) const;
  void load(const State& state, std::string_view owner, const std::string& name);

 private:
  double initial_, lr_, decay_;
  std::vector<double> values_, m_, v_, steps_;
};

}  // namespace concord::multitask
