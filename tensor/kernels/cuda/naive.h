// The first versions of the kernels whose way to speed README.md tells: plain, slow and right. They
// are its examples and the oracles of tests/cuda; nothing else calls them. They run on the device
// that a table was asked for last.
#pragma once

#include <concord/tensor/kernels/kernels.h>

namespace concord::kernels::cuda {

/// One thread per sum.
template <class T>
void sum_naive(const AxisGeometry&, double scale, In<T> x, Out<T> y);
/// One thread per vector, three passes.
template <class T>
void softmax_forward_naive(const AxisGeometry&, const T* x, T* y);

}  // namespace concord::kernels::cuda
