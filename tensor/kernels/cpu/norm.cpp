// Batch and layer normalisation.
//
// With m the number of values a statistic is taken over and xhat = (x - mean) inv_std,
//   y  = w xhat + b,   gb = sum gy,   gw = sum gy xhat,
//   gx = w inv_std (gy - gb / m - xhat gw / m)                    (batch norm, training)
//   gx = inv_std (w gy - mean(w gy) - xhat mean(w gy xhat))       (layer norm)
// Ioffe and Szegedy, "Batch Normalization", ICML 2015, section 3; Ba, Kiros and Hinton, "Layer
// Normalization", 2016, section 3. inv_std is folded into the factors, so that all R rows share
// x - mean, which is cheaper to form from x in cache than to store.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/simd.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace concord::kernels::cpu {
namespace {

template <class T>
T or_one(const T* weight, index_t i) {
  return weight ? weight[i] : T(1);
}
template <class T>
T or_zero(const T* bias, index_t i) {
  return bias ? bias[i] : T(0);
}

/// Writes or adds one element of row r; does nothing for an absent output.
template <class T>
void put(const Out<T>& out, std::int32_t r, index_t i, double value) {
  if (!out) return;
  T& slot = out[r][i];
  slot = out.accumulate ? slot + static_cast<T>(value) : static_cast<T>(value);
}

/// The channels [first, first + count) of x [n, c, inner]. Where inner = 1 a group of channels is
/// walked along the rows of the [n, c] table; otherwise a group is one channel.
constexpr index_t kGroup = 64;
using PerChannel = std::array<double, kGroup>;

struct ChannelGroup {
  const BatchNormGeometry& g;
  index_t first, count;

  /// For each channel first + j: the sum of term(j, x...) over its values, in double.
  template <class Term, class... X>
  PerChannel sum(Term term, const X*... x) const {
    PerChannel total{};
    for (index_t n = 0; n < g.n; ++n) {
      const index_t at = (n * g.c + first) * g.inner;
      if (g.inner == 1) {
        for (index_t j = 0; j < count; ++j) total[j] += term(j, static_cast<double>(x[at + j])...);
      } else {
        total[0] += sum_terms(
            g.inner, [&](auto... v) { return term(0, v...); }, (x + at)...);
      }
    }
    return total;
  }

  /// body(j, place) for every value of every channel first + j.
  template <class Body>
  void for_each(Body body) const {
    for (index_t n = 0; n < g.n; ++n) {
      const index_t at = (n * g.c + first) * g.inner;
      if (g.inner == 1) {
        for (index_t j = 0; j < count; ++j) body(j, at + j);
      } else {
        for (index_t i = 0; i < g.inner; ++i) body(0, at + i);
      }
    }
  }
};

/// f(group) for all channels. A group belongs to one thread, so threads never share a sum.
template <class F>
void for_groups(const BatchNormGeometry& g, std::int32_t rows, F f) {
  const index_t width = g.inner == 1 ? kGroup : 1;
  const index_t groups = pieces(g.c, width);
  parallel_for(rows * g.n * g.c * g.inner >= kParallelWork, groups, [&](index_t i) {
    f(ChannelGroup{g, i * width, std::min(width, g.c - i * width)});
  });
}

}  // namespace

template <class T>
void batch_norm_train(const BatchNormGeometry& g, const T* x, const T* weight, const T* bias,
                      double eps, double momentum, T* running_mean, T* running_var, T* y, T* mean,
                      T* inv_std) {
  const double m = static_cast<double>(g.n * g.inner);
  for_groups(g, 2, [&](const ChannelGroup& group) {
    PerChannel mu = group.sum([](index_t, auto v) { return v; }, x);
    for (double& value : mu) value /= m;
    const PerChannel squares =
        group.sum([&](index_t j, auto v) { return (v - mu[j]) * (v - mu[j]); }, x);
    std::array<T, kGroup> scale, centre, shift;
    for (index_t j = 0; j < group.count; ++j) {
      const index_t c = group.first + j;
      mean[c] = static_cast<T>(mu[j]);
      inv_std[c] = static_cast<T>(1 / std::sqrt(squares[j] / m + eps));
      const auto move = [&](T* running, double value) {
        if (running) running[c] = static_cast<T>((1 - momentum) * running[c] + momentum * value);
      };
      move(running_mean, mu[j]);
      move(running_var, squares[j] / std::max(m - 1, 1.0));
      scale[j] = inv_std[c] * or_one(weight, c);
      centre[j] = mean[c];
      shift[j] = or_zero(bias, c);
    }
    group.for_each([&](index_t j, index_t i) { y[i] = (x[i] - centre[j]) * scale[j] + shift[j]; });
  });
}

template <class T>
void batch_norm_train_naive(const BatchNormGeometry& g, const T* x, const T* weight, const T* bias,
                            double eps, double momentum, T* running_mean, T* running_var, T* y,
                            T* mean, T* inv_std) {
  const double m = static_cast<double>(g.n * g.inner);
  for (index_t c = 0; c < g.c; ++c) {
    const auto for_values = [&](auto body) {
      for (index_t n = 0; n < g.n; ++n)
        for (index_t i = 0; i < g.inner; ++i) body((n * g.c + c) * g.inner + i);
    };
    double mu = 0, variance = 0;
    for_values([&](index_t i) { mu += x[i] / m; });
    for_values([&](index_t i) { variance += (x[i] - mu) * (x[i] - mu) / m; });
    const double inverse = 1 / std::sqrt(variance + eps);
    for_values([&](index_t i) {
      y[i] = static_cast<T>((x[i] - mu) * inverse * or_one(weight, c) + or_zero(bias, c));
    });
    mean[c] = static_cast<T>(mu);
    inv_std[c] = static_cast<T>(inverse);
    const double unbiased = variance * m / std::max(m - 1, 1.0);
    if (running_mean) running_mean[c] += static_cast<T>(momentum * (mu - running_mean[c]));
    if (running_var) running_var[c] += static_cast<T>(momentum * (unbiased - running_var[c]));
  }
}

template <class T>
void batch_norm_eval(const BatchNormGeometry& g, const T* x, const T* weight, const T* bias,
                     const T* running_mean, const T* running_var, double eps, T* y) {
  for_groups(g, 1, [&](const ChannelGroup& group) {
    std::array<T, kGroup> scale, centre, shift;
    for (index_t j = 0; j < group.count; ++j) {
      const index_t c = group.first + j;
      scale[j] = static_cast<T>(or_one(weight, c) / std::sqrt(running_var[c] + eps));
      centre[j] = running_mean[c];
      shift[j] = or_zero(bias, c);
    }
    group.for_each([&](index_t j, index_t i) { y[i] = (x[i] - centre[j]) * scale[j] + shift[j]; });
  });
}

template <class T>
void batch_norm_eval_naive(const BatchNormGeometry& g, const T* x, const T* weight, const T* bias,
                           const T* running_mean, const T* running_var, double eps, T* y) {
  for (index_t i = 0; i < g.n * g.c * g.inner; ++i) {
    const index_t c = i / g.inner % g.c;
    y[i] = static_cast<T>((x[i] - running_mean[c]) / std::sqrt(running_var[c] + eps) *
                              or_one(weight, c) +
                          or_zero(bias, c));
  }
}

template <class T>
void batch_norm_train_backward(const BatchNormGeometry& g, const T* x, const T* mean,
                               const T* inv_std, const T* weight, In<T> gy, Out<T> gx, Out<T> gw,
                               Out<T> gb) {
  const double m = static_cast<double>(g.n * g.inner);
  for_groups(g, gy.count, [&](const ChannelGroup& group) {
    PerChannel mu{};
    for (index_t j = 0; j < group.count; ++j) mu[j] = mean[group.first + j];
    for (std::int32_t r = 0; r < gy.count; ++r) {
      const T* gy_r = gy[r];
      const PerChannel sum = group.sum([](index_t, auto v) { return v; }, gy_r);
      // sum gy (x - mean); times inv_std it is gw.
      const PerChannel moment =
          group.sum([&](index_t j, auto v, auto xv) { return v * (xv - mu[j]); }, gy_r, x);
      // gx = a gy + b (x - mean) + c
      std::array<T, kGroup> a, b, c, centre;
      for (index_t j = 0; j < group.count; ++j) {
        const index_t channel = group.first + j;
        const double s = inv_std[channel], scale = or_one(weight, channel) * s;
        put(gb, r, channel, sum[j]);
        put(gw, r, channel, moment[j] * s);
        a[j] = static_cast<T>(scale);
        b[j] = static_cast<T>(-scale * s * s * moment[j] / m);
        c[j] = static_cast<T>(-scale * sum[j] / m);
        centre[j] = mean[channel];
      }
      if (!gx) continue;
      T* gx_r = gx[r];
      const auto value = [&](index_t j, index_t i) {
        return gy_r[i] * a[j] + ((x[i] - centre[j]) * b[j] + c[j]);
      };
      if (gx.accumulate) {
        group.for_each([&](index_t j, index_t i) { gx_r[i] += value(j, i); });
      } else {
        group.for_each([&](index_t j, index_t i) { gx_r[i] = value(j, i); });
      }
    }
  });
}

template <class T>
void batch_norm_train_backward_naive(const BatchNormGeometry& g, const T* x, const T* mean,
                                     const T* inv_std, const T* weight, In<T> gy, Out<T> gx,
                                     Out<T> gw, Out<T> gb) {
  const double m = static_cast<double>(g.n * g.inner);
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t c = 0; c < g.c; ++c) {
      const auto for_values = [&](auto body) {
        for (index_t n = 0; n < g.n; ++n)
          for (index_t i = 0; i < g.inner; ++i) body((n * g.c + c) * g.inner + i);
      };
      const auto xhat = [&](index_t i) { return (double{x[i]} - mean[c]) * inv_std[c]; };
      double sum = 0, moment = 0;
      for_values([&](index_t i) { sum += gy[r][i]; });
      for_values([&](index_t i) { moment += gy[r][i] * xhat(i); });
      put(gb, r, c, sum);
      put(gw, r, c, moment);
      for_values([&](index_t i) {
        put(gx, r, i, or_one(weight, c) * inv_std[c] * (gy[r][i] - sum / m - xhat(i) * moment / m));
      });
    }
  }
}

template <class T>
void batch_norm_eval_grad_input(const BatchNormGeometry& g, const T* inv_std, const T* weight,
                                In<T> gy, Out<T> gx) {
  for_groups(g, gy.count, [&](const ChannelGroup& group) {
    std::array<T, kGroup> scale;
    for (index_t j = 0; j < group.count; ++j) {
      scale[j] = inv_std[group.first + j] * or_one(weight, group.first + j);
    }
    for (std::int32_t r = 0; r < gy.count; ++r) {
      const T* gy_r = gy[r];
      T* gx_r = gx[r];
      if (gx.accumulate) {
        group.for_each([&](index_t j, index_t i) { gx_r[i] += gy_r[i] * scale[j]; });
      } else {
        group.for_each([&](index_t j, index_t i) { gx_r[i] = gy_r[i] * scale[j]; });
      }
    }
  });
}

template <class T>
void batch_norm_eval_grad_input_naive(const BatchNormGeometry& g, const T* inv_std, const T* weight,
                                      In<T> gy, Out<T> gx) {
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t i = 0; i < g.n * g.c * g.inner; ++i) {
      const index_t c = i / g.inner % g.c;
      put(gx, r, i, double{gy[r][i]} * inv_std[c] * or_one(weight, c));
    }
  }
}

template <class T>
void batch_norm_eval_grad_affine(const BatchNormGeometry& g, In<T> x, const T* mean,
                                 const T* inv_std, In<T> gy, Out<T> gw, Out<T> gb) {
  for_groups(g, gy.count, [&](const ChannelGroup& group) {
    PerChannel mu{};
    for (index_t j = 0; j < group.count; ++j) mu[j] = mean[group.first + j];
    for (std::int32_t r = 0; r < gy.count; ++r) {
      const PerChannel sum = group.sum([](index_t, auto v) { return v; }, gy[r]);
      const PerChannel moment =
          group.sum([&](index_t j, auto v, auto xv) { return v * (xv - mu[j]); }, gy[r], x[r]);
      for (index_t j = 0; j < group.count; ++j) {
        const index_t c = group.first + j;
        put(gb, r, c, sum[j]);
        put(gw, r, c, moment[j] * inv_std[c]);
      }
    }
  });
}

template <class T>
void batch_norm_eval_grad_affine_naive(const BatchNormGeometry& g, In<T> x, const T* mean,
                                       const T* inv_std, In<T> gy, Out<T> gw, Out<T> gb) {
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t c = 0; c < g.c; ++c) {
      double sum = 0, moment = 0;
      for (index_t n = 0; n < g.n; ++n) {
        for (index_t i = 0; i < g.inner; ++i) {
          const index_t at = (n * g.c + c) * g.inner + i;
          sum += gy[r][at];
          moment += gy[r][at] * (double{x[r][at]} - mean[c]) * inv_std[c];
        }
      }
      put(gb, r, c, sum);
      put(gw, r, c, moment);
    }
  }
}

template <class T>
void layer_norm_forward(index_t outer, index_t length, const T* x, const T* weight, const T* bias,
                        double eps, T* y, T* mean, T* inv_std) {
  const double m = static_cast<double>(length);
  parallel_for(2 * outer * length >= kParallelWork, outer, [&](index_t o) {
    const T* from = x + o * length;
    T* to = y + o * length;
    const double mu = sum_of(length, from) / m;
    const double squares = sum_terms(
        length, [&](auto v) { return (v - mu) * (v - mu); }, from);
    const T centre = mean[o] = static_cast<T>(mu);
    const T s = inv_std[o] = static_cast<T>(1 / std::sqrt(squares / m + eps));
    for (index_t i = 0; i < length; ++i) to[i] = (from[i] - centre) * s;
    if (weight) {
      for (index_t i = 0; i < length; ++i) to[i] *= weight[i];
    }
    if (bias) {
      for (index_t i = 0; i < length; ++i) to[i] += bias[i];
    }
  });
}

template <class T>
void layer_norm_forward_naive(index_t outer, index_t length, const T* x, const T* weight,
                              const T* bias, double eps, T* y, T* mean, T* inv_std) {
  const double m = static_cast<double>(length);
  for (index_t o = 0; o < outer; ++o, x += length, y += length) {
    double mu = 0, variance = 0;
    for (index_t i = 0; i < length; ++i) mu += x[i] / m;
    for (index_t i = 0; i < length; ++i) variance += (x[i] - mu) * (x[i] - mu) / m;
    const double s = 1 / std::sqrt(variance + eps);
    mean[o] = static_cast<T>(mu);
    inv_std[o] = static_cast<T>(s);
    for (index_t i = 0; i < length; ++i) {
      y[i] = static_cast<T>((x[i] - mu) * s * or_one(weight, i) + or_zero(bias, i));
    }
  }
}

template <class T>
void layer_norm_grad_input(index_t outer, index_t length, const T* x, const T* mean,
                           const T* inv_std, const T* weight, In<T> gy, Out<T> gx) {
  const double m = static_cast<double>(length);
  parallel_for(gy.count * outer * length >= kParallelWork, outer, [&](index_t o) {
    const T* from = x + o * length;
    const double mu = mean[o], s = inv_std[o];
    for (std::int32_t r = 0; r < gy.count; ++r) {
      const T* gy_r = gy[r] + o * length;
      T* gx_r = gx[r] + o * length;
      const auto moment = [&](auto v, auto xv) { return v * (xv - mu); };
      const auto weighted_moment = [&](auto v, auto xv, auto w) { return w * v * (xv - mu); };
      const auto product = [](auto v, auto w) { return v * w; };
      const double sum = weight ? sum_terms(length, product, gy_r, weight) : sum_of(length, gy_r);
      const double cross = weight ? sum_terms(length, weighted_moment, gy_r, from, weight)
                                  : sum_terms(length, moment, gy_r, from);
      // gx = a w gy + b (x - mean) + c
      const T a = inv_std[o], b = static_cast<T>(-s * s * s * cross / m);
      const T c = static_cast<T>(-s * sum / m), centre = mean[o];
      std::array<T, kPiece> piece;
      for (index_t first = 0; first < length; first += kPiece) {
        const index_t count = std::min(kPiece, length - first);
        for (index_t i = 0; i < count; ++i) piece[i] = gy_r[first + i] * a;
        if (weight) {
          for (index_t i = 0; i < count; ++i) piece[i] *= weight[first + i];
        }
        for (index_t i = 0; i < count; ++i) piece[i] += (from[first + i] - centre) * b + c;
        if (gx.accumulate) {
          for (index_t i = 0; i < count; ++i) gx_r[first + i] += piece[i];
        } else {
          std::copy_n(piece.begin(), count, gx_r + first);
        }
      }
    }
  });
}

template <class T>
void layer_norm_grad_input_naive(index_t outer, index_t length, const T* x, const T* mean,
                                 const T* inv_std, const T* weight, In<T> gy, Out<T> gx) {
  const double m = static_cast<double>(length);
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t o = 0; o < outer; ++o) {
      const index_t at = o * length;
      const auto xhat = [&](index_t i) { return (double{x[at + i]} - mean[o]) * inv_std[o]; };
      const auto wgy = [&](index_t i) { return double{gy[r][at + i]} * or_one(weight, i); };
      double sum = 0, cross = 0;
      for (index_t i = 0; i < length; ++i) sum += wgy(i);
      for (index_t i = 0; i < length; ++i) cross += wgy(i) * xhat(i);
      for (index_t i = 0; i < length; ++i) {
        put(gx, r, at + i, inv_std[o] * (wgy(i) - sum / m - xhat(i) * cross / m));
      }
    }
  }
}

template <class T>
void layer_norm_grad_affine(index_t outer, index_t length, In<T> x, In<T> mean, In<T> inv_std,
                            In<T> gy, Out<T> gw, Out<T> gb) {
  // A thread owns some columns of one row and walks down the `outer` vectors.
  constexpr index_t kColumns = 256;
  const index_t blocks = pieces(length, kColumns);
  const bool pays = gy.count * outer * length >= kParallelWork;
  parallel_for(pays, gy.count * blocks, [&](index_t task) {
    const auto r = static_cast<std::int32_t>(task / blocks);
    const index_t block = task % blocks;
    const index_t first = block * kColumns, count = std::min(kColumns, length - first);
    std::array<double, kColumns> sum{}, moment{};
    for (index_t o = 0; o < outer; ++o) {
      const T* gy_o = gy[r] + o * length + first;
      const T* x_o = x[r] + o * length + first;
      const double mu = mean[r][o], s = inv_std[r][o];
      for (index_t i = 0; i < count; ++i) {
        sum[i] += gy_o[i];
        moment[i] += gy_o[i] * ((x_o[i] - mu) * s);
      }
    }
    for (index_t i = 0; i < count; ++i) {
      put(gw, r, first + i, moment[i]);
      put(gb, r, first + i, sum[i]);
    }
  });
}

template <class T>
void layer_norm_grad_affine_naive(index_t outer, index_t length, In<T> x, In<T> mean, In<T> inv_std,
                                  In<T> gy, Out<T> gw, Out<T> gb) {
  for (std::int32_t r = 0; r < gy.count; ++r) {
    for (index_t i = 0; i < length; ++i) {
      double sum = 0, moment = 0;
      for (index_t o = 0; o < outer; ++o) {
        const double v = gy[r][o * length + i];
        sum += v;
        moment += v * (x[r][o * length + i] - mean[r][o]) * inv_std[r][o];
      }
      put(gw, r, i, moment);
      put(gb, r, i, sum);
    }
  }
}

CONCORD_KERNEL_AND_NAIVE(batch_norm_train)
CONCORD_KERNEL_AND_NAIVE(batch_norm_eval)
CONCORD_KERNEL_AND_NAIVE(batch_norm_train_backward)
CONCORD_KERNEL_AND_NAIVE(batch_norm_eval_grad_input)
CONCORD_KERNEL_AND_NAIVE(batch_norm_eval_grad_affine)
CONCORD_KERNEL_AND_NAIVE(layer_norm_forward)
CONCORD_KERNEL_AND_NAIVE(layer_norm_grad_input)
CONCORD_KERNEL_AND_NAIVE(layer_norm_grad_affine)

}  // namespace concord::kernels::cpu
