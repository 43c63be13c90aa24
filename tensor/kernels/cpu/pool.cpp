// Pooling over h and w. Planes (samples x channels, for all R rows) are independent and shared by
// the threads.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/tile.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

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

// All windows of a plane, whatever their size.
template <class T>
void max_of_plane(const PoolGeometry& g, const T* x, T* y, std::int32_t* argmax) {
  // Columns whose windows lie inside: 0 <= j stride - pad and j stride - pad + kernel <= w.
  index_t first = 0, last = 0;
  if (!g.adaptive && g.w + g.pad_w >= g.kernel_w) {
    first = std::min((g.pad_w + g.stride_w - 1) / g.stride_w, g.q);
    last = std::clamp((g.w + g.pad_w - g.kernel_w) / g.stride_w + 1, first, g.q);
  }
  for (index_t i = 0; i < g.p; ++i, y += g.q, argmax += g.q) {
    for (index_t j = 0; j < first; ++j) max_of_window(g, x, i, j, y[j], argmax[j]);
    max_of_row(g, x, i, first, last, y, argmax);
    for (index_t j = last; j < g.q; ++j) max_of_window(g, x, i, j, y[j], argmax[j]);
  }
}

template <class T>
void scatter_plane(const PoolGeometry& g, bool accumulate, const std::int32_t* argmax, const T* gy,
                   T* gx) {
  if (!accumulate) std::fill_n(gx, g.h * g.w, T(0));
  for (index_t o = 0; o < g.p * g.q; ++o) gx[argmax[o]] += gy[o];
}

// Windows of 2 x 2 that tile the plane without padding. Vectors hold neighbouring windows of one
// output row; the last vector of a row overlaps the one before it where kLanes does not divide q.
// Forward compares in the order of max_of_window. Backward knows that an input belongs to at most
// one window: it writes each once, the cotangent or zero, instead of clearing and scattering.
template <class T, int kLanes>
class Windows2x2 {
 public:
  static void forward(const PoolGeometry& g, const T* x, T* y, std::int32_t* argmax) {
    const index_t w = g.w;
    each_vector(g, [&](index_t corner, index_t o) {
      const Values top[2] = {load<Values>(x + corner), load<Values>(x + corner + kLanes)};
      const Values bottom[2] = {load<Values>(x + corner + w),
                                load<Values>(x + corner + w + kLanes)};
      Values best = every_second<0>(top);
      Places at{};
      const auto compare = [&](Values value, index_t place) {
        const Places take = (value > best) | (value != value);
        best = take ? value : best;
        at = take ? Places{} + static_cast<Place>(place) : at;
      };
      compare(every_second<1>(top), 1);
      compare(every_second<0>(bottom), w);
      compare(every_second<1>(bottom), w + 1);
      store(best, y + o);
      at += corners(Lanes()) + static_cast<Place>(corner);
      store(__builtin_convertvector(at, Places32), argmax + o);
    });
  }

  static void backward(const PoolGeometry& g, const std::int32_t* argmax, const T* gy, T* gx) {
    const index_t w = g.w;
    each_vector(g, [&](index_t corner, index_t o) {
      const auto seed = load<Values>(gy + o);
      const Places at = __builtin_convertvector(load<Places32>(argmax + o), Places) -
                        (corners(Lanes()) + static_cast<Place>(corner));
      const auto where = [&](index_t place) {
        return at == Places{} + static_cast<Place>(place) ? seed : Values{};
      };
      store_interleaved(where(0), where(1), gx + corner, Lanes());
      store_interleaved(where(w), where(w + 1), gx + corner + w, Lanes());
    });
    for (index_t h = 0; w > 2 * g.q && h < g.h; ++h) gx[h * w + w - 1] = T(0);
    if (g.h > 2 * g.p) std::fill_n(gx + 2 * g.p * w, w, T(0));
  }

 private:
  typedef T Values __attribute__((vector_size(kLanes * sizeof(T))));
  using Place = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;  // as wide as T
  typedef Place Places __attribute__((vector_size(kLanes * sizeof(T))));
  typedef std::int32_t Places32 __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
  using Lanes = std::make_integer_sequence<int, kLanes>;

  // f(place of the first window's corner in the plane, place of its output).
  template <class F>
  static void each_vector(const PoolGeometry& g, F f) {
    const index_t p = g.p, q = g.q, two_rows = 2 * g.w;
    for (index_t i = 0; i < p; ++i) {
      for (index_t first = 0; first < q; first += kLanes) {
        const index_t j = std::min(first, q - kLanes);
        f(i * two_rows + 2 * j, i * q + j);
      }
    }
  }

  template <class Vector, class From>
  static Vector load(const From* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  template <class Vector, class To>
  static void store(Vector v, To* p) {
    std::memcpy(p, &v, sizeof v);
  }
  template <int... kLane>
  static Places corners(std::integer_sequence<int, kLane...>) {
    return Places{2 * kLane...};
  }
  template <int kFirst>
  static Values every_second(const Values* pair) {
    return every_second<kFirst>(pair, Lanes());
  }
  template <int kFirst, int... kLane>
  static Values every_second(const Values* pair, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(pair[0], pair[1], (2 * kLane + kFirst)...);
  }
  // a[0], b[0], a[1], b[1] ...
  template <int... kLane>
  static void store_interleaved(Values a, Values b, T* to, std::integer_sequence<int, kLane...>) {
    store(__builtin_shufflevector(a, b, (kLane / 2 + kLane % 2 * kLanes)...), to);
    store(__builtin_shufflevector(a, b, ((kLanes + kLane) / 2 + kLane % 2 * kLanes)...),
          to + kLanes);
  }
};

// Calls f(Windows2x2) with the most lanes that a row of windows fills; false if the windows are of
// another kind or a row has fewer than two.
template <class T, int kLanes = Simd<T>::kLanes, class F>
bool as_windows_2x2(const PoolGeometry& g, F f) {
  if (g.adaptive || g.kernel_h != 2 || g.kernel_w != 2 || g.stride_h != 2 || g.stride_w != 2 ||
      g.pad_h != 0 || g.pad_w != 0) {
    return false;
  }
  if (g.q >= kLanes) return f(Windows2x2<T, kLanes>()), true;
  if constexpr (kLanes > 2) return as_windows_2x2<T, kLanes / 2>(g, f);
  return false;
}

// Runs f(plane) for all planes; each costs about `work` operations.
template <class F>
void each_plane(index_t planes, index_t work, F f) {
  parallel_for(worthwhile_threads(64 * planes * work) > 1, planes, f);
}

}  // namespace

template <class T>
void max_pool2d_forward(const PoolGeometry& g, const T* x, T* y, std::int32_t* argmax) {
  const index_t in = g.h * g.w, out = g.p * g.q;
  const index_t window = g.adaptive ? 1 : g.kernel_h * g.kernel_w;
  auto plane_forward = max_of_plane<T>;
  index_t work = std::max(in, out * window);
  if (as_windows_2x2<T>(g, [&](auto windows) { plane_forward = windows.forward; })) work = in / 2;
  each_plane(g.planes, work, [&](index_t plane) {
    plane_forward(g, x + plane * in, y + plane * out, argmax + plane * out);
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
  void (*write)(const PoolGeometry&, const std::int32_t*, const T*, T*) = nullptr;
  if (!gx.accumulate) as_windows_2x2<T>(g, [&](auto windows) { write = windows.backward; });
  // The rows of a plane follow one another: its argmax stays in the cache.
  each_plane(g.planes * gx.count, write ? in : in + 2 * out, [&](index_t item) {
    const auto r = static_cast<std::int32_t>(item % gx.count);
    const index_t plane = item / gx.count;
    const std::int32_t* at = argmax + plane * out;
    if (write) {
      write(g, at, gy[r] + plane * out, gx[r] + plane * in);
    } else {
      scatter_plane(g, gx.accumulate, at, gy[r] + plane * out, gx[r] + plane * in);
    }
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
