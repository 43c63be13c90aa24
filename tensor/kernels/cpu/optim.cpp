// Optimiser steps over a slice of theta. The direction is formed a piece at a time on the stack
// from the weighted gradient rows, so a step is one pass over the rows, theta and the state:
//   d = clamp(clip * sum_t weight_t row_t, -clip_value, clip_value)
// and then, all as in PyTorch 2 (decay is "coupled" where it enters the direction),
//   sgd      d += decay theta;  m = momentum m + (1 - dampening) d, at the first step m = d;
//            theta -= rate m, with Nesterov theta -= rate (d + momentum m)
//   adam     d += decay theta;  m += (1 - beta1)(d - m);  v = beta2 v + (1 - beta2) d d;
//            theta -= rate / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)
//            (Kingma and Ba, ICLR 2015, algorithm 1)
//   adamw    theta *= 1 - rate decay, then as adam without decay (Loshchilov and Hutter, ICLR 2019)
//   rmsprop  d += decay theta;  v = beta2 v + (1 - beta2) d d; centred: mean += (1 - beta2)(d -
//   mean)
//            and v - mean^2 in place of v;  u = d / (sqrt(v) + eps);
//            theta -= rate u, or with momentum b = momentum b + u, theta -= rate b
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/simd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace concord::kernels::cpu {
namespace {

/// Rows that are read side by side: several streams from memory at once, and the sum stays in
/// registers between them.
constexpr int kTogether = 8;

/// out[i] (+)= sum_r weight[r] row[r][i], each sum in the order of the rows.
template <class T, class Row>
void add_rows(int rows, const Row* const* row, const T* weight, bool add, index_t count, T* out) {
  using R = Register<T>;
  constexpr index_t kStep = 4 * R::kLanes;
  index_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    typename R::Vector sum[4] = {};
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      if (add) sum[v] = R::load(out + i + v * R::kLanes);
    }
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[v] += weight[r] * R::load(row[r] + i + v * R::kLanes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) std::memcpy(out + i + v * R::kLanes, &sum[v], sizeof sum[v]);
  }
  // The rest in the same operations, so that an element's bits do not depend on its place.
  for (; i < count; i += R::kLanes) {
    const auto rest = static_cast<std::size_t>(std::min(R::kLanes, count - i));
    typename R::Vector sum = {};
    if (add) std::memcpy(&sum, out + i, rest * sizeof(T));
    for (int r = 0; r < rows; ++r) {
      Row x[R::kLanes] = {};
      std::memcpy(x, row[r] + i, rest * sizeof(Row));
      sum += weight[r] * R::load(x);
    }
    std::memcpy(out + i, &sum, rest * sizeof(T));
  }
}

/// out[i] = sum_t weight[t] row_t[first + i]. A null `weight` stands for ones; a row of weight 0 is
/// not read.
template <class T, class Row>
void weighted_sum(const WeightedRows<T>& rows, const Row* base, index_t count, T* out) {
  bool add = false;
  for (int t = 0; t < rows.count || !add; add = true) {
    const Row* row[kTogether];
    T weight[kTogether];
    int together = 0;
    for (; t < rows.count && together < kTogether; ++t) {
      const T w = rows.weight ? static_cast<T>(rows.weight[t]) : T(1);
      if (w == T(0)) continue;
      row[together] = base + t * rows.stride;
      weight[together++] = w;
    }
    add_rows(together, row, weight, add, count, out);
  }
}
template <class T>
void weighted_sum(const WeightedRows<T>& rows, index_t first, index_t count, T* out) {
  if (rows.bf16)
    weighted_sum(rows, rows.bf16 + first, count, out);
  else
    weighted_sum(rows, rows.base + first, count, out);
}

/// f(first, count, d) for each piece, d being its clipped direction.
template <class T, class F>
void for_directions(index_t size, const StepScalars& s, const WeightedRows<T>& rows, F f) {
  const T clip = static_cast<T>(s.clip), bound = static_cast<T>(s.clip_value);
  for_pieces(size, size * (rows.count + 2), [&](index_t first, index_t count) {
    std::array<T, kPiece> d;
    weighted_sum(rows, first, count, d.data());
    if (clip != T(1)) {
      for (index_t i = 0; i < count; ++i) d[i] *= clip;
    }
    if (bound > T(0)) {
      for (index_t i = 0; i < count; ++i)
        d[i] = d[i] < -bound ? -bound : d[i] > bound ? bound : d[i];
    }
    f(first, count, d.data());
  });
}

/// d += decay * theta.
template <class T>
void add_decay(double decay, index_t count, const T* theta, T* d) {
  if (decay == 0) return;
  const T factor = static_cast<T>(decay);
  for (index_t i = 0; i < count; ++i) d[i] += factor * theta[i];
}

/// The part that Adam and AdamW share, for one piece.
template <class T>
void adam_piece(const StepScalars& s, index_t count, const T* d, T* theta, T* m, T* v) {
  const T step = static_cast<T>(s.rate / s.bias1), eps = static_cast<T>(s.eps);
  const T beta2 = static_cast<T>(s.beta2), root = static_cast<T>(std::sqrt(s.bias2));
  const T fresh1 = static_cast<T>(1 - s.beta1), fresh2 = static_cast<T>(1 - s.beta2);
  for (index_t i = 0; i < count; ++i) {
    m[i] += fresh1 * (d[i] - m[i]);
    v[i] = beta2 * v[i] + fresh2 * d[i] * d[i];
    theta[i] -= step * m[i] / (std::sqrt(v[i]) / root + eps);
  }
}

/// The direction of one element, for the naive steps.
template <class T>
double direction_of(const StepScalars& s, const WeightedRows<T>& rows, index_t i) {
  double d = 0;
  for (int t = 0; t < rows.count; ++t) {
    const index_t at = t * rows.stride + i;
    d += (rows.weight ? rows.weight[t] : 1) *
         (rows.bf16 ? static_cast<double>(rows.bf16[at]) : static_cast<double>(rows.base[at]));
  }
  d *= s.clip;
  return s.clip_value > 0 ? std::clamp(d, -s.clip_value, s.clip_value) : d;
}

}  // namespace

template <class T>
void sgd_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* momentum) {
  const T rate = static_cast<T>(s.rate), mu = static_cast<T>(s.momentum);
  const T fresh = static_cast<T>(1 - s.dampening);
  for_directions(size, s, rows, [&](index_t first, index_t count, T* d) {
    T* at = theta + first;
    add_decay(s.decay, count, at, d);
    if (s.momentum != 0) {
      T* m = momentum + first;
      if (s.first) {
        std::copy_n(d, count, m);
      } else {
        for (index_t i = 0; i < count; ++i) m[i] = mu * m[i] + fresh * d[i];
      }
      if (s.nesterov) {
        for (index_t i = 0; i < count; ++i) d[i] += mu * m[i];
      } else {
        std::copy_n(m, count, d);
      }
    }
    for (index_t i = 0; i < count; ++i) at[i] -= rate * d[i];
  });
}

template <class T>
void sgd_step_naive(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta,
                    T* momentum) {
  for (index_t i = 0; i < size; ++i) {
    double d = direction_of(s, rows, i) + s.decay * theta[i];
    if (s.momentum != 0) {
      const double m = s.first ? d : s.momentum * momentum[i] + (1 - s.dampening) * d;
      momentum[i] = static_cast<T>(m);
      d = s.nesterov ? d + s.momentum * m : m;
    }
    theta[i] = static_cast<T>(theta[i] - s.rate * d);
  }
}

template <class T>
void adam_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* m, T* v) {
  for_directions(size, s, rows, [&](index_t first, index_t count, T* d) {
    add_decay(s.decay, count, theta + first, d);
    adam_piece(s, count, d, theta + first, m + first, v + first);
  });
}

template <class T>
void adamw_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* m, T* v) {
  const T shrink = static_cast<T>(1 - s.rate * s.decay);
  for_directions(size, s, rows, [&](index_t first, index_t count, T* d) {
    for (index_t i = first; i < first + count; ++i) theta[i] *= shrink;
    adam_piece(s, count, d, theta + first, m + first, v + first);
  });
}

namespace {

template <class T>
void adam_naive(bool decoupled, index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta,
                T* m, T* v) {
  for (index_t i = 0; i < size; ++i) {
    const double start = theta[i] * (decoupled ? 1 - s.rate * s.decay : 1);
    const double d = direction_of(s, rows, i) + (decoupled ? 0 : s.decay * theta[i]);
    const double mean = s.beta1 * m[i] + (1 - s.beta1) * d;
    const double square = s.beta2 * v[i] + (1 - s.beta2) * d * d;
    m[i] = static_cast<T>(mean);
    v[i] = static_cast<T>(square);
    theta[i] =
        static_cast<T>(start - s.rate * (mean / s.bias1) / (std::sqrt(square / s.bias2) + s.eps));
  }
}

}  // namespace

template <class T>
void adam_step_naive(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* m,
                     T* v) {
  adam_naive(false, size, s, rows, theta, m, v);
}

template <class T>
void adamw_step_naive(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* m,
                      T* v) {
  adam_naive(true, size, s, rows, theta, m, v);
}

template <class T>
void rmsprop_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* v,
                  T* momentum, T* mean) {
  const T rate = static_cast<T>(s.rate), eps = static_cast<T>(s.eps);
  const T alpha = static_cast<T>(s.beta2), fresh = static_cast<T>(1 - s.beta2);
  const T mu = static_cast<T>(s.momentum);
  for_directions(size, s, rows, [&](index_t first, index_t count, T* d) {
    T* at = theta + first;
    T* square = v + first;
    add_decay(s.decay, count, at, d);
    for (index_t i = 0; i < count; ++i) square[i] = alpha * square[i] + fresh * d[i] * d[i];
    if (s.centered) {
      T* centre = mean + first;
      for (index_t i = 0; i < count; ++i) {
        centre[i] += fresh * (d[i] - centre[i]);
        // Rounding can take the variance of a constant direction below zero.
        const T variance = square[i] - centre[i] * centre[i];
        d[i] /= std::sqrt(variance > T(0) ? variance : T(0)) + eps;
      }
    } else {
      for (index_t i = 0; i < count; ++i) d[i] /= std::sqrt(square[i]) + eps;
    }
    if (s.momentum != 0) {
      T* b = momentum + first;
      for (index_t i = 0; i < count; ++i) d[i] = b[i] = mu * b[i] + d[i];
    }
    for (index_t i = 0; i < count; ++i) at[i] -= rate * d[i];
  });
}

template <class T>
void rmsprop_step_naive(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* v,
                        T* momentum, T* mean) {
  for (index_t i = 0; i < size; ++i) {
    const double d = direction_of(s, rows, i) + s.decay * theta[i];
    double variance = s.beta2 * v[i] + (1 - s.beta2) * d * d;
    v[i] = static_cast<T>(variance);
    if (s.centered) {
      const double centre = s.beta2 * mean[i] + (1 - s.beta2) * d;
      mean[i] = static_cast<T>(centre);
      variance = std::max(0.0, variance - centre * centre);
    }
    double u = d / (std::sqrt(variance) + s.eps);
    if (s.momentum != 0) {
      u += s.momentum * momentum[i];
      momentum[i] = static_cast<T>(u);
    }
    theta[i] = static_cast<T>(theta[i] - s.rate * u);
  }
}

template <class T>
void lerp(index_t n, double weight, const T* x, T* y) {
  const T w = static_cast<T>(weight);
  for_pieces(n, n, [&](index_t first, index_t count) {
    for (index_t i = first; i < first + count; ++i) y[i] += w * (x[i] - y[i]);
  });
}

template <class T>
void combine(index_t n, WeightedRows<T> rows, T* out) {
  for_pieces(n, n * (rows.count + 1),
             [&](index_t first, index_t count) { weighted_sum(rows, first, count, out + first); });
}

template <class T>
void combine_naive(index_t n, WeightedRows<T> rows, T* out) {
  for (index_t i = 0; i < n; ++i) out[i] = static_cast<T>(direction_of(StepScalars{}, rows, i));
}

CONCORD_KERNEL_AND_NAIVE(sgd_step)
CONCORD_KERNEL_AND_NAIVE(adam_step)
CONCORD_KERNEL_AND_NAIVE(adamw_step)
CONCORD_KERNEL_AND_NAIVE(rmsprop_step)
CONCORD_KERNEL(lerp)
CONCORD_KERNEL_AND_NAIVE(combine)

}  // namespace concord::kernels::cpu
