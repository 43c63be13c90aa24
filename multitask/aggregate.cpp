#include <concord/multitask/aggregate.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

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
  Direction answer;
  aggregator->weights({.gram = gram, .losses = losses, .rng = Rng(seed).fork(method)}, answer);

  AggregateResult result;
  const auto p = static_cast<std::size_t>(columns);
  result.direction.assign(p, 0.0);
  for (std::size_t t = 0; t < answer.weights.size(); ++t) {
    for (std::size_t k = 0; k < p; ++k)
      result.direction[k] += answer.weights[t] * jacobian[t * p + k];
  }
  result.weights = std::move(answer.weights);
  result.gram.assign(gram.values().begin(), gram.values().end());
  result.residual = answer.residual;
  result.note = answer.note;
  return result;
}

}  // namespace concord::multitask
