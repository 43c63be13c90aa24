// The op-case table: every operation of autograd/ops.h with the shapes and options that could go
// wrong. One row drives all tests of ops_test.cpp.
#pragma once

#include <concord/autograd/ops.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace concord::testing {

/// Where an operand's values come from.
enum class Domain {
  normal,    ///< standard normal
  positive,  ///< uniform in [0.5, 2): for sqrt, log, divisors
  grid       ///< all different, gaps of 0.05, none within 0.01 of a multiple of 0.05 or of another
             ///< operand's: away from every kink and tie
};

struct Operand {
  Shape shape;
  Domain domain = Domain::normal;
};

using Vars = std::span<const Var>;
using Tensors = std::span<const Tensor>;

struct OpCase {
  std::string name;  ///< "conv2d/stride": the function, and the variant
  std::vector<Operand> operands;
  std::uint32_t samples;  ///< what the op should record: which of its inputs carry the batch
  std::function<Var(Vars)> apply;
  /// The value by plain loops in f64, written from the definition.
  std::function<Tensor(Tensors)> naive;

  std::string op() const { return name.substr(0, name.find('/')); }
  /// The operands' values, the same at every call.
  std::vector<Tensor> inputs(DType dtype) const;
};

const std::vector<OpCase>& op_cases();

}  // namespace concord::testing
