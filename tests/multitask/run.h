// A method step by step on matrices in memory, as multitask/step.cpp drives it.
#pragma once

#include <concord/multitask/elements.h>
#include <concord/multitask/registry.h>
#include <concord/tests/multitask/matrices.h>

#include <memory>
#include <string_view>
#include <vector>

namespace concord::multitask {

struct Run {
  std::unique_ptr<Aggregator> method;
  Rng rng = Rng(5);
  std::int64_t steps = 0, epoch = 0;
  Direction answer;

  explicit Run(std::string_view name, const OptionMap& options = {})
      : method(make_aggregator(name, options)) {}

  /// The direction; `tasks` names the rows' tasks. Losses after the step are half of those before
  /// for even rows.
  std::vector<double> step(Matrix m, const std::vector<double>& losses = {},
                           const std::vector<int>& tasks = {}) {
    Gram gram = Gram::of(m.values, m.tasks, m.columns);
    const StepInputs in{gram, losses, steps++, epoch, rng, tasks};
    const kernels::Rows<double> rows{m.values.data(), m.columns, nullptr, m.tasks};
    if (method->needs_elements() && method->rewrite(in, {m.columns, rows}))
      gram = Gram::of(m.values, m.tasks, m.columns);
    method->weights(in, answer);
    if (method->needs_losses_after()) {
      std::vector<double> after = losses;
      for (std::size_t r = 0; r < after.size(); r += 2) after[r] *= 0.5;
      method->after_step(after);
    }
    return combine(m, answer.weights);
  }
};

}  // namespace concord::multitask
