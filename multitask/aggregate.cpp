#include <concord/multitask/aggregate.h>
#include <concord/multitask/elements.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace concord::multitask {

namespace {

StepInputs inputs(const Gram& gram, const AggregateInputs& in) {
  return {gram, in.losses, in.step, in.epoch, in.rng, in.tasks};
}

void check_losses(const Aggregator& method, const AggregateInputs& in) {
  if (!method.needs_losses() || !in.losses.empty()) return;
  throw ValueError(fmt::format(
      "{}: no losses, expected one per row of the matrix: the method needs them", method.name()));
}

AggregateResult result(Direction answer, const Gram& gram) {
  return {.weights = std::move(answer.weights),
          .direction = {},
          .gram = {gram.values().begin(), gram.values().end()},
          .residual = answer.residual,
          .note = std::string(answer.note)};
}

}  // namespace

AggregateResult aggregate(Aggregator& method, std::span<const double> jacobian, int tasks,
                          std::int64_t columns, const AggregateInputs& in) {
  check_losses(method, in);
  const Gram gram = Gram::of(jacobian, tasks, columns);
  std::vector<double> rewritten;
  Gram of_rewritten;
  if (method.needs_elements()) {
    std::vector<double> rows(jacobian.begin(), jacobian.end());
    if (method.rewrite(inputs(gram, in),
                       {columns, kernels::Rows<double>{rows.data(), columns, nullptr, tasks}})) {
      rewritten = std::move(rows);
      of_rewritten = Gram::of(rewritten, tasks, columns);
    }
  }
  const bool own_rows = rewritten.empty();
  Direction answer;
  method.weights(inputs(own_rows ? gram : of_rewritten, in), answer);

  const double* row = own_rows ? jacobian.data() : rewritten.data();
  std::vector<double> direction(static_cast<std::size_t>(columns), 0.0);
  for (const double w : answer.weights) {
    for (double& d : direction) d += w * *row++;
  }
  if (!own_rows) {
    std::fill(answer.weights.begin(), answer.weights.end(),
              std::numeric_limits<double>::quiet_NaN());
  }
  AggregateResult r = result(std::move(answer), gram);
  r.direction = std::move(direction);
  return r;
}

AggregateResult aggregate(Aggregator& method, const Gram& gram, const AggregateInputs& in) {
  check_losses(method, in);
  if (method.needs_elements()) {
    throw ValueError(fmt::format(
        "{}: inner products only, expected the matrix: the method works on its elements",
        method.name()));
  }
  Direction answer;
  method.weights(inputs(gram, in), answer);
  return result(std::move(answer), gram);
}

AggregateResult aggregate(std::string_view method, const OptionMap& options,
                          std::span<const double> jacobian, int tasks, std::int64_t columns,
                          std::span<const double> losses, std::uint64_t seed) {
  return aggregate(*make_aggregator(method, options), jacobian, tasks, columns,
                   {.losses = losses, .rng = Rng(seed).fork(method)});
}

}  // namespace concord::multitask
