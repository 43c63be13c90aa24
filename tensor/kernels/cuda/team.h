// A team: the threads that work on one vector together. One thread where neighbouring threads have
// neighbouring vectors (inner > 1), else a warp for a short vector or a whole block for a long one.
#pragma once

#include <concord/tensor/kernels/cuda/launch.h>

namespace concord::kernels::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kTeamBlock = 256;  ///< threads of a block, whatever the teams in it
/// Vectors up to this length are a warp's: 32 elements for each lane, and 4 KiB of floats, so that
/// a second pass finds them in the first-level cache.
inline constexpr index_t kWarpLength = 1024;

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

/// The value of the lane whose number differs in the bit `step`. Types that are not numbers bring
/// an overload of their own.
template <class T>
__device__ inline T exchange(T value, int step) {
  return __shfl_xor_sync(kAllLanes, value, step);
}

template <int kLanes>
struct Team {
  static_assert(kLanes == 1 || kLanes == kWarp || kLanes == kTeamBlock);
  static constexpr int kSize = kLanes;
  static constexpr int kPerBlock = kTeamBlock / kLanes;

  /// The team's number in the grid's x direction, and the thread's place in the team.
  __device__ static index_t number() {
    return blockIdx.x * index_t{kPerBlock} + threadIdx.x / kLanes;
  }
  __device__ static int lane() { return threadIdx.x % kLanes; }
  static unsigned blocks(index_t teams) { return blocks_for(teams, kPerBlock); }

  /// combine() over the team's values, on every lane. The tree is fixed: a butterfly in each warp
  /// (its lanes get equal bits, since combine(a, b) == combine(b, a)), then the warps in order.
  /// shared: kTeamBlock / kWarp elements of the block.
  template <class T, class Combine>
  __device__ static T all(T value, Combine combine, T* shared) {
    if constexpr (kLanes > 1) {
      for (int step = kWarp / 2; step > 0; step /= 2) value = combine(value, exchange(value, step));
    }
    if constexpr (kLanes == kTeamBlock) {
      if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
      __syncthreads();
      value = shared[0];
      for (int warp = 1; warp < kTeamBlock / kWarp; ++warp) value = combine(value, shared[warp]);
      __syncthreads();  // before the next call writes
    }
    return value;
  }
};

/// f(team) with the team for vectors of [outer, length, inner].
template <class F>
void with_team(const AxisGeometry& g, F&& f) {
  if (g.inner > 1) return f(Team<1>{});
  if (g.length <= kWarpLength) return f(Team<kWarp>{});
  f(Team<kTeamBlock>{});
}

/// Where element 0 of vector v = o * inner + i lies; the next one is `inner` further.
__device__ inline index_t vector_start(index_t v, index_t length, index_t inner) {
  return inner == 1 ? v * length : v / inner * length * inner + v % inner;
}

}  // namespace concord::kernels::cuda
