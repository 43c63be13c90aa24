// Softmax, log-softmax and cross-entropy along one axis of [outer, length, inner]; the formulas
// stand in cpu/softmax.cpp. A team (team.h) has a vector; README.md tells how it came to that.
//
// Maximum and sum are taken in one pass (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018): whenever a larger element appears, the sum so far is scaled down. A second pass
// writes; it finds short vectors in the first-level cache.
#include <concord/tensor/kernels/cuda/naive.h>
#include <concord/tensor/kernels/cuda/table.h>
#include <concord/tensor/kernels/cuda/team.h>

#include <cstdint>

namespace concord::kernels::cuda {
namespace {

/// The maximum m of a vector and the sum of e^(x - m).
template <class T>
struct Normalizer {
  /// Finite, so that elements of -inf, which may come first, give e^-inf = 0 and not NaN.
  T top = std::numeric_limits<T>::lowest();
  T sum = 0;

  __device__ void add(T x) {
    if (x > top) {
      sum = sum * exp(top - x) + (T(1) + (x - x));  // e^0 = 1, but NaN where x is infinite
      top = x;
    } else {
      sum += exp(x - top);
    }
  }
};

/// The normalizer of a team's vector, on every lane. shared: kTeamBlock / kWarp elements.
template <class Own, class T>
__device__ Normalizer<T> normalizer(const T* x, index_t length, index_t inner, T* shared) {
  Normalizer<T> own;
  for (index_t l = Own::lane(); l < length; l += Own::kSize) own.add(x[l * inner]);
  const T top = Own::all(own.top, Max{}, shared);
  return {top, Own::all(own.sum * exp(own.top - top), Add{}, shared)};
}

template <class Own, bool kLog, class T>
__global__ void softmax_forward_kernel(index_t vectors, index_t length, index_t inner, const T* x,
                                       T* y) {
  CONCORD_SHARED(T, warps, [kTeamBlock / kWarp]);
  const index_t v = Own::number();
  if (v >= vectors) return;
  const index_t start = vector_start(v, length, inner);
  const Normalizer<T> n = normalizer<Own>(x + start, length, inner, warps);
  const T scale = kLog ? log(n.sum) : 1 / n.sum;
  for (index_t l = Own::lane(); l < length; l += Own::kSize) {
    const T shifted = x[start + l * inner] - n.top;
    y[start + l * inner] = kLog ? shifted - scale : exp(shifted) * scale;
  }
}

template <bool kLog, class T>
void forward(const char* name, const AxisGeometry& g, const T* x, T* y) {
  const index_t vectors = g.outer * g.inner;
  with_team(g, [&]<class Own>(Own) {
    launch(name, softmax_forward_kernel<Own, kLog, T>, Own::blocks(vectors), kTeamBlock, 0, vectors,
           g.length, g.inner, x, y);
  });
}

template <class T>
void softmax_forward(const AxisGeometry& g, const T* x, T* y) {
  forward<false>("softmax_forward", g, x, y);
}

template <class T>
void log_softmax_forward(const AxisGeometry& g, const T* x, T* y) {
  forward<true>("log_softmax_forward", g, x, y);
}

/// softmax: gx_j = y_j (gy_j - sum_k gy_k y_k); log-softmax: gx_j = gy_j - e^y_j sum_k gy_k.
template <class Own, bool kLog, class T>
__global__ void softmax_backward_kernel(index_t vectors, index_t length, index_t inner, const T* y,
                                        DeviceRows<const T> gy, DeviceRows<T> gx) {
  CONCORD_SHARED(double, warps, [kTeamBlock / kWarp]);
  const index_t v = Own::number();
  if (v >= vectors) return;
  const index_t start = vector_start(v, length, inner);
  const T* value = y + start;
  for (int r = blockIdx.y; r < gy.count; r += gridDim.y) {
    const T* from = gy[r] + start;
    T* to = gx[r] + start;
    double sum = 0;
    for (index_t l = Own::lane(); l < length; l += Own::kSize) {
      const double g = from[l * inner];
      sum += kLog ? g : g * value[l * inner];
    }
    const T total = static_cast<T>(Own::all(sum, Add{}, warps));
    for (index_t l = Own::lane(); l < length; l += Own::kSize) {
      const T g = from[l * inner], p = value[l * inner];
      store(to + l * inner, kLog ? g - exp(p) * total : p * (g - total), gx.accumulate);
    }
  }
}

template <bool kLog, class T>
void backward(const char* name, const AxisGeometry& g, const T* y, In<T> gy, Out<T> gx) {
  const index_t vectors = g.outer * g.inner;
  with_team(g, [&]<class Own>(Own) {
    const unsigned blocks = Own::blocks(vectors);
    for_each_piece(gy.count, [&](std::int32_t first, std::int32_t count) {
      launch(name, softmax_backward_kernel<Own, kLog, T>, dim3(blocks, row_groups(blocks, count)),
             kTeamBlock, 0, vectors, g.length, g.inner, y, device_rows(gy, first, count),
             device_rows(gx, first, count));
    });
  });
}

template <class T>
void softmax_backward(const AxisGeometry& g, const T* y, In<T> gy, Out<T> gx) {
  backward<false>("softmax_backward", g, y, gy, gx);
}

template <class T>
void log_softmax_backward(const AxisGeometry& g, const T* y, In<T> gy, Out<T> gx) {
  backward<true>("log_softmax_backward", g, y, gy, gx);
}

// --- Cross-entropy: log-softmax, and the loss while its values are at hand.

template <class Own, class T>
__global__ void cross_entropy_forward_kernel(index_t vectors, index_t length, index_t inner,
                                             const T* logits, const std::int64_t* target,
                                             std::int64_t ignore_index, double smoothing, T* loss,
                                             T* log_p) {
  CONCORD_SHARED(T, warps, [kTeamBlock / kWarp]);
  const index_t v = Own::number();
  if (v >= vectors) return;
  const index_t start = vector_start(v, length, inner);
  const T* x = logits + start;
  const Normalizer<T> n = normalizer<Own>(x, length, inner, warps);
  const T log_sum = log(n.sum);
  T total = 0;
  for (index_t l = Own::lane(); l < length; l += Own::kSize) {
    const T value = (x[l * inner] - n.top) - log_sum;
    log_p[start + l * inner] = value;
    total += value;
  }
  if (smoothing != 0) total = Own::all(total, Add{}, warps);
  if (Own::lane() != 0) return;
  const std::int64_t t = target[v];
  if (t == ignore_index) {
    loss[v] = T(0);
    return;
  }
  if (t < 0 || t >= length) {  // the host does not look at targets on a device
    loss[v] = std::numeric_limits<T>::quiet_NaN();
    return;
  }
  double value = -(1 - smoothing) * ((x[t * inner] - n.top) - log_sum);
  if (smoothing != 0) value -= smoothing / static_cast<double>(length) * total;
  loss[v] = static_cast<T>(value);
}

template <class T>
void cross_entropy_forward(const AxisGeometry& g, const T* logits, const std::int64_t* target,
                           std::int64_t ignore_index, double smoothing, T* loss, T* log_p) {
  const index_t vectors = g.outer * g.inner;
  with_team(g, [&]<class Own>(Own) {
    launch("cross_entropy_forward", cross_entropy_forward_kernel<Own, T>, Own::blocks(vectors),
           kTeamBlock, 0, vectors, g.length, g.inner, logits, target, ignore_index, smoothing, loss,
           log_p);
  });
}

/// A thread for each logit; d loss / d logit is formed once for all rows.
template <class T>
__global__ void cross_entropy_backward_kernel(index_t n, index_t length, index_t inner,
                                              const T* log_p, const std::int64_t* target,
                                              std::int64_t ignore_index, T hit, T everywhere,
                                              DeviceRows<const T> gy, DeviceRows<T> gx) {
  const index_t i = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  const index_t line = i / inner, o = line / length, v = o * inner + (i - line * inner);
  const std::int64_t t = target[v];
  const bool ignored = t == ignore_index;  // no gradient even from an infinite cotangent
  const T slope = exp(log_p[i]) - everywhere - (line - o * length == t ? hit : T(0));
  for (int r = blockIdx.y; r < gy.count; r += gridDim.y)
    store(gx[r] + i, ignored ? T(0) : gy[r][v] * slope, gx.accumulate);
}

template <class T>
void cross_entropy_backward(const AxisGeometry& g, const T* log_p, const std::int64_t* target,
                            std::int64_t ignore_index, double smoothing, In<T> gy, Out<T> gx) {
  const index_t n = g.outer * g.length * g.inner;
  const unsigned blocks = blocks_for(n, kTeamBlock);
  for_each_piece(gy.count, [&](std::int32_t first, std::int32_t count) {
    launch("cross_entropy_backward", cross_entropy_backward_kernel<T>,
           dim3(blocks, row_groups(blocks, count)), kTeamBlock, 0, n, g.length, g.inner, log_p,
           target, ignore_index, static_cast<T>(1 - smoothing),
           static_cast<T>(smoothing / static_cast<double>(g.length)), device_rows(gy, first, count),
           device_rows(gx, first, count));
  });
}

template <class T>
__global__ void softmax_forward_naive_kernel(index_t vectors, index_t length, index_t inner,
                                             const T* x, T* y) {
  const index_t v = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
  if (v >= vectors) return;
  const index_t start = vector_start(v, length, inner);
  const T* from = x + start;
  T* to = y + start;
  T top = from[0];
  for (index_t l = 1; l < length; ++l) top = from[l * inner] > top ? from[l * inner] : top;
  double sum = 0;
  for (index_t l = 0; l < length; ++l) sum += exp(from[l * inner] - top);
  for (index_t l = 0; l < length; ++l)
    to[l * inner] = static_cast<T>(exp(from[l * inner] - top) / sum);
}

}  // namespace

template <class T>
void softmax_forward_naive(const AxisGeometry& g, const T* x, T* y) {
  const index_t vectors = g.outer * g.inner;
  launch("softmax_forward_naive", softmax_forward_naive_kernel<T>, blocks_for(vectors, kTeamBlock),
         kTeamBlock, 0, vectors, g.length, g.inner, x, y);
}
template void softmax_forward_naive<float>(const AxisGeometry&, const float*, float*);
template void softmax_forward_naive<double>(const AxisGeometry&, const double*, double*);

template <class T>
void set_softmax(Kernels<T>& k) {
  k.softmax_forward = softmax_forward<T>;
  k.softmax_backward = softmax_backward<T>;
  k.log_softmax_forward = log_softmax_forward<T>;
  k.log_softmax_backward = log_softmax_backward<T>;
  k.cross_entropy_forward = cross_entropy_forward<T>;
  k.cross_entropy_backward = cross_entropy_backward<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(softmax)
