// Sums, their spreading back, maxima and whole-vector figures. Sums are in double and in the order
// of the elements; long vectors are cut into a number of chunks that does not depend on the
// threads.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/simd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace concord::kernels::cpu {
namespace {

/// Columns handled together where inner > 1: their running values stay in the first-level cache.
constexpr index_t kColumns = 256;

/// f(o, first, count) for each outer index and each block of inner columns.
template <class F>
void for_columns(const AxisGeometry& g, index_t work, F f) {
  const index_t blocks = pieces(g.inner, kColumns), tasks = g.outer * blocks;
  parallel_for(work >= kParallelWork && tasks > 1, tasks, [&](index_t task) {
    const index_t first = task % blocks * kColumns;
    f(task / blocks, first, std::min(kColumns, g.inner - first));
  });
}

/// chunk_sum(first, count) over at most kChunks pieces of [0, n), added up in order.
template <class F>
double chunked_sum(index_t n, F chunk_sum) {
  constexpr index_t kChunks = 64;
  const index_t size = std::max(kPiece, pieces(pieces(n, kChunks), kPiece) * kPiece);
  const index_t count = pieces(n, size);
  std::array<double, kChunks> partial;
  parallel_for(n >= kParallelWork && count > 1, count,
               [&](index_t i) { partial[i] = chunk_sum(i * size, std::min(size, n - i * size)); });
  double total = 0;
  for (index_t i = 0; i < count; ++i) total += partial[i];
  return total;
}

}  // namespace

template <class T>
void sum(const AxisGeometry& g, double scale, In<T> x, Out<T> y) {
  const auto put = [&](std::int32_t r, index_t at, double total) {
    T& slot = y[r][at];
    slot = (y.accumulate ? slot : T(0)) + static_cast<T>(scale * total);
  };
  const index_t work = x.count * g.outer * g.length * g.inner;
  for (std::int32_t r = 0; r < x.count; ++r) {
    const T* x_r = x[r];
    if (g.outer == 1 && g.inner == 1) {
      put(r, 0,
          chunked_sum(g.length, [&](index_t first, index_t n) { return sum_of(n, x_r + first); }));
      continue;
    }
    for_columns(g, work, [&](index_t o, index_t first, index_t count) {
      const T* from = x_r + o * g.length * g.inner + first;
      if (g.inner == 1) {
        put(r, o, sum_of(g.length, from));
        return;
      }
      std::array<double, kColumns> total;
      std::fill_n(total.begin(), count, 0.0);
      for (index_t l = 0; l < g.length; ++l, from += g.inner) {
        for (index_t i = 0; i < count; ++i) total[i] += from[i];
      }
      for (index_t i = 0; i < count; ++i) put(r, o * g.inner + first + i, total[i]);
    });
  }
}

template <class T>
void sum_naive(const AxisGeometry& g, double scale, In<T> x, Out<T> y) {
  for (std::int32_t r = 0; r < x.count; ++r) {
    for (index_t o = 0; o < g.outer; ++o) {
      for (index_t i = 0; i < g.inner; ++i) {
        double total = 0;
        for (index_t l = 0; l < g.length; ++l) total += x[r][(o * g.length + l) * g.inner + i];
        T& slot = y[r][o * g.inner + i];
        slot = static_cast<T>((y.accumulate ? slot : T(0)) + scale * total);
      }
    }
  }
}

template <class T>
void spread(const AxisGeometry& g, double scale, In<T> gy, Out<T> gx) {
  const T s = static_cast<T>(scale);
  const index_t lines = g.outer * g.length, tasks = gy.count * lines;
  parallel_for(tasks * g.inner >= kParallelWork, tasks, [&](index_t task) {
    const auto r = static_cast<std::int32_t>(task / lines);
    const index_t line = task % lines;
    const T* from = gy[r] + line / g.length * g.inner;
    T* to = gx[r] + line * g.inner;
    if (gx.accumulate) {
      for (index_t i = 0; i < g.inner; ++i) to[i] += from[i] * s;
    } else {
      for (index_t i = 0; i < g.inner; ++i) to[i] = from[i] * s;
    }
  });
}

// A NaN counts as larger than every number, so that it shows in the result.
template <class T>
void max(const AxisGeometry& g, const T* x, T* y, std::int64_t* argmax) {
  for_columns(g, g.outer * g.length * g.inner, [&](index_t o, index_t first, index_t count) {
    const T* from = x + o * g.length * g.inner + first;
    T* best = y + o * g.inner + first;
    std::int64_t* at = argmax + o * g.inner + first;
    for (index_t i = 0; i < count; ++i) best[i] = from[i];
    std::fill_n(at, count, std::int64_t{0});
    for (index_t l = 1; l < g.length; ++l) {
      const T* line = from + l * g.inner;
      for (index_t i = 0; i < count; ++i) {
        const bool better = line[i] > best[i] || (line[i] != line[i] && best[i] == best[i]);
        best[i] = better ? line[i] : best[i];
        at[i] = better ? l : at[i];
      }
    }
  });
}

template <class T>
void norm_squared(index_t n, const T* x, double* result) {
  *result = chunked_sum(n, [&](index_t first, index_t count) {
    return sum_terms(
        count, [](auto v) { return v * v; }, x + first);
  });
}

template <class T>
void norm_squared_naive(index_t n, const T* x, double* result) {
  *result = 0;
  for (index_t i = 0; i < n; ++i) *result += double{x[i]} * x[i];
}

template <class T>
void count_nonfinite(index_t n, const T* x, index_t* result) {
  constexpr T kLargest = std::numeric_limits<T>::max();
  *result = static_cast<index_t>(chunked_sum(n, [&](index_t first, index_t count) {
    index_t found = 0;
    for (index_t i = first; i < first + count; ++i) found += !(std::abs(x[i]) <= kLargest);
    return static_cast<double>(found);
  }));
}

CONCORD_KERNEL_AND_NAIVE(sum)
CONCORD_KERNEL(spread)
CONCORD_KERNEL(max)
CONCORD_KERNEL_AND_NAIVE(norm_squared)
CONCORD_KERNEL(count_nonfinite)

}  // namespace concord::kernels::cpu
