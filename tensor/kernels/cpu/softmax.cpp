// Softmax, log-softmax and cross-entropy along one axis of [outer, length, inner].
//
//   p_j = e^(x_j - m) / sum_k e^(x_k - m),   log p_j = x_j - m - log sum_k e^(x_k - m),   m = max x
// so that no exponential overflows. The gradients are
//   softmax:      gx_j = p_j (gy_j - sum_k gy_k p_k)
//   log-softmax:  gx_j = gy_j - p_j sum_k gy_k
//   cross-entropy with label smoothing s (Szegedy et al., "Rethinking the Inception Architecture",
//   CVPR 2016, section 7): gx_j = gy (p_j - (1 - s) [j = t] - s / length).
//
// Two layouts are met: vectors that lie contiguous (inner = 1, classifiers) and one vector per
// pixel (inner > 1, segmentation), where kColumns neighbouring pixels are computed together. What
// the R rows share (p, the derivative) is formed once per piece.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/simd.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace concord::kernels::cpu {
namespace {

constexpr index_t kColumns = 128;
/// An exponential costs about as much as this many simple operations.
constexpr index_t kExpWork = 4;

index_t elements(const AxisGeometry& g) { return g.outer * g.length * g.inner; }

/// f(offset of the block's first element in [outer, length, inner], the same in [outer, inner],
/// columns) for each outer index and block of columns. In contiguous vectors a block is a vector.
template <class F>
void for_blocks(const AxisGeometry& g, index_t work, F f) {
  const index_t blocks = pieces(g.inner, kColumns), tasks = g.outer * blocks;
  parallel_for(work >= kParallelWork && tasks > 1, tasks, [&](index_t task) {
    const index_t o = task / blocks, first = task % blocks * kColumns;
    f(o * g.length * g.inner + first, o * g.inner + first, std::min(kColumns, g.inner - first));
  });
}

template <class T>
using PerColumn = std::array<T, kColumns>;

/// The maximum and the sum of e^(x - maximum) of each column of a block; y receives the
/// exponentials if it is not null.
template <class T>
void max_and_sum(const AxisGeometry& g, index_t columns, const T* x, T* y, PerColumn<T>& largest,
                 PerColumn<double>& total) {
  if (g.inner == 1) {
    T m = x[0];
    for (index_t l = 1; l < g.length; ++l) m = x[l] > m ? x[l] : m;
    double sum = 0;
    std::array<T, kPiece> piece;
    for (index_t first = 0; first < g.length; first += kPiece) {
      const index_t count = std::min(kPiece, g.length - first);
      for (index_t i = 0; i < count; ++i) piece[i] = exp_of(x[first + i] - m);
      sum += sum_of(count, piece.data());
      if (y) std::copy_n(piece.begin(), count, y + first);
    }
    largest[0] = m;
    total[0] = sum;
    return;
  }
  std::copy_n(x, columns, largest.begin());
  for (index_t l = 1; l < g.length; ++l) {
    const T* line = x + l * g.inner;
    for (index_t i = 0; i < columns; ++i) largest[i] = line[i] > largest[i] ? line[i] : largest[i];
  }
  std::fill_n(total.begin(), columns, 0.0);
  PerColumn<T> e;
  for (index_t l = 0; l < g.length; ++l) {
    const T* line = x + l * g.inner;
    for (index_t i = 0; i < columns; ++i) e[i] = exp_of(line[i] - largest[i]);
    for (index_t i = 0; i < columns; ++i) total[i] += e[i];
    if (y) std::copy_n(e.begin(), columns, y + l * g.inner);
  }
}

template <class T>
void write_or_add(bool accumulate, T& slot, T value) {
  slot = accumulate ? slot + value : value;
}

}  // namespace

template <class T>
void softmax_forward(const AxisGeometry& g, const T* x, T* y) {
  if (g.length == 0) return;
  for_blocks(g, kExpWork * elements(g), [&](index_t at, index_t, index_t columns) {
    PerColumn<T> largest, inverse;
    PerColumn<double> total;
    T* to = y + at;
    max_and_sum(g, columns, x + at, to, largest, total);
    for (index_t i = 0; i < columns; ++i) inverse[i] = static_cast<T>(1 / total[i]);
    if (g.inner == 1) {
      const T s = inverse[0];
      for (index_t l = 0; l < g.length; ++l) to[l] *= s;
    } else {
      for (index_t l = 0; l < g.length; ++l, to += g.inner) {
        for (index_t i = 0; i < columns; ++i) to[i] *= inverse[i];
      }
    }
  });
}

template <class T>
void log_softmax_forward(const AxisGeometry& g, const T* x, T* y) {
  if (g.length == 0) return;
  for_blocks(g, kExpWork * elements(g), [&](index_t at, index_t, index_t columns) {
    PerColumn<T> largest, log_sum;
    PerColumn<double> total;
    max_and_sum<T>(g, columns, x + at, nullptr, largest, total);
    for (index_t i = 0; i < columns; ++i) log_sum[i] = static_cast<T>(std::log(total[i]));
    const T* from = x + at;
    T* to = y + at;
    if (g.inner == 1) {
      const T m = largest[0], s = log_sum[0];
      for (index_t l = 0; l < g.length; ++l) to[l] = (from[l] - m) - s;
    } else {
      for (index_t l = 0; l < g.length; ++l, from += g.inner, to += g.inner) {
        for (index_t i = 0; i < columns; ++i) to[i] = (from[i] - largest[i]) - log_sum[i];
      }
    }
  });
}

template <class T>
void softmax_backward(const AxisGeometry& g, const T* y, In<T> gy, Out<T> gx) {
  for_blocks(g, gy.count * elements(g), [&](index_t at, index_t, index_t columns) {
    const T* p = y + at;
    for (std::int32_t r = 0; r < gy.count; ++r) {
      const T* from = gy[r] + at;
      T* to = gx[r] + at;
      if (g.inner == 1) {
        const T dot = static_cast<T>(sum_terms(
            g.length, [](auto a, auto b) { return a * b; }, from, p));
        for (index_t l = 0; l < g.length; ++l) {
          write_or_add(gx.accumulate, to[l], p[l] * (from[l] - dot));
        }
        continue;
      }
      PerColumn<double> total;
      PerColumn<T> dot;
      std::fill_n(total.begin(), columns, 0.0);
      for (index_t l = 0; l < g.length; ++l) {
        const index_t line = l * g.inner;
        for (index_t i = 0; i < columns; ++i) total[i] += double{from[line + i]} * p[line + i];
      }
      for (index_t i = 0; i < columns; ++i) dot[i] = static_cast<T>(total[i]);
      for (index_t l = 0; l < g.length; ++l) {
        const index_t line = l * g.inner;
        for (index_t i = 0; i < columns; ++i) {
          write_or_add(gx.accumulate, to[line + i], p[line + i] * (from[line + i] - dot[i]));
        }
      }
    }
  });
}

template <class T>
void log_softmax_backward(const AxisGeometry& g, const T* y, In<T> gy, Out<T> gx) {
  for_blocks(g, (kExpWork + gy.count) * elements(g), [&](index_t at, index_t, index_t columns) {
    // Row by row the sum of gy; then line by line p, once for all rows.
    constexpr std::int32_t kRowsAtOnce = 16;
    for (std::int32_t r0 = 0; r0 < gy.count; r0 += kRowsAtOnce) {
      const std::int32_t rows = std::min(kRowsAtOnce, gy.count - r0);
      std::array<PerColumn<T>, kRowsAtOnce> sum;
      for (std::int32_t r = 0; r < rows; ++r) {
        const T* from = gy[r0 + r] + at;
        if (g.inner == 1) {
          sum[r][0] = static_cast<T>(sum_of(g.length, from));
          continue;
        }
        PerColumn<double> total;
        std::fill_n(total.begin(), columns, 0.0);
        for (index_t l = 0; l < g.length; ++l) {
          for (index_t i = 0; i < columns; ++i) total[i] += from[l * g.inner + i];
        }
        for (index_t i = 0; i < columns; ++i) sum[r][i] = static_cast<T>(total[i]);
      }
      // inner = 1: pieces along the vector; else: lines of columns.
      std::array<T, kPiece> p;
      const index_t step = g.inner == 1 ? kPiece : 1;
      for (index_t l = 0; l < g.length; l += step) {
        const index_t line = at + l * g.inner;
        const index_t count = g.inner == 1 ? std::min(kPiece, g.length - l) : columns;
        for (index_t i = 0; i < count; ++i) p[i] = exp_of(y[line + i]);
        for (std::int32_t r = 0; r < rows; ++r) {
          const T* from = gy[r0 + r] + line;
          T* to = gx[r0 + r] + line;
          if (g.inner == 1) {
            const T s = sum[r][0];
            for (index_t i = 0; i < count; ++i) {
              write_or_add(gx.accumulate, to[i], from[i] - p[i] * s);
            }
          } else {
            for (index_t i = 0; i < count; ++i) {
              write_or_add(gx.accumulate, to[i], from[i] - p[i] * sum[r][i]);
            }
          }
        }
      }
    }
  });
}

template <class T>
void cross_entropy_forward(const AxisGeometry& g, const T* logits, const std::int64_t* target,
                           std::int64_t ignore_index, double smoothing, T* loss, T* log_p) {
  log_softmax_forward(g, logits, log_p);
  for_blocks(g, elements(g), [&](index_t at, index_t column, index_t columns) {
    for (index_t i = 0; i < columns; ++i) {
      const std::int64_t t = target[column + i];
      if (t == ignore_index) {
        loss[column + i] = T(0);
        continue;
      }
      const T* from = log_p + at + i;
      double value = -(1 - smoothing) * from[t * g.inner];
      if (smoothing != 0) {
        double total = 0;
        for (index_t l = 0; l < g.length; ++l) total += from[l * g.inner];
        value -= smoothing / static_cast<double>(g.length) * total;
      }
      loss[column + i] = static_cast<T>(value);
    }
  });
}

template <class T>
void cross_entropy_backward(const AxisGeometry& g, const T* log_p, const std::int64_t* target,
                            std::int64_t ignore_index, double smoothing, In<T> gy, Out<T> gx) {
  const T hit = static_cast<T>(1 - smoothing);
  const T everywhere = static_cast<T>(smoothing / static_cast<double>(g.length));
  for_blocks(g, (kExpWork + gy.count) * elements(g),
             [&](index_t at, index_t column, index_t columns) {
               const std::int64_t* t = target + column;
               std::array<T, kPiece> slope;  // d loss / d logits of a piece, shared by all rows
               if (g.inner == 1) {
                 const bool ignored = *t == ignore_index;
                 for (index_t first = 0; first < g.length; first += kPiece) {
                   const index_t count = std::min(kPiece, g.length - first);
                   for (index_t i = 0; i < count; ++i)
                     slope[i] = exp_of(log_p[at + first + i]) - everywhere;
                   if (*t >= first && *t < first + count) slope[*t - first] -= hit;
                   for (std::int32_t r = 0; r < gy.count; ++r) {
                     const T seed = ignored ? T(0) : gy[r][column];
                     T* to = gx[r] + at + first;
                     if (ignored) {
                       if (!gx.accumulate) std::fill_n(to, count, T(0));
                     } else if (gx.accumulate) {
                       for (index_t i = 0; i < count; ++i) to[i] += seed * slope[i];
                     } else {
                       for (index_t i = 0; i < count; ++i) to[i] = seed * slope[i];
                     }
                   }
                 }
                 return;
               }
               for (index_t l = 0; l < g.length; ++l) {
                 const index_t line = at + l * g.inner;
                 for (index_t i = 0; i < columns; ++i) {
                   slope[i] = exp_of(log_p[line + i]) - (t[i] == l ? everywhere + hit : everywhere);
                 }
                 for (std::int32_t r = 0; r < gy.count; ++r) {
                   const T* seed = gy[r] + column;
                   T* to = gx[r] + line;
                   for (index_t i = 0; i < columns; ++i) {
                     const T value = t[i] == ignore_index ? T(0) : seed[i] * slope[i];
                     write_or_add(gx.accumulate, to[i], value);
                   }
                 }
               }
             });
}

// --- The naive twins.

template <class T>
void log_softmax_forward_naive(const AxisGeometry& g, const T* x, T* y) {
  for (index_t o = 0; o < g.outer; ++o) {
    for (index_t i = 0; i < g.inner; ++i) {
      const auto at = [&](index_t l) { return (o * g.length + l) * g.inner + i; };
      double m = x[at(0)], sum = 0;
      for (index_t l = 0; l < g.length; ++l) m = std::max<double>(m, x[at(l)]);
      for (index_t l = 0; l < g.length; ++l) sum += std::exp(x[at(l)] - m);
      for (index_t l = 0; l < g.length; ++l)
        y[at(l)] = static_cast<T>(x[at(l)] - m - std::log(sum));
    }
  }
}

template <class T>
void softmax_forward_naive(const AxisGeometry& g, const T* x, T* y) {
  for (index_t o = 0; o < g.outer; ++o) {
    for (index_t i = 0; i < g.inner; ++i) {
      const auto at = [&](index_t l) { return (o * g.length + l) * g.inner + i; };
      double m = x[at(0)], sum = 0;
      for (index_t l = 0; l < g.length; ++l) m = std::max<double>(m, x[at(l)]);
      for (index_t l = 0; l < g.length; ++l) sum += std::exp(x[at(l)] - m);
      for (index_t l = 0; l < g.length; ++l)
        y[at(l)] = static_cast<T>(std::exp(x[at(l)] - m) / sum);
    }
  }
}

template <class T>
void softmax_backward_naive(const AxisGeometry& g, const T* y, In<T> gy, Out<T> gx) {
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t o = 0; o < g.outer; ++o) {
      for (index_t i = 0; i < g.inner; ++i) {
        const auto at = [&](index_t l) { return (o * g.length + l) * g.inner + i; };
        double dot = 0;
        for (index_t l = 0; l < g.length; ++l) dot += double{gy[r][at(l)]} * y[at(l)];
        for (index_t l = 0; l < g.length; ++l) {
          write_or_add(gx.accumulate, gx[r][at(l)],
                       static_cast<T>(y[at(l)] * (gy[r][at(l)] - dot)));
        }
      }
    }
  }
}

template <class T>
void log_softmax_backward_naive(const AxisGeometry& g, const T* y, In<T> gy, Out<T> gx) {
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t o = 0; o < g.outer; ++o) {
      for (index_t i = 0; i < g.inner; ++i) {
        const auto at = [&](index_t l) { return (o * g.length + l) * g.inner + i; };
        double sum = 0;
        for (index_t l = 0; l < g.length; ++l) sum += gy[r][at(l)];
        for (index_t l = 0; l < g.length; ++l) {
          write_or_add(gx.accumulate, gx[r][at(l)],
                       static_cast<T>(gy[r][at(l)] - std::exp(double{y[at(l)]}) * sum));
        }
      }
    }
  }
}

template <class T>
void cross_entropy_forward_naive(const AxisGeometry& g, const T* logits, const std::int64_t* target,
                                 std::int64_t ignore_index, double smoothing, T* loss, T* log_p) {
  log_softmax_forward_naive(g, logits, log_p);
  for (index_t o = 0; o < g.outer; ++o) {
    for (index_t i = 0; i < g.inner; ++i) {
      const std::int64_t t = target[o * g.inner + i];
      double value = 0;
      for (index_t l = 0; l < g.length && t != ignore_index; ++l) {
        const double wanted =
            (l == t ? 1 - smoothing : 0) + smoothing / static_cast<double>(g.length);
        value -= wanted * log_p[(o * g.length + l) * g.inner + i];
      }
      loss[o * g.inner + i] = static_cast<T>(value);
    }
  }
}

template <class T>
void cross_entropy_backward_naive(const AxisGeometry& g, const T* log_p, const std::int64_t* target,
                                  std::int64_t ignore_index, double smoothing, In<T> gy,
                                  Out<T> gx) {
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t o = 0; o < g.outer; ++o) {
      for (index_t l = 0; l < g.length; ++l) {
        for (index_t i = 0; i < g.inner; ++i) {
          const index_t at = (o * g.length + l) * g.inner + i;
          const std::int64_t t = target[o * g.inner + i];
          const double wanted =
              (l == t ? 1 - smoothing : 0) + smoothing / static_cast<double>(g.length);
          const double slope = t == ignore_index ? 0 : std::exp(double{log_p[at]}) - wanted;
          write_or_add(gx.accumulate, gx[r][at], static_cast<T>(gy[r][o * g.inner + i] * slope));
        }
      }
    }
  }
}

CONCORD_KERNEL_AND_NAIVE(softmax_forward)
CONCORD_KERNEL_AND_NAIVE(softmax_backward)
CONCORD_KERNEL_AND_NAIVE(log_softmax_forward)
CONCORD_KERNEL_AND_NAIVE(log_softmax_backward)
CONCORD_KERNEL_AND_NAIVE(cross_entropy_forward)
CONCORD_KERNEL_AND_NAIVE(cross_entropy_backward)

}  // namespace concord::kernels::cpu
