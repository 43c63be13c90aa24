#include <concord/multitask/aggregator.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

namespace concord::multitask {

int StepInputs::row_of(int task) const {
  if (tasks.empty()) return task >= 0 && task < rows() ? task : -1;
  for (int r = 0; r < rows(); ++r) {
    if (tasks[static_cast<std::size_t>(r)] == task) return r;
  }
  return -1;
}

const std::vector<double>& state_entry(const State& state, std::string_view owner,
                                       const std::string& name, std::size_t size) {
  const auto found = state.find(name);
  if (found == state.end()) {
    throw ValueError(
        fmt::format("{}: state has no entry '{}', expected {} values", owner, name, size));
  }
  if (found->second.size() != size) {
    throw ValueError(fmt::format("{}: state entry '{}' has {} values, expected {}", owner, name,
                                 found->second.size(), size));
  }
  return found->second;
}

void Aggregator::weights(const StepInputs& in, Direction& out) {
  const auto rows = static_cast<std::size_t>(in.rows());
  if (rows == 0)
    throw ShapeError(fmt::format("{}: no task gradient, expected at least one", name_));
  if (!in.tasks.empty() && in.tasks.size() != rows) {
    throw ShapeError(fmt::format("{}: {} task ids, expected one per gradient row ({})", name_,
                                 in.tasks.size(), rows));
  }
  if (needs_losses() || !in.losses.empty()) {
    if (in.losses.size() != rows) {
      throw ShapeError(fmt::format("{}: {} losses, expected one per gradient row ({})", name_,
                                   in.losses.size(), rows));
    }
  }
  in.gram.check_finite(name_, in.tasks);
  if (needs_losses()) {
    for (int r = 0; r < in.rows(); ++r) {
      const double loss = in.losses[static_cast<std::size_t>(r)];
      if (!std::isfinite(loss)) {
        throw NumericError(fmt::format("{}: loss of task {} is {}, expected a finite value", name_,
                                       in.task(r), loss));
      }
    }
  }
  out.weights.assign(rows, 0.0);
  out.residual = 0;
  out.note = {};
  solve(in, out);
}

}  // namespace concord::multitask
