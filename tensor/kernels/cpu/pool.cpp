// Pooling over h and w. Planes (samples x channels, for all R rows) are independent and shared by
// the threads.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/tile.h>

#include <algorithm>
#include <limits>

namespace concord::kernels::cpu {
namespace {

// Input positions [first, last) along one axis that an output position covers, padding cut off.
struct Span {
  index_t first, last;
};

Span span(index_t at, index_t size, index_t outputs, index_t kernel, index_t stride, index_t pad,
          bool adaptive) {
  if (adaptive) return {at * size / outputs, ((at + 1) * size + outputs - 1) / outputs};
  const index_t first = at * stride - pad;
  return {std::max<index_t>(first, 0), std::min(first + kernel, size)};
}
Span span_h(const PoolGeometry& g, index_t i) {
  return span(i, g.h, g.p, g.kernel_h, g.stride_h, g.pad_h, g.adaptive);
}
Span span_w(const PoolGeometry& g, index_t j) {
  return span(j, g.w, g.q, g.kernel_w, g.stride_w, g.pad_w, g.adaptive);
}

// What an average divides by.
index_t divisor(const PoolGeometry& g, Span a, Span b) {
  if (g.count_include_pad && !g.adaptive) return g.kernel_h * g.kernel_w;
  return (a.last - a.first) * (b.last - b.first);
}

// An element replaces the maximum if it is greater or NaN, as in PyTorch: NaN propagates.
template <class T>
bool replaces(T value, T best) {
  return value > best || value != value;
}

// One window, element by element.
template <class T>
void max_of_window(const PoolGeometry& g, const T* x, index_t i, index_t j, T& y,
                   std::int32_t& argmax) {
  const Span a = span_h(g, i), b = span_w(g, j);
  T best = -std::numeric_limits<T>::infinity();
  index_t at = a.first * g.w + b.first;
  for (index_t h = a.first; h < a.last; ++h) {
    for (index_t w = b.first; w < b.last; ++w) {
      if (replaces(x[h * g.w + w], best)) best = x[at = h * g.w + w];
    }
  }
  y = best;
  argmax = static_cast<std::int32_t>(at);
}

// One output row, all its windows together: the same scan order, vectorised over columns. Only
// columns [first, last), whose windows do not reach over the sides.
template <class T>
void max_of_row(const PoolGeometry& g, const T* x, index_t i, index_t first, index_t last, T* y,
                std::int32_t* argmax) {
  const Span a = span_h(g, i);
  const auto stride = static_cast<std::int32_t>(g.stride_w);
  for (index_t h = a.first; h < a.last; ++h) {
    for (index_t s = 0; s < g.kernel_w; ++s) {
      const auto at = static_cast<std::int32_t>(h * g.w - g.pad_w + s);
      const bool fresh = h == a.first && s == 0;
      if (fresh) {
        for (index_t j = first; j < last; ++j) {
          y[j] = x[at + j * stride];
          argmax[j] = at + static_cast<std::int32_t>(j) * stride;
        }
        continue;
      }
      for (index_t j = first; j < last; ++j) {
        const T value = x[at + j * stride];
        const bool take = replaces(value, y[j]);
        y[j] = take ? value : y[j];
        argmax[j] = take ? at + static_cast<std::int32_t>(j) * stride : argmax[j];
      }
    }
  }
}

// Runs f(plane) for all planes; each costs about `work` operations.
template <class F>
void each_plane(index_t planes, index_t work, F f) {
  const int threads = worthwhile_threads(64 * planes * work);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (index_t plane = 0; plane < planes; ++plane) f(plane);
}

}  // namespace

template <class T>
void max_pool2d_forward(const PoolGeometry& g, const T* x, T* y, std::int32_t* argmax) {
  // Columns whose windows lie inside: 0 <= j stride - pad and j stride - pad + kernel <= w.
  index_t first = 0, last = 0;
  if (!g.adaptive && g.w + g.pad_w >= g.kernel_w) {
    first = std::min((g.pad_w + g.stride_w - 1) / g.stride_w, g.q);
    last = std::clamp((g.w + g.pad_w - g.kernel_w) / g.stride_w + 1, first, g.q);
  }
  const index_t window = g.adaptive ? 1 : g.kernel_h * g.kernel_w;
  each_plane(g.planes, std::max(g.h * g.w, g.p * g.q * window), [&](index_t plane) {
    const T* from = x + plane * g.h * g.w;
    for (index_t i = 0; i < g.p; ++i) {
      T* to = y + (plane * g.p + i) * g.q;
      std::int32_t* at = argmax + (plane * g.p + i) * g.q;
      for (index_t j = 0; j < first; ++j) max_of_window(g, from, i, j, to[j], at[j]);
      max_of_row(g, from, i, first, last, to, at);
      for (index_t j = last; j < g.q; ++j) max_of_window(g, from, i, j, to[j], at[j]);
    }
  });
}

template <class T>
void max_pool2d_forward_naive(const PoolGeometry& g, const T* x, T* y, std::int32_t* argmax) {
  for (index_t o = 0; o < g.planes * g.p * g.q; ++o) {
    max_of_window(g, x + o / (g.p * g.q) * g.h * g.w, o / g.q % g.p, o % g.q, y[o], argmax[o]);
  }
}

template <class T>
void max_pool2d_backward(const PoolGeometry& g, const std::int32_t* argmax, In<T> gy, Out<T> gx) {
  const index_t in = g.h * g.w, out = g.p * g.q;
  each_plane(g.planes * gx.count, in + 2 * out, [&](index_t item) {
    const auto r = static_cast<std::int32_t>(item / g.planes);
    const index_t plane = item % g.planes;
    T* to = gx[r] + plane * in;
    const T* from = gy[r] + plane * out;
    const std::int32_t* at = argmax + plane * out;
    if (!gx.accumulate) std::fill_n(to, in, T(0));
    for (index_t o = 0; o < out; ++o) to[at[o]] += from[o];
  });
}

template <class T>
void max_pool2d_backward_naive(const PoolGeometry& g, const std::int32_t* argmax, In<T> gy,
                               Out<T> gx) {
  const index_t in = g.h * g.w, out = g.p * g.q;
  for (std::int32_t r = 0; r < gx.count; ++r) {
    for (index_t i = 0; i < g.planes * in; ++i) {
      double sum = gx.accumulate ? double(gx[r][i]) : 0;
      for (index_t o = i / in * out; o < (i / in + 1) * out; ++o) {
        if (argmax[o] == i % in) sum += double(gy[r][o]);
      }
      gx[r][i] = static_cast<T>(sum);
    }
  }
}

template <class T>
void avg_pool2d_forward(const PoolGeometry& g, const T* x, T* y) {
  const index_t window = g.adaptive ? 1 : g.kernel_h * g.kernel_w;
  each_plane(g.planes, std::max(g.h * g.w, g.p * g.q * window), [&](index_t plane) {
    const T* from = x + plane * g.h * g.w;
    T* to = y + plane * g.p * g.q;
    for (index_t i = 0; i < g.p; ++i) {
      const Span a = span_h(g, i);
      for (index_t j = 0; j < g.q; ++j) {
        const Span b = span_w(g, j);
        T sum = 0;
        for (index_t h = a.first; h < a.last; ++h) {
          for (index_t w = b.first; w < b.last; ++w) sum += from[h * g.w + w];
        }
        to[i * g.q + j] = sum / static_cast<T>(divisor(g, a, b));
      }
    }
  });
}

template <class T>
void avg_pool2d_backward(const PoolGeometry& g, In<T> gy, Out<T> gx) {
  const index_t in = g.h * g.w, out = g.p * g.q;
  const index_t window = g.adaptive ? 1 : g.kernel_h * g.kernel_w;
  each_plane(g.planes * gx.count, std::max(in, out * window), [&](index_t item) {
    const auto r = static_cast<std::int32_t>(item / g.planes);
    T* to = gx[r] + item % g.planes * in;
    const T* from = gy[r] + item % g.planes * out;
    if (!gx.accumulate) std::fill_n(to, in, T(0));
    for (index_t i = 0; i < g.p; ++i) {
      const Span a = span_h(g, i);
      for (index_t j = 0; j < g.q; ++j) {
        const Span b = span_w(g, j);
        const T share = from[i * g.q + j] / static_cast<T>(divisor(g, a, b));
        for (index_t h = a.first; h < a.last; ++h) {
          for (index_t w = b.first; w < b.last; ++w) to[h * g.w + w] += share;
        }
      }
    }
  });
}

template <class T>
void avg_pool2d_forward_naive(const PoolGeometry& g, const T* x, T* y) {
  for (index_t o = 0; o < g.planes * g.p * g.q; ++o) {
    const Span a = span_h(g, o / g.q % g.p), b = span_w(g, o % g.q);
    double sum = 0;
    for (index_t h = a.first; h < a.last; ++h) {
      for (index_t w = b.first; w < b.last; ++w) {
        sum += double(x[o / (g.p * g.q) * g.h * g.w + h * g.w + w]);
      }
    }
    y[o] = static_cast<T>(sum / double(divisor(g, a, b)));
  }
}

template <class T>
void avg_pool2d_backward_naive(const PoolGeometry& g, In<T> gy, Out<T> gx) {
  const index_t in = g.h * g.w, out = g.p * g.q;
  for (std::int32_t r = 0; r < gx.count; ++r) {
    for (index_t i = 0; i < g.planes * in; ++i) {
      const index_t h = i / g.w % g.h, w = i % g.w;
      double sum = gx.accumulate ? double(gx[r][i]) : 0;
      for (index_t o = 0; o < out; ++o) {
        const Span a = span_h(g, o / g.q), b = span_w(g, o % g.q);
        if (h < a.first || h >= a.last || w < b.first || w >= b.last) continue;
        sum += double(gy[r][i / in * out + o]) / double(divisor(g, a, b));
      }
      gx[r][i] = static_cast<T>(sum);
    }
  }
}

CONCORD_KERNEL_AND_NAIVE(max_pool2d_forward)
CONCORD_KERNEL_AND_NAIVE(max_pool2d_backward)
CONCORD_KERNEL_AND_NAIVE(avg_pool2d_forward)
CONCORD_KERNEL_AND_NAIVE(avg_pool2d_backward)

}  // namespace concord::kernels::cpu
