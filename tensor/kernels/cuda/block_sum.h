// Sums over a warp and over a block by trees that depend on the number of threads alone.
#pragma once

#include <concord/tensor/kernels/cuda/launch.h>

namespace concord::kernels::cuda {

inline constexpr int kWarp = 32;

/// The sum over a warp, in its first lane. All 32 lanes take part.
template <class T>
__device__ inline T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value += __shfl_down_sync(0xffffffffu, value, distance);
  return value;
}

/// The sums of kCount values over a block of kThreads, in all its threads: within each warp, then
/// over the warps in their order. May be called again at once.
template <int kThreads, int kCount>
__device__ inline void block_sum(double (&value)[kCount]) {
  constexpr int kWarps = kThreads / kWarp;
  CONCORD_SHARED(double, partial, [kWarps][kCount]);
  for (int i = 0; i < kCount; ++i) {
    value[i] = warp_sum(value[i]);
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp][i] = value[i];
  }
  __syncthreads();
  for (int i = 0; i < kCount; ++i) {
    value[i] = 0;
    for (int w = 0; w < kWarps; ++w) value[i] += partial[w][i];
  }
  __syncthreads();  // before the next call writes partial
}

}  // namespace concord::kernels::cuda
