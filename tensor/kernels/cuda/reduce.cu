// Sums, their spreading back, maxima and whole-vector figures. Sums are in double and by fixed
// trees (sums.h); README.md tells how the naive sum became this one.
#include <concord/tensor/kernels/cuda/naive.h>
#include <concord/tensor/kernels/cuda/sums.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <cstdint>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// The elements of a vector of [outer, length, inner] as terms.
template <class T>
struct VectorTerms {
  DeviceRows<const T> x;
  index_t length, inner;

  struct Sum {
    const T* base;
    index_t stride;
    __device__ double operator()(index_t l) const { return base[l * stride]; }
  };
  __device__ Sum at(int r, index_t j) const {
    return {x[r] + vector_start(j, length, inner), inner};
  }
};

template <class T>
struct PutScaled {
  DeviceRows<T> y;
  double scale;
  __device__ void operator()(int r, index_t j, double total) const {
    store(y[r] + j, static_cast<T>(scale * total), y.accumulate);
  }
};

template <class T>
void sum(const AxisGeometry& g, double scale, In<T> x, Out<T> y) {
  for_each_piece(x.count, [&](std::int32_t first, std::int32_t count) {
    sums("sum", g.inner == 1 ? Walk::along : Walk::across, count, g.outer * g.inner, g.length,
         VectorTerms<T>{device_rows(x, first, count), g.length, g.inner},
         PutScaled<T>{device_rows(y, first, count), scale});
  });
}

template <class T>
__global__ void sum_naive_kernel(index_t outputs, index_t length, index_t inner, double scale,
                                 DeviceRows<const T> x, DeviceRows<T> y) {
  const index_t j = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
  if (j >= outputs) return;
  const int r = blockIdx.y;
  const T* from = x[r] + vector_start(j, length, inner);
  double total = 0;
  for (index_t l = 0; l < length; ++l) total += from[l * inner];
  store(y[r] + j, static_cast<T>(scale * total), y.accumulate);
}

// --- Spreading: a thread for each element of the result, which walks through the rows.

template <class T>
__global__ void spread_kernel(index_t n, index_t length, index_t inner, T scale,
                              DeviceRows<const T> gy, DeviceRows<T> gx) {
  const index_t i = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  const index_t line = i / inner, from = line / length * inner + (i - line * inner);
  for (int r = blockIdx.y; r < gy.count; r += gridDim.y)
    store(gx[r] + i, gy[r][from] * scale, gx.accumulate);
}

template <class T>
void spread(const AxisGeometry& g, double scale, In<T> gy, Out<T> gx) {
  const index_t n = g.outer * g.length * g.inner;
  const unsigned blocks = blocks_for(n, kThreads);
  for_each_piece(gy.count, [&](std::int32_t first, std::int32_t count) {
    launch("spread", spread_kernel<T>, dim3(blocks, row_groups(blocks, count)), kThreads, 0, n,
           g.length, g.inner, static_cast<T>(scale), device_rows(gy, first, count),
           device_rows(gx, first, count));
  });
}

// --- Maxima. NaN is larger than every number; of equal ones the first counts. With that order the
// result does not depend on the tree.

template <class T>
struct Largest {
  T value;
  std::int64_t at;
};

struct Larger {
  template <class T>
  __device__ Largest<T> operator()(Largest<T> a, Largest<T> b) const {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    const bool equal = a.value == b.value || (a_nan && b_nan);
    const bool b_wins = equal ? b.at < a.at : (b.value > a.value || (b_nan && !a_nan));
    return b_wins ? b : a;
  }
};

template <class T>
__device__ Largest<T> exchange(Largest<T> a, int step) {
  return {__shfl_xor_sync(kAllLanes, a.value, step), __shfl_xor_sync(kAllLanes, a.at, step)};
}

template <class Own, class T>
__global__ void max_kernel(index_t vectors, index_t length, index_t inner, const T* x, T* y,
                           std::int64_t* argmax) {
  CONCORD_SHARED(Largest<T>, warps, [kTeamBlock / kWarp]);
  const index_t v = Own::number();
  if (v >= vectors) return;
  const T* from = x + vector_start(v, length, inner);
  // Less than every element that is there: it loses ties too.
  Largest<T> best{-std::numeric_limits<T>::infinity(), std::numeric_limits<std::int64_t>::max()};
  for (index_t l = Own::lane(); l < length; l += Own::kSize)
    best = Larger{}(best, Largest<T>{from[l * inner], l});
  best = Own::all(best, Larger{}, warps);
  if (Own::lane() != 0) return;
  y[v] = best.value;
  argmax[v] = best.at;
}

template <class T>
void max(const AxisGeometry& g, const T* x, T* y, std::int64_t* argmax) {
  const index_t vectors = g.outer * g.inner;
  with_team(g, [&]<class Own>(Own) {
    launch("max", max_kernel<Own, T>, Own::blocks(vectors), kTeamBlock, 0, vectors, g.length,
           g.inner, x, y, argmax);
  });
}

// --- Figures of a whole vector: one sum of terms, its result on the device.

template <class T>
struct Squares {
  const T* x;
  __device__ Squares at(int, index_t) const { return *this; }
  __device__ double operator()(index_t l) const {
    const double value = x[l];
    return value * value;
  }
};

/// 1 for what is infinite or not a number.
template <class T>
struct Nonfinite {
  const T* x;
  __device__ Nonfinite at(int, index_t) const { return *this; }
  __device__ double operator()(index_t l) const {
    return fabs(x[l]) <= std::numeric_limits<T>::max() ? 0.0 : 1.0;
  }
};

template <class Result>
struct PutResult {
  Result* result;
  __device__ void operator()(int, index_t, double total) const {
    *result = static_cast<Result>(total);
  }
};

template <class T>
void norm_squared(index_t n, const T* x, double* result) {
  sums("norm_squared", Walk::along, 1, 1, n, Squares<T>{x}, PutResult<double>{result});
}

template <class T>
void count_nonfinite(index_t n, const T* x, index_t* result) {
  sums("count_nonfinite", Walk::along, 1, 1, n, Nonfinite<T>{x}, PutResult<index_t>{result});
}

}  // namespace

template <class T>
void sum_naive(const AxisGeometry& g, double scale, In<T> x, Out<T> y) {
  const index_t outputs = g.outer * g.inner;
  for_each_piece(x.count, [&](std::int32_t first, std::int32_t count) {
    launch("sum_naive", sum_naive_kernel<T>,
           dim3(blocks_for(outputs, kThreads), static_cast<unsigned>(count)), kThreads, 0, outputs,
           g.length, g.inner, scale, device_rows(x, first, count), device_rows(y, first, count));
  });
}
template void sum_naive<float>(const AxisGeometry&, double, In<float>, Out<float>);
template void sum_naive<double>(const AxisGeometry&, double, In<double>, Out<double>);

template <class T>
void set_reduce(Kernels<T>& k) {
  k.sum = sum<T>;
  k.spread = spread<T>;
  k.max = max<T>;
  k.norm_squared = norm_squared<T>;
  k.count_nonfinite = count_nonfinite<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(reduce)
