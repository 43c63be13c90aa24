// Embedding and gather. The gradients scatter in the order of the indices, one row of cotangents by
// one thread, so that repeated indices always add up in the same order.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>

#include <algorithm>

namespace concord::kernels::cpu {

template <class T>
void embedding_forward(index_t n, index_t entries, index_t width, const T* table,
                       const std::int64_t* index, T* y) {
  static_cast<void>(entries);  // the op has checked the indices against it
  parallel_for(n * width >= kParallelWork, n,
               [&](index_t i) { std::copy_n(table + index[i] * width, width, y + i * width); });
}

template <class T>
void embedding_backward(index_t n, index_t entries, index_t width, Rows<const std::int64_t> index,
                        In<T> gy, Out<T> gtable) {
  const index_t work = gy.count * (n + entries) * width;
  parallel_for(work >= kParallelWork && gy.count > 1, gy.count, [&](index_t row) {
    const auto r = static_cast<std::int32_t>(row);
    T* table = gtable[r];
    if (!gtable.accumulate) std::fill_n(table, entries * width, T(0));
    for (index_t i = 0; i < n; ++i) {
      const T* from = gy[r] + i * width;
      T* to = table + index[r][i] * width;
      for (index_t j = 0; j < width; ++j) to[j] += from[j];
    }
  });
}

template <class T>
void embedding_backward_naive(index_t n, index_t entries, index_t width,
                              Rows<const std::int64_t> index, In<T> gy, Out<T> gtable) {
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t e = 0; e < entries; ++e) {
      for (index_t j = 0; j < width; ++j) {
        double sum = gtable.accumulate ? gtable[r][e * width + j] : T(0);
        for (index_t i = 0; i < n; ++i) {
          if (index[r][i] == e) sum += gy[r][i * width + j];
        }
        gtable[r][e * width + j] = static_cast<T>(sum);
      }
    }
  }
}

template <class T>
void gather_forward(const AxisGeometry& g, index_t picks, const T* x, const std::int64_t* index,
                    T* y) {
  const index_t lines = g.outer * picks;
  parallel_for(lines * g.inner >= kParallelWork, lines, [&](index_t line) {
    const T* from = x + line / picks * g.length * g.inner;
    const index_t at = line * g.inner;
    for (index_t i = 0; i < g.inner; ++i) y[at + i] = from[index[at + i] * g.inner + i];
  });
}

template <class T>
void gather_backward(const AxisGeometry& g, index_t picks, const std::int64_t* index, In<T> gy,
                     Out<T> gx) {
  const index_t tasks = gy.count * g.outer, slab = g.length * g.inner;
  parallel_for(tasks * (slab + picks * g.inner) >= kParallelWork, tasks, [&](index_t task) {
    const auto r = static_cast<std::int32_t>(task / g.outer);
    const index_t o = task % g.outer;
    T* to = gx[r] + o * slab;
    if (!gx.accumulate) std::fill_n(to, slab, T(0));
    for (index_t m = 0; m < picks; ++m) {
      const index_t at = (o * picks + m) * g.inner;
      for (index_t i = 0; i < g.inner; ++i) to[index[at + i] * g.inner + i] += gy[r][at + i];
    }
  });
}

CONCORD_KERNEL(embedding_forward)
CONCORD_KERNEL_AND_NAIVE(embedding_backward)
CONCORD_KERNEL(gather_forward)
CONCORD_KERNEL(gather_backward)

}  // namespace concord::kernels::cpu
