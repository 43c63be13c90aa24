#include <concord/multitask/telemetry.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Telemetry::Telemetry(int tasks, int capacity, int main)
    : tasks_(tasks), capacity_(capacity), main_(main) {
  if (tasks < 1 || capacity < 1) {
    throw ValueError(fmt::format("telemetry: {} tasks and {} steps, expected at least one of each",
                                 tasks, capacity));
  }
  for (const char* what : {"loss", "norm", "weight"}) {
    for (int t = 0; t < tasks; ++t) columns_.push_back(fmt::format("{}_{}", what, t));
  }
  if (tasks <= kMaxPairTasks) {
    for (int i = 0; i < tasks; ++i) {
      for (int j = i + 1; j < tasks; ++j) columns_.push_back(fmt::format("cos_{}_{}", i, j));
    }
  }
  for (const char* what : {"mean_cosine", "conflict_rate", "magnitude_similarity", "gate_open",
                           "direction_norm", "min_progress"}) {
    columns_.emplace_back(what);
  }
  ring_.assign(columns_.size() * static_cast<std::size_t>(capacity), kNaN);
}

std::size_t Telemetry::place(std::int64_t step) const {
  return static_cast<std::size_t>(step % capacity_) * columns_.size();
}

int Telemetry::held() const { return static_cast<int>(std::min<std::int64_t>(steps_, capacity_)); }

void Telemetry::record(const StepInputs& in, const Direction& answer) {
  const Gram& gram = in.gram;
  const int rows = in.rows();
  for (int r = 0; r < rows; ++r) {
    if (in.task(r) < 0 || in.task(r) >= tasks_) {
      throw ValueError(fmt::format("telemetry: task {}, expected one of {}", in.task(r), tasks_));
    }
  }
  double* out = &ring_[place(steps_)];
  std::fill(out, out + columns_.size(), kNaN);

  for (int r = 0; r < rows; ++r) {
    double* of_task = out + in.task(r);
    if (!in.losses.empty()) of_task[0] = in.losses[static_cast<std::size_t>(r)];
    of_task[tasks_] = gram.norm(r);
    of_task[2 * tasks_] = answer.weights[static_cast<std::size_t>(r)];
  }

  double* pairs = out + 3 * tasks_;
  const bool all_pairs = tasks_ <= kMaxPairTasks;
  double cosines = 0, conflicts = 0, similarity = 0, open = 0;
  const int main = in.row_of(main_);
  for (int i = 0; i < rows; ++i) {
    for (int j = i + 1; j < rows; ++j) {
      const double cosine = gram.cosine(i, j);
      const double squares = gram(i, i) + gram(j, j);
      cosines += cosine;
      conflicts += cosine < 0;
      similarity += squares > 0 ? 2 * gram.norm(i) * gram.norm(j) / squares : 1.0;
      if (i == main || j == main) open += cosine >= 0;
      if (all_pairs) {
        const auto [a, b] = std::minmax({in.task(i), in.task(j)});
        pairs[a * (2 * tasks_ - a - 1) / 2 + (b - a - 1)] =
            cosine;  // the pairs of tasks below a come first
      }
    }
  }

  double* summary = pairs + (all_pairs ? tasks_ * (tasks_ - 1) / 2 : 0);
  if (rows > 1) {
    const double number = 0.5 * rows * (rows - 1);
    summary[0] = cosines / number;
    summary[1] = conflicts / number;
    summary[2] = similarity / number;
    if (main >= 0) summary[3] = open / (rows - 1);
  }
  progress_.resize(static_cast<std::size_t>(rows));
  gram.times(answer.weights, progress_);
  summary[4] = std::sqrt(gram.squared_norm(answer.weights));
  summary[5] = *std::min_element(progress_.begin(), progress_.end());
  ++steps_;
}

std::span<const double> Telemetry::row(int back) const {
  if (back < 0 || back >= held()) {
    throw UsageError(
        fmt::format("telemetry: step {} before the latest, {} are held", back, held()));
  }
  return {&ring_[place(steps_ - 1 - back)], columns_.size()};
}

std::vector<double> Telemetry::mean(int steps) const {
  std::vector<double> sums(columns_.size(), 0.0);
  std::vector<int> counts(columns_.size(), 0);
  for (int back = std::min(steps, held()) - 1; back >= 0; --back) {
    const auto values = row(back);
    for (std::size_t c = 0; c < values.size(); ++c) {
      if (std::isnan(values[c])) continue;
      sums[c] += values[c];
      ++counts[c];
    }
  }
  for (std::size_t c = 0; c < sums.size(); ++c)
    sums[c] = counts[c] > 0 ? sums[c] / counts[c] : kNaN;
  return sums;
}

void Telemetry::save(State& state) const {
  state["telemetry.steps"] = {static_cast<double>(steps_)};
  state["telemetry.ring"] = ring_;
}

void Telemetry::load(const State& state) {
  steps_ = static_cast<std::int64_t>(state_entry(state, "telemetry", "telemetry.steps", 1)[0]);
  ring_ = state_entry(state, "telemetry", "telemetry.ring", ring_.size());
}

}  // namespace concord::multitask
