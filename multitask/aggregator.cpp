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

void Aggregator::check(const StepInputs& in) const {
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
}

bool Aggregator::rewrite(const StepInputs& in, const Elements& rows) {
  check(in);
  rewritten_ = true;
  return rewrite_rows(in, rows);
}

void Aggregator::weights(const StepInputs& in, Direction& out) {
  check(in);
  if (needs_elements() && !rewritten_) {
    throw UsageError(fmt::format(
        "{}: a Gram matrix alone, expected rewrite() first: the method works on elements", name_));
  }
  if (rows_waiting_ > 0) {
    throw UsageError(fmt::format(
        "{}: the next step, expected after_step() first: the method learns from the losses after "
        "each step",
        name_));
  }
  rewritten_ = false;
  out.weights.assign(static_cast<std::size_t>(in.rows()), 0.0);
  out.residual = 0;
  out.note = {};
  solve(in, out);
  if (needs_losses_after()) rows_waiting_ = out.weights.size();
}

void Aggregator::after_step(std::span<const double> losses) {
  if (rows_waiting_ == 0) {
    throw UsageError(fmt::format("{}: losses after a step, but no step went before", name_));
  }
  if (losses.size() != rows_waiting_) {
    throw ShapeError(fmt::format("{}: {} losses after the step, expected one per gradient row ({})",
                                 name_, losses.size(), rows_waiting_));
  }
  for (std::size_t r = 0; r < losses.size(); ++r) {
    if (!std::isfinite(losses[r])) {
      throw NumericError(fmt::format("{}: loss {} after the step is {}, expected a finite value",
                                     name_, r, losses[r]));
    }
  }
  learn(losses);
  rows_waiting_ = 0;
}

}  // namespace concord::multitask
