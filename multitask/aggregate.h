// Methods applied to gradients that come from elsewhere: plain arrays, another framework, a file.
#pragma once

#include <concord/multitask/registry.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::multitask {

struct AggregateResult {
  std::vector<double> weights;    ///< one per row; NaN where d is no combination of the rows
  std::vector<double> direction;  ///< J^T weights, one per column; empty without a matrix
  std::vector<double> gram;       ///< tasks x tasks
  double residual = 0;
  std::string note;
};

/// What a method may be told beside the gradients; all of it as in StepInputs.
struct AggregateInputs {
  std::span<const double> losses = {};
  std::int64_t step = 0, epoch = 0;
  Rng rng = Rng();
  std::span<const int> tasks = {};
};

/// One step of `method` on the row-major tasks x columns matrix `jacobian`: what the method
/// remembers moves on by one step. Throws ValueError for a method that needs losses when there are
/// none, and what the method throws.
AggregateResult aggregate(Aggregator& method, std::span<const double> jacobian, int tasks,
                          std::int64_t columns, const AggregateInputs& in = {});

/// The same from the inner products of the gradients. Throws ValueError for a method that works on
/// elements.
AggregateResult aggregate(Aggregator& method, const Gram& gram, const AggregateInputs& in = {});

/// One step of a fresh method. `seed` keys random methods.
AggregateResult aggregate(std::string_view method, const OptionMap& options,
                          std::span<const double> jacobian, int tasks, std::int64_t columns,
                          std::span<const double> losses = {}, std::uint64_t seed = 0);

}  // namespace concord::multitask
