#include <concord/multitask/telemetry.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <ostream>
#include <utility>

namespace concord::multitask {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The columns after those of tasks and pairs, and their places.
constexpr const char* kSummary[] = {
    "mean_cosine",      "conflict_rate",      "magnitude_similarity",
    "bounding_measure", "dominated_conflict", "log10_condition",
    "gate_open",        "direction_norm",     "min_progress",
    "curvature",        "theorem_2"};
enum Summary : std::size_t {
  kMeanCosine,
  kConflictRate,
  kMagnitudeSimilarity,
  kBoundingMeasure,
  kDominatedConflict,
  kCondition,
  kGateOpen,
  kDirectionNorm,
  kMinProgress,
  kCurvature,
  kTheorem2
};

/// log10 of the condition number; eigenvalues below the rounding of the largest count as that.
double log10_condition(const Gram& gram, SymmetricEigen& eigen) {
  eigen.decompose(gram);
  const auto [low, high] = std::minmax_element(eigen.values().begin(), eigen.values().end());
  return *high > 0 ? std::log10(*high / std::max(*low, eigen.tolerance())) : kNaN;
}

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
  columns_.insert(columns_.end(), std::begin(kSummary), std::end(kSummary));
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
  plain_ = {};
  ++steps_;
  if (rows == 0) return;  // every task is absent

  for (int r = 0; r < rows; ++r) {
    double* of_task = out + in.task(r);
    if (!in.losses.empty()) of_task[0] = in.losses[static_cast<std::size_t>(r)];
    of_task[tasks_] = gram.norm(r);
    of_task[2 * tasks_] = answer.weights[static_cast<std::size_t>(r)];
  }

  double* pairs = out + 3 * tasks_;
  const bool all_pairs = tasks_ <= kMaxPairTasks;
  double cosines = 0, conflicts = 0, similarity = 0, bounds = 0, bounded = 0, dominated = 0,
         open = 0;
  const int main = in.row_of(main_);
  for (int i = 0; i < rows; ++i) {
    for (int j = i + 1; j < rows; ++j) {
      const double cosine = gram.cosine(i, j), inner = gram(i, j);
      const double squares = gram(i, i) + gram(j, j);
      const double phi = squares > 0 ? 2 * gram.norm(i) * gram.norm(j) / squares : 1.0;
      cosines += cosine;
      conflicts += cosine < 0;
      similarity += phi;
      dominated += cosine <= -phi;
      if (squares + 2 * inner > 0) {
        bounds += (1 - cosine * cosine) * (squares - 2 * inner) / (squares + 2 * inner);
        ++bounded;
      }
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
    summary[kMeanCosine] = cosines / number;
    summary[kConflictRate] = conflicts / number;
    summary[kMagnitudeSimilarity] = similarity / number;
    if (bounded > 0) summary[kBoundingMeasure] = bounds / bounded;
    summary[kDominatedConflict] = dominated / number;
    if (main >= 0) summary[kGateOpen] = open / (rows - 1);
  }
  summary[kCondition] = log10_condition(gram, eigen_);
  scratch_.resize(static_cast<std::size_t>(rows));
  gram.times(answer.weights, scratch_);
  summary[kDirectionNorm] = std::sqrt(gram.squared_norm(answer.weights));
  summary[kMinProgress] = *std::min_element(scratch_.begin(), scratch_.end());

  std::fill(scratch_.begin(), scratch_.end(), 1.0);
  plain_ = {.rows = in.losses.empty() ? 0 : rows,
            .loss = std::accumulate(in.losses.begin(), in.losses.end(), 0.0),
            .squared_norm = gram.squared_norm(scratch_),
            .xi = summary[kBoundingMeasure],
            .dominated = dominated > 0};
}

void Telemetry::probe(std::span<const double> losses, double t) {
  const Plain plain = std::exchange(plain_, {});
  if (plain.rows == 0)
    throw UsageError("telemetry: a probe, expected a step with losses before it");
  if (losses.size() != static_cast<std::size_t>(plain.rows)) {
    throw ShapeError(
        fmt::format("telemetry: a probe of {} losses, expected {}", losses.size(), plain.rows));
  }
  if (!(t > 0)) throw ValueError(fmt::format("telemetry: a probe of length {}, expected t > 0", t));
  const double change = std::accumulate(losses.begin(), losses.end(), 0.0) - plain.loss;
  const double h = 2 * (change + t * plain.squared_norm) / (t * t * plain.squared_norm);
  if (!std::isfinite(h)) return;  // no gradient, or a step out of the losses' domain
  double* summary = &ring_[place(steps_ - 1)] + columns_.size() - std::size(kSummary);
  summary[kCurvature] = h;
  lipschitz_ = std::max(lipschitz_, std::abs(h));
  if (plain.rows != 2) return;
  const double margin = h - plain.xi * lipschitz_;  // NaN where g = 0: no condition holds
  summary[kTheorem2] = plain.dominated && margin > 0 && t >= 2 / margin;
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

void Telemetry::write_csv(std::ostream& out) const {
  out << fmt::format("step,{}\n", fmt::join(columns_, ","));
  for (int back = held() - 1; back >= 0; --back)
    out << fmt::format("{},{}\n", steps_ - 1 - back, fmt::join(row(back), ","));
}

void Telemetry::save(State& state) const {
  state["telemetry.steps"] = {static_cast<double>(steps_)};
  state["telemetry.lipschitz"] = {lipschitz_};
  state["telemetry.ring"] = ring_;
}

void Telemetry::load(const State& state) {
  const auto entry = [&](const char* name, std::size_t size) {
    return state_entry(state, "telemetry", name, size);
  };
  steps_ = static_cast<std::int64_t>(entry("telemetry.steps", 1)[0]);
  lipschitz_ = entry("telemetry.lipschitz", 1)[0];
  ring_ = entry("telemetry.ring", ring_.size());
  plain_ = {};
}

BlockTelemetry::BlockTelemetry(std::vector<std::string> names, int tasks, int capacity, int main)
    : names_(std::move(names)), blocks_(names_.size(), Telemetry(tasks, capacity, main)) {}

void BlockTelemetry::save(State& state) const {
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    State of_block;
    blocks_[b].save(of_block);
    for (auto& [name, values] : of_block) state[names_[b] + "/" + name] = std::move(values);
  }
}

void BlockTelemetry::load(const State& state) {
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    const std::string prefix = names_[b] + "/";
    State of_block;
    for (const auto& [name, values] : state) {
      if (name.starts_with(prefix)) of_block[name.substr(prefix.size())] = values;
    }
    blocks_[b].load(of_block);
  }
}

}  // namespace concord::multitask
