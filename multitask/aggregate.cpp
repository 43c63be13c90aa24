#include <concord/multitask/aggregate.h>
#include <concord/multitask/elements.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace concord::multitask {

AggregateResult aggregate(std::string_view method, const OptionMap& options,
                          std::span<const double> jacobian, int tasks, std::int64_t columns,
                          std::span<const double> losses, std::uint64_t seed) {
  const auto aggregator = make_aggregator(method, options);
  if (aggregator->needs_losses() && losses.empty()) {
    throw ValueError(fmt::format(
        "{}: no losses, expected one per row of the matrix: the method needs them", method));
  }
  const Gram gram = Gram::of(jacobian, tasks, columns);
  const Rng rng = Rng(seed).fork(method);
  std::vector<double> rows(jacobian.begin(), jacobian.end());
  Gram of_rows = gram;
  const bool rewritten =
      aggregator->needs_elements() &&
      aggregator->rewrite({.gram = gram, .losses = losses, .rng = rng},
                          {columns, kernels::Rows<double>{rows.data(), columns, nullptr, tasks}});
  if (rewritten) of_rows = Gram::of(rows, tasks, columns);
  Direction answer;
  aggregator->weights({.gram = of_rows, .losses = losses, .rng = rng}, answer);

  AggregateResult result;
  const auto p = static_cast<std::size_t>(columns);
  result.direction.assign(p, 0.0);
  for (std::size_t t = 0; t < answer.weights.size(); ++t) {
    for (std::size_t k = 0; k < p; ++k) result.direction[k] += answer.weights[t] * rows[t * p + k];
  }
  result.weights = std::move(answer.weights);
  if (rewritten) {
    std::fill(result.weights.begin(), result.weights.end(),
              std::numeric_limits<double>::quiet_NaN());
  }
  result.gram.assign(gram.values().begin(), gram.values().end());
  result.residual = answer.residual;
  result.note = answer.note;
  return result;
}

}  // namespace concord::multitask
