// A method applied to one matrix in memory: what `concord aggregate` prints.
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
  std::vector<double> direction;  ///< J^T weights, one per column
  std::vector<double> gram;       ///< tasks x tasks
  double residual = 0;
  std::string note;
};

/// Applies `method` to the row-major tasks x columns matrix `jacobian`. `losses` may be empty for
/// methods that do not need them; ValueError says so otherwise. `seed` keys random methods.
AggregateResult aggregate(std::string_view method, const OptionMap& options,
                          std::span<const double> jacobian, int tasks, std::int64_t columns,
                          std::span<const double> losses = {}, std::uint64_t seed = 0);

}  // namespace concord::multitask
