// What an optimiser step is given: the direction as rows and weights, and a slice's scalars.
#pragma once

#include <concord/tensor/types.h>

namespace concord::kernels {

/// The direction of a step, never formed as a vector unless a method needs it:
/// d[i] = sum_t weight[t] * row_t[i] for i < size. A plain vector is one row with weight 1; a null
/// `weight` stands for ones; a row of weight 0 is not read. Rows are of T, or, where `bf16` is set
/// instead of `base`, of bfloat16; the sum is formed in T either way.
template <class T>
struct WeightedRows {
  const T* base = nullptr;
  index_t stride = 0;
  int count = 0;
  const double* weight = nullptr;
  const BFloat16* bf16 = nullptr;
};

/// What one slice of parameters needs from an optimiser step; the methods' formulas are in optim/.
struct StepScalars {
  double rate = 0;        ///< learning rate of this slice in this step
  double decay = 0;       ///< weight decay of this slice (coupled for sgd, adam, rmsprop)
  double clip = 1;        ///< factor on the direction (clipping by norm)
  double clip_value = 0;  ///< bound on |d_i| after `clip`; 0: none
  double momentum = 0, dampening = 0;
  bool nesterov = false;
  double beta1 = 0, beta2 = 0, eps = 0;  ///< adam; rmsprop uses beta2 as its smoothing constant
  double bias1 = 1, bias2 = 1;           ///< 1 - beta^t
  bool centered = false;
  bool first = false;  ///< first step: momentum buffers start as the direction
};

}  // namespace concord::kernels
