// Batch and layer normalisation; the formulas stand in kernels/cpu/norm.cpp.
//
// Batch norm is bound by memory: what counts is how often x and the cotangents cross the bus. A
// block takes a slice of one channel's values (of 32 channels where x is a table [n, c]) and holds
// it in registers, kHeld values a thread. So statistics take one pass over x, although each slice
// is summed twice, first to its mean, then to its squared deviations from that; and backward takes
// x once for the sums of all R rows, and once more for the R gradients. Slices are merged by a
// second kernel in a fixed order, means and squared deviations as in Chan, Golub and LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances", 1979. Where a
// channel is one slice (4096 values), one kernel does everything: it reads x, and each row, once.
//
// All sums are formed in double, by trees that depend on the geometry alone.
#include <concord/tensor/kernels/cuda/block_sum.h>
#include <concord/tensor/kernels/cuda/launch.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <cmath>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;
/// Values of one slice that a thread holds in registers.
constexpr int kHeld = 16;

template <class T>
__device__ T or_one(const T* weight, index_t i) {
  return weight ? weight[i] : T(1);
}
template <class T>
__device__ T or_zero(const T* bias, index_t i) {
  return bias ? bias[i] : T(0);
}

/// Writes or adds one element of row r; does nothing for an absent output.
template <class T>
__device__ void put(const DeviceRows<T>& out, int r, index_t i, double value) {
  if (out) store(out[r] + i, static_cast<T>(value), out.accumulate);
}

/// How a block reads x [n, c, inner]: kTable for inner = 1, where neighbouring threads take
/// neighbouring channels, else neighbouring values of one channel.
template <bool kTable>
struct Slices {
  static constexpr int kChannels = kTable ? kWarp : 1;  ///< of a block
  static constexpr int kLanes = kThreads / kChannels;   ///< threads of one channel
  static constexpr int kValues = kLanes * kHeld;        ///< of a channel in a slice
  index_t n, c, inner, values, count;                   ///< values, slices of a channel

  explicit Slices(const BatchNormGeometry& g)
      : n(g.n),
        c(g.c),
        inner(g.inner),
        values(g.n * g.inner),
        count((values + kValues - 1) / kValues) {}
  unsigned blocks() const { return static_cast<unsigned>((c + kChannels - 1) / kChannels * count); }
  /// Values in slice number s.
  __device__ double size(index_t s) const {
    const index_t rest = values - s * kValues;
    return static_cast<double>(rest < kValues ? rest : kValues);
  }
};

/// This thread's part of its block's slice.
template <bool kTable>
struct Part {
  using S = Slices<kTable>;
  const S& g;
  index_t slice, channel;
  int lane;

  __device__ explicit Part(const S& slices) : g(slices) {
    slice = blockIdx.x % g.count;
    channel = blockIdx.x / g.count * S::kChannels + (kTable ? threadIdx.x % S::kChannels : 0);
    lane = kTable ? threadIdx.x / S::kChannels : threadIdx.x;
  }
  __device__ bool inside() const { return channel < g.c; }
  /// Where the channel's results for this slice go among [rows, c, slices].
  __device__ index_t result(int row) const { return (row * g.c + channel) * g.count + slice; }
  /// One thread for each channel.
  __device__ bool speaks() const { return lane == 0 && inside(); }

  /// f(k, place) for the k-th value that the thread holds, at x[place]; unrolled, so that arrays
  /// indexed with k stay in registers. Only the first place needs divisions.
  template <class F>
  __device__ void for_each(F&& f) const {
    const index_t first = slice * S::kValues + lane;
    const auto inner = static_cast<unsigned>(g.inner);
    const index_t sample = kTable ? first : first / inner;
    auto i = kTable ? 0u : static_cast<unsigned>(first - sample * inner);
    index_t place = (sample * g.c + channel) * g.inner + i;
    // The next value is kLanes further: some samples and a rest.
    const unsigned rest = kTable ? 0 : S::kLanes % inner;
    const index_t step = kTable ? S::kLanes * g.c : S::kLanes / inner * g.c * g.inner + rest;
    const index_t wrap = (g.c - 1) * g.inner;
    const int count =
        inside()
            ? static_cast<int>(min(index_t{kHeld}, (g.values - first + S::kLanes - 1) / S::kLanes))
            : 0;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (k < count) f(k, place);
      place += step;
      i += rest;
      if (!kTable && i >= inner) {
        i -= inner;
        place += wrap;
      }
    }
  }

  // All loads first, all stores last: the compiler may not move a load before a store to memory
  // that could be the same.
  template <class T>
  __device__ void read(const T* x, T (&held)[kHeld]) const {
    for_each([&](int k, index_t at) { held[k] = x[at]; });
  }
  template <class T>
  __device__ void write(T (&held)[kHeld], bool accumulate, T* y) const {
    if (accumulate) for_each([&](int k, index_t at) { held[k] += y[at]; });
    for_each([&](int k, index_t at) { y[at] = held[k]; });
  }

  /// The sums of kCount values over the channel's lanes, in all of them.
  template <int kCount>
  __device__ void sum(double (&value)[kCount]) const {
    if constexpr (kTable) {
      CONCORD_SHARED(double, partial, [S::kLanes][S::kChannels * kCount]);
      const int own = threadIdx.x % S::kChannels;
      for (int i = 0; i < kCount; ++i) partial[lane][own * kCount + i] = value[i];
      __syncthreads();
      for (int i = 0; i < kCount; ++i) {
        value[i] = 0;
        for (int l = 0; l < S::kLanes; ++l) value[i] += partial[l][own * kCount + i];
      }
      __syncthreads();  // before the next call writes
    } else {
      block_sum<kThreads>(value);
    }
  }
};

/// f(std::bool_constant<kTable>) for a geometry.
template <class F>
void with_layout(const BatchNormGeometry& g, F&& f) {
  if (g.inner == 1)
    f(std::true_type());
  else
    f(std::false_type());
}

/// What a slice or a channel knows of its values.
struct Moments {
  double mean, squares;  ///< squares: sum of squared deviations from the mean
};
/// sum gy and sum gy (x - mean), of a slice or a channel.
struct Sums {
  double sum, moment;
};

/// The sums of one row over this block's slice, in all threads of a channel.
template <class T, bool kTable>
__device__ Sums sums_of(const Part<kTable>& part, const T (&seed)[kHeld],
                        const T (&centred)[kHeld]) {
  double total[2] = {};
  part.for_each([&](int k, index_t) {
    total[0] += static_cast<double>(seed[k]);
    total[1] += static_cast<double>(seed[k]) * static_cast<double>(centred[k]);
  });
  part.sum(total);
  return {total[0], total[1]};
}

/// What normalises channel c: y = (x - centre) scale + shift.
template <class T>
struct Scale {
  T centre, scale, shift;
};
template <class T>
struct BatchScale {
  const T *mean, *inv_std, *weight, *bias;
  __device__ Scale<T> operator()(index_t c) const {
    return {mean[c], inv_std[c] * or_one(weight, c), or_zero(bias, c)};
  }
};
template <class T>
struct RunningScale {
  const T *mean, *var, *weight, *bias;
  double eps;
  __device__ Scale<T> operator()(index_t c) const {
    return {mean[c], static_cast<T>(or_one(weight, c) / std::sqrt(var[c] + eps)), or_zero(bias, c)};
  }
};

template <class T, bool kTable>
__device__ void normalise(const Part<kTable>& part, const Scale<T>& s, T (&held)[kHeld], T* y) {
  part.for_each([&](int k, index_t) { held[k] = (held[k] - s.centre) * s.scale + s.shift; });
  part.write(held, false, y);
}

/// Where a channel's statistics go.
template <class T>
struct Statistics {
  double eps, momentum;
  T *running_mean, *running_var, *mean, *inv_std;

  __device__ void set(index_t c, double m, const Moments& of) const {
    mean[c] = static_cast<T>(of.mean);
    inv_std[c] = inverse(of, m);
    move(running_mean, c, of.mean);
    move(running_var, c, of.squares / (m > 1 ? m - 1 : 1));
  }
  __device__ T inverse(const Moments& of, double m) const {
    return static_cast<T>(1 / std::sqrt(of.squares / m + eps));
  }

 private:
  __device__ void move(T* running, index_t c, double value) const {
    if (running) running[c] = static_cast<T>((1 - momentum) * running[c] + momentum * value);
  }
};

/// The moments of each slice. A channel that is one slice is done with here: 1 read, 1 write.
template <class T, bool kTable>
__global__ void batch_norm_train_kernel(Slices<kTable> g, const T* __restrict__ x, const T* weight,
                                        const T* bias, Statistics<T> statistics, T* __restrict__ y,
                                        Moments* moments) {
  const Part<kTable> part(g);
  T held[kHeld];
  part.read(x, held);
  double total[1] = {}, squares[1] = {};
  part.for_each([&](int k, index_t) { total[0] += static_cast<double>(held[k]); });
  part.sum(total);
  const double m = g.size(part.slice), mean = total[0] / m;
  part.for_each([&](int k, index_t) {
    const double d = static_cast<double>(held[k]) - mean;
    squares[0] += d * d;
  });
  part.sum(squares);
  const Moments of{mean, squares[0]};
  if (g.count > 1) {
    if (part.speaks()) moments[part.result(0)] = of;
    return;
  }
  if (part.speaks()) statistics.set(part.channel, m, of);
  if (!part.inside()) return;
  const T scale = statistics.inverse(of, m) * or_one(weight, part.channel);
  normalise(part, {static_cast<T>(mean), scale, or_zero(bias, part.channel)}, held, y);
}

/// Merges the slices of each channel, a warp a channel.
template <class T, bool kTable>
__global__ void merge_moments_kernel(Slices<kTable> g, const Moments* __restrict__ moments,
                                     Statistics<T> statistics) {
  const index_t c = index_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (c >= g.c) return;  // the whole warp
  moments += c * g.count;
  double total = 0;
  for (index_t s = lane; s < g.count; s += kWarp) total += g.size(s) * moments[s].mean;
  const double m = static_cast<double>(g.values);
  const double mean = __shfl_sync(0xffffffffu, warp_sum(total), 0) / m;
  double squares = 0;
  for (index_t s = lane; s < g.count; s += kWarp) {
    const double d = moments[s].mean - mean;
    squares += moments[s].squares + g.size(s) * d * d;
  }
  squares = warp_sum(squares);
  if (lane == 0) statistics.set(c, m, {mean, squares});
}

template <class T, bool kTable, class ScaleOf>
__global__ void normalise_kernel(Slices<kTable> g, ScaleOf scale_of, const T* __restrict__ x,
                                 T* __restrict__ y) {
  const Part<kTable> part(g);
  if (!part.inside()) return;
  T held[kHeld];
  part.read(x, held);
  normalise(part, scale_of(part.channel), held, y);
}

/// What centres x in the sums of a gradient, for row r, at value v of channel c. Batch norm: x less
/// the channel's mean; inv_std comes in at the end.
template <class T>
struct LessMean {
  const T *mean, *inv_std;
  __device__ T operator()(int, T x, index_t c, index_t) const { return x - mean[c]; }
  __device__ double factor(index_t c) const { return inv_std[c]; }
  __device__ bool shared() const { return true; }
};
/// Layer norm, whose channels are the places in a vector and whose values are the vectors.
template <class T>
struct Standardised {
  DeviceRows<const T> mean, inv_std;
  __device__ T operator()(int r, T x, index_t, index_t v) const {
    return (x - mean[r][v]) * inv_std[r][v];
  }
  __device__ double factor(index_t) const { return 1; }
  __device__ bool shared() const { return mean.stride == 0 && inv_std.stride == 0; }
};

/// The sums of each row over each slice. x is read, and centred, once where the rows share it.
template <class T, bool kTable, class Centre>
__global__ void row_sums_kernel(Slices<kTable> g, Centre centre, DeviceRows<const T> x,
                                DeviceRows<const T> gy, Sums* sums) {
  const Part<kTable> part(g);
  const index_t first = part.slice * Slices<kTable>::kValues + part.lane;
  T centred[kHeld];
  for (int r = 0; r < gy.count; ++r) {
    if (r == 0 || x.stride != 0 || !centre.shared()) {
      const T* x_r = x[r];
      part.for_each([&](int k, index_t at) {
        centred[k] = centre(r, x_r[at], part.channel, first + k * Slices<kTable>::kLanes);
      });
    }
    T seed[kHeld];
    part.read(gy[r], seed);
    const Sums total = sums_of(part, seed, centred);
    if (part.speaks()) sums[part.result(r)] = total;
  }
}

/// Merges the slices of each row and channel, a warp each: the gradients of weight and bias, and
/// the channel's sums if `totals` is not null.
template <class T, bool kTable, class Centre>
__global__ void merge_sums_kernel(Slices<kTable> g, Centre centre, const Sums* __restrict__ sums,
                                  Sums* totals, DeviceRows<T> gw, DeviceRows<T> gb) {
  const index_t c = index_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp, r = blockIdx.y;
  if (c >= g.c) return;  // the whole warp
  sums += (r * g.c + c) * g.count;
  Sums total{};
  for (index_t s = lane; s < g.count; s += kWarp) {
    total.sum += sums[s].sum;
    total.moment += sums[s].moment;
  }
  total = {warp_sum(total.sum), warp_sum(total.moment)};
  if (lane != 0) return;
  put(gb, r, c, total.sum);
  put(gw, r, c, total.moment * centre.factor(c));
  if (totals) totals[r * g.c + c] = total;
}

/// The sums of all rows of a piece: to `totals` [rows, c] if not null, and as gradients to gw and
/// gb.
template <class T, bool kTable, class Centre>
void sums_of_rows(const char* name, const Slices<kTable>& g, const Centre& centre,
                  const DeviceRows<const T>& x, const DeviceRows<const T>& gy, Sums* totals,
                  const DeviceRows<T>& gw, const DeviceRows<T>& gb) {
  const Scratch sums(static_cast<std::size_t>(gy.count * g.c * g.count) * sizeof(Sums));
  launch(name, row_sums_kernel<T, kTable, Centre>, g.blocks(), kThreads, 0, g, centre, x, gy,
         sums.as<Sums>());
  launch(name, merge_sums_kernel<T, kTable, Centre>,
         dim3(blocks_for(g.c, kThreads / kWarp), gy.count), kThreads, 0, g, centre, sums.as<Sums>(),
         totals, gw, gb);
}

/// The gradients of all rows, x being read and centred once. A channel that is one slice needs
/// nothing but this kernel (`totals` null): it forms the sums itself and keeps each row in
/// registers from one pass to the next.
template <class T, bool kTable>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 4 ? 2 : 1)
    batch_norm_backward_kernel(Slices<kTable> g, LessMean<T> centre, const T* __restrict__ x,
                               const T* weight, const Sums* __restrict__ totals,
                               DeviceRows<const T> gy, DeviceRows<T> gx, DeviceRows<T> gw,
                               DeviceRows<T> gb) {
  const Part<kTable> part(g);
  const index_t channel = part.inside() ? part.channel : 0;
  T centred[kHeld];
  part.read(x, centred);
  part.for_each([&](int k, index_t) { centred[k] = centre(0, centred[k], channel, 0); });
  const double m = static_cast<double>(g.values);
  const double s = centre.factor(channel), scale = or_one(weight, channel) * s;
  for (int r = 0; r < gy.count; ++r) {
    T seed[kHeld];
    part.read(gy[r], seed);
    const Sums total = totals ? totals[r * g.c + channel] : sums_of(part, seed, centred);
    if (!totals && part.speaks()) {
      put(gb, r, channel, total.sum);
      put(gw, r, channel, total.moment * s);
    }
    if (!gx) continue;
    // gx = a gy + b (x - mean) + c
    const T a = static_cast<T>(scale);
    const T b = static_cast<T>(-scale * s * s * total.moment / m);
    const T c = static_cast<T>(-scale * total.sum / m);
    part.for_each([&](int k, index_t) { seed[k] = seed[k] * a + (centred[k] * b + c); });
    part.write(seed, gx.accumulate, gx[r]);
  }
}

template <class T, bool kTable>
__global__ void scale_rows_kernel(Slices<kTable> g, const T* inv_std, const T* weight,
                                  DeviceRows<const T> gy, DeviceRows<T> gx) {
  const Part<kTable> part(g);
  if (!part.inside()) return;
  const T scale = inv_std[part.channel] * or_one(weight, part.channel);
  T seed[kHeld];
  part.read(gy[blockIdx.y], seed);
  part.for_each([&](int k, index_t) { seed[k] *= scale; });
  part.write(seed, gx.accumulate, gx[blockIdx.y]);
}

template <class T>
void batch_norm_train(const BatchNormGeometry& geometry, const T* x, const T* weight, const T* bias,
                      double eps, double momentum, T* running_mean, T* running_var, T* y, T* mean,
                      T* inv_std) {
  with_layout(geometry, [&]<bool kTable>(std::bool_constant<kTable>) {
    const Slices<kTable> g(geometry);
    const Scratch moments(static_cast<std::size_t>(g.c * g.count) * sizeof(Moments));
    const Statistics<T> statistics{eps, momentum, running_mean, running_var, mean, inv_std};
    launch("batch_norm_train", batch_norm_train_kernel<T, kTable>, g.blocks(), kThreads, 0, g, x,
           weight, bias, statistics, y, moments.as<Moments>());
    if (g.count == 1) return;
    launch("batch_norm_train, statistics", merge_moments_kernel<T, kTable>,
           blocks_for(g.c, kThreads / kWarp), kThreads, 0, g, moments.as<Moments>(), statistics);
    launch("batch_norm_train, output", normalise_kernel<T, kTable, BatchScale<T>>, g.blocks(),
           kThreads, 0, g, BatchScale<T>{mean, inv_std, weight, bias}, x, y);
  });
}

template <class T>
void batch_norm_eval(const BatchNormGeometry& geometry, const T* x, const T* weight, const T* bias,
                     const T* running_mean, const T* running_var, double eps, T* y) {
  with_layout(geometry, [&]<bool kTable>(std::bool_constant<kTable>) {
    const Slices<kTable> g(geometry);
    launch("batch_norm_eval", normalise_kernel<T, kTable, RunningScale<T>>, g.blocks(), kThreads, 0,
           g, RunningScale<T>{running_mean, running_var, weight, bias, eps}, x, y);
  });
}

template <class T>
void batch_norm_train_backward(const BatchNormGeometry& geometry, const T* x, const T* mean,
                               const T* inv_std, const T* weight, In<T> gy, Out<T> gx, Out<T> gw,
                               Out<T> gb) {
  with_layout(geometry, [&]<bool kTable>(std::bool_constant<kTable>) {
    const Slices<kTable> g(geometry);
    const LessMean<T> centre{mean, inv_std};
    for_each_piece(gy.count, [&](std::int32_t first, std::int32_t rows) {
      const auto seeds = device_rows(gy, first, rows);
      const auto to_x = device_rows(gx, first, rows);
      const auto to_w = device_rows(gw, first, rows), to_b = device_rows(gb, first, rows);
      const Scratch memory(static_cast<std::size_t>(rows * g.c) * sizeof(Sums));
      Sums* const totals = g.count == 1 ? nullptr : memory.as<Sums>();
      if (totals) {
        const In<T> shared{x, 0, nullptr, rows};
        sums_of_rows("batch_norm_train_backward, sums", g, centre, device_rows(shared, 0, rows),
                     seeds, totals, to_w, to_b);
        if (!gx) return;
      }
      launch("batch_norm_train_backward", batch_norm_backward_kernel<T, kTable>, g.blocks(),
             kThreads, 0, g, centre, x, weight, totals, seeds, to_x, to_w, to_b);
    });
  });
}

template <class T>
void batch_norm_eval_grad_input(const BatchNormGeometry& geometry, const T* inv_std,
                                const T* weight, In<T> gy, Out<T> gx) {
  with_layout(geometry, [&]<bool kTable>(std::bool_constant<kTable>) {
    const Slices<kTable> g(geometry);
    for_each_piece(gy.count, [&](std::int32_t first, std::int32_t rows) {
      launch("batch_norm_eval_grad_input", scale_rows_kernel<T, kTable>, dim3(g.blocks(), rows),
             kThreads, 0, g, inv_std, weight, device_rows(gy, first, rows),
             device_rows(gx, first, rows));
    });
  });
}

template <class T>
void batch_norm_eval_grad_affine(const BatchNormGeometry& geometry, In<T> x, const T* mean,
                                 const T* inv_std, In<T> gy, Out<T> gw, Out<T> gb) {
  with_layout(geometry, [&]<bool kTable>(std::bool_constant<kTable>) {
    const Slices<kTable> g(geometry);
    for_each_piece(gy.count, [&](std::int32_t first, std::int32_t rows) {
      sums_of_rows("batch_norm_eval_grad_affine", g, LessMean<T>{mean, inv_std},
                   device_rows(x, first, rows), device_rows(gy, first, rows), nullptr,
                   device_rows(gw, first, rows), device_rows(gb, first, rows));
    });
  });
}

/// Layer norm: kLanes threads, a warp or the block, take one vector and walk it three times; it is
/// short enough to come from the caches after the first.
template <int kLanes>
struct VectorOf {
  static constexpr int kVectors = kThreads / kLanes;  ///< of a block
  index_t number;
  int lane;
  __device__ VectorOf()
      : number(index_t{blockIdx.x} * kVectors + threadIdx.x / kLanes), lane(threadIdx.x % kLanes) {}

  /// sum of term(i) for i < length, in all threads of the vector.
  template <class Term>
  __device__ double sum(index_t length, Term term) const {
    double total[1] = {};
    for (index_t i = lane; i < length; i += kLanes) total[0] += term(i);
    if constexpr (kLanes == kWarp)
      return __shfl_sync(0xffffffffu, warp_sum(total[0]), 0);
    else
      block_sum<kThreads>(total);
    return total[0];
  }
};

/// f(std::integral_constant<int, kLanes>) for vectors of `length`.
template <class F>
void with_lanes(index_t length, F&& f) {
  if (length <= 1024)
    f(std::integral_constant<int, kWarp>());
  else
    f(std::integral_constant<int, kThreads>());
}

template <class T, int kLanes>
__global__ void layer_norm_kernel(index_t outer, index_t length, const T* __restrict__ x,
                                  const T* weight, const T* bias, double eps, T* __restrict__ y,
                                  T* mean, T* inv_std) {
  const VectorOf<kLanes> vector;
  const index_t o = vector.number;
  if (o >= outer) return;  // all threads of the vector
  x += o * length;
  y += o * length;
  const double m = static_cast<double>(length);
  const double mu = vector.sum(length, [&](index_t i) { return static_cast<double>(x[i]); }) / m;
  const double squares = vector.sum(length, [&](index_t i) {
    const double d = static_cast<double>(x[i]) - mu;
    return d * d;
  });
  const T centre = static_cast<T>(mu), s = static_cast<T>(1 / std::sqrt(squares / m + eps));
  if (vector.lane == 0) {
    mean[o] = centre;
    inv_std[o] = s;
  }
  for (index_t i = vector.lane; i < length; i += kLanes)
    y[i] = (x[i] - centre) * s * or_one(weight, i) + or_zero(bias, i);
}

template <class T, int kLanes>
__global__ void layer_norm_grad_input_kernel(index_t outer, index_t length, const T* __restrict__ x,
                                             const T* mean, const T* inv_std, const T* weight,
                                             DeviceRows<const T> gy, DeviceRows<T> gx) {
  const VectorOf<kLanes> vector;
  const index_t o = vector.number;
  if (o >= outer) return;  // all threads of the vector
  x += o * length;
  const T* from = gy[blockIdx.y] + o * length;
  T* to = gx[blockIdx.y] + o * length;
  const double m = static_cast<double>(length), mu = mean[o], s = inv_std[o];
  const auto seed = [&](index_t i) { return static_cast<double>(from[i]) * or_one(weight, i); };
  const double sum = vector.sum(length, seed);
  const double cross =
      vector.sum(length, [&](index_t i) { return seed(i) * (static_cast<double>(x[i]) - mu); });
  // gx = a w gy + b (x - mean) + c
  const T a = inv_std[o], b = static_cast<T>(-s * s * s * cross / m);
  const T c = static_cast<T>(-s * sum / m), centre = mean[o];
  for (index_t i = vector.lane; i < length; i += kLanes)
    store(to + i, from[i] * a * or_one(weight, i) + ((x[i] - centre) * b + c), gx.accumulate);
}

template <class T>
void layer_norm_forward(index_t outer, index_t length, const T* x, const T* weight, const T* bias,
                        double eps, T* y, T* mean, T* inv_std) {
  with_lanes(length, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
    launch("layer_norm_forward", layer_norm_kernel<T, kLanes>, blocks_for(outer, kThreads / kLanes),
           kThreads, 0, outer, length, x, weight, bias, eps, y, mean, inv_std);
  });
}

template <class T>
void layer_norm_grad_input(index_t outer, index_t length, const T* x, const T* mean,
                           const T* inv_std, const T* weight, In<T> gy, Out<T> gx) {
  with_lanes(length, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
    for_each_piece(gy.count, [&](std::int32_t first, std::int32_t rows) {
      launch("layer_norm_grad_input", layer_norm_grad_input_kernel<T, kLanes>,
             dim3(blocks_for(outer, kThreads / kLanes), rows), kThreads, 0, outer, length, x, mean,
             inv_std, weight, device_rows(gy, first, rows), device_rows(gx, first, rows));
    });
  });
}

// The sums of a batch norm over a table whose channels are the places in a vector.
template <class T>
void layer_norm_grad_affine(index_t outer, index_t length, In<T> x, In<T> mean, In<T> inv_std,
                            In<T> gy, Out<T> gw, Out<T> gb) {
  const Slices<true> g(BatchNormGeometry{outer, length, 1});
  for_each_piece(gy.count, [&](std::int32_t first, std::int32_t rows) {
    const Standardised<T> centre{device_rows(mean, first, rows), device_rows(inv_std, first, rows)};
    sums_of_rows("layer_norm_grad_affine", g, centre, device_rows(x, first, rows),
                 device_rows(gy, first, rows), nullptr, device_rows(gw, first, rows),
                 device_rows(gb, first, rows));
  });
}

}  // namespace

template <class T>
void set_norm(Kernels<T>& k) {
  k.batch_norm_train = batch_norm_train<T>;
  k.batch_norm_eval = batch_norm_eval<T>;
  k.batch_norm_train_backward = batch_norm_train_backward<T>;
  k.batch_norm_eval_grad_input = batch_norm_eval_grad_input<T>;
  k.batch_norm_eval_grad_affine = batch_norm_eval_grad_affine<T>;
  k.layer_norm_forward = layer_norm_forward<T>;
  k.layer_norm_grad_input = layer_norm_grad_input<T>;
  k.layer_norm_grad_affine = layer_norm_grad_affine<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(norm)
