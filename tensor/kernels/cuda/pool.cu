// Pooling over h and w. Forward a thread takes one output, backward one input: it gathers from the
// windows that cover it, in the order of the outputs, so that nothing is cleared first, nothing is
// added to atomically, and the sums are those of the CPU.
#include <concord/tensor/kernels/cuda/block_sum.h>
#include <concord/tensor/kernels/cuda/launch.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <limits>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Positions [first, last) along one axis.
struct Span {
  int first, last;
};

/// One axis of the windows. A plane has less than 2^31 elements, since its argmax is an i32.
struct Axis {
  int size, outputs, kernel, stride, pad;
  bool adaptive;

  /// Inputs that output `at` covers, padding cut off.
  __device__ Span inputs(int at) const {
    if (adaptive) return split(at, size, outputs);
    const int first = at * stride - pad;
    return {max(first, 0), min(first + kernel, size)};
  }
  /// Outputs that cover input `at`: at stride - pad <= input < at stride - pad + kernel.
  __device__ Span covering(int at) const {
    // For i, o >= 0: floor(o size / outputs) <= i < ceil((o + 1) size / outputs) says the same as
    // floor(i outputs / size) <= o < ceil((i + 1) outputs / size).
    if (adaptive) return split(at, outputs, size);
    const int last = at + pad, before = last - kernel;
    return {before < 0 ? 0 : before / stride + 1, min(last / stride + 1, outputs)};
  }

 private:
  /// [floor(at size / parts), ceil((at + 1) size / parts)).
  __device__ static Span split(int at, int size, int parts) {
    return {static_cast<int>(index_t{at} * size / parts),
            static_cast<int>(((at + index_t{1}) * size + parts - 1) / parts)};
  }
};

struct Windows {
  Axis h, w;
  bool count_include_pad;

  /// What an average divides by.
  __device__ int divisor(Span a, Span b) const {
    if (count_include_pad && !h.adaptive) return h.kernel * w.kernel;
    return (a.last - a.first) * (b.last - b.first);
  }
};

Windows windows(const PoolGeometry& g) {
  const auto axis = [&](index_t size, index_t outputs, index_t kernel, index_t stride,
                        index_t pad) {
    return Axis{static_cast<int>(size),   static_cast<int>(outputs), static_cast<int>(kernel),
                static_cast<int>(stride), static_cast<int>(pad),     g.adaptive};
  };
  return {axis(g.h, g.p, g.kernel_h, g.stride_h, g.pad_h),
          axis(g.w, g.q, g.kernel_w, g.stride_w, g.pad_w), g.count_include_pad};
}

/// Where an element lies: its plane, and its place there.
struct Place {
  index_t plane;
  int h, w;
};

/// The place of element number `item` among planes of height x width. The plane of the block's
/// first element takes the only division of 64 bits, with operands that all its threads share.
__device__ Place place_of(index_t block_first, int offset, int height, int width) {
  const int size = height * width;
  const index_t plane = block_first / size;
  const auto at = static_cast<unsigned>(block_first - plane * size) + static_cast<unsigned>(offset);
  const auto in_plane = static_cast<int>(at % static_cast<unsigned>(size));
  return {plane + at / static_cast<unsigned>(size), in_plane / width, in_plane % width};
}

template <class T>
__global__ void max_forward_kernel(index_t count, Windows g, const T* __restrict__ x,
                                   T* __restrict__ y, std::int32_t* __restrict__ argmax) {
  const index_t first = index_t{blockIdx.x} * kThreads, o = first + threadIdx.x;
  if (o >= count) return;
  const Place place = place_of(first, threadIdx.x, g.h.outputs, g.w.outputs);
  const Span a = g.h.inputs(place.h), b = g.w.inputs(place.w);
  const T* from = x + place.plane * g.h.size * g.w.size;
  T best = -std::numeric_limits<T>::infinity();
  int at = a.first * g.w.size + b.first;
  for (int h = a.first; h < a.last; ++h) {
    for (int w = b.first; w < b.last; ++w) {
      const T value = from[h * g.w.size + w];
      if (value > best || value != value) {  // NaN propagates, as in PyTorch
        best = value;
        at = h * g.w.size + w;
      }
    }
  }
  y[o] = best;
  argmax[o] = at;
}

template <class T>
__global__ void max_backward_kernel(index_t count, Windows g,
                                    const std::int32_t* __restrict__ argmax, DeviceRows<const T> gy,
                                    DeviceRows<T> gx) {
  const index_t first = index_t{blockIdx.x} * kThreads, i = first + threadIdx.x;
  if (i >= count) return;
  const Place place = place_of(first, threadIdx.x, g.h.size, g.w.size);
  const Span a = g.h.covering(place.h), b = g.w.covering(place.w);
  const int at = place.h * g.w.size + place.w;
  const index_t outputs = place.plane * g.h.outputs * g.w.outputs;
  const T* from = gy[blockIdx.y] + outputs;
  T* to = gx[blockIdx.y] + i;
  T sum = gx.accumulate ? *to : T(0);
  for (int p = a.first; p < a.last; ++p) {
    for (int q = b.first; q < b.last; ++q) {
      const int o = p * g.w.outputs + q;
      if (argmax[outputs + o] == at) sum += from[o];
    }
  }
  *to = sum;
}

template <class T>
__global__ void avg_forward_kernel(index_t count, Windows g, const T* __restrict__ x,
                                   T* __restrict__ y) {
  const index_t first = index_t{blockIdx.x} * kThreads, o = first + threadIdx.x;
  if (o >= count) return;
  const Place place = place_of(first, threadIdx.x, g.h.outputs, g.w.outputs);
  const Span a = g.h.inputs(place.h), b = g.w.inputs(place.w);
  const T* from = x + place.plane * g.h.size * g.w.size;
  T sum = 0;
  for (int h = a.first; h < a.last; ++h)
    for (int w = b.first; w < b.last; ++w) sum += from[h * g.w.size + w];
  y[o] = sum / static_cast<T>(g.divisor(a, b));
}

/// The same for large windows: a warp takes one output, so that it reads neighbouring elements.
template <class T>
__global__ void avg_forward_large_kernel(index_t count, Windows g, const T* __restrict__ x,
                                         T* __restrict__ y) {
  const index_t first = index_t{blockIdx.x} * (kThreads / kWarp);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (first + warp >= count) return;  // the whole warp
  const Place place = place_of(first, warp, g.h.outputs, g.w.outputs);
  const Span a = g.h.inputs(place.h), b = g.w.inputs(place.w);
  const T* from = x + place.plane * g.h.size * g.w.size;
  const int width = b.last - b.first, area = (a.last - a.first) * width;
  T sum = 0;
  for (int i = lane; i < area; i += kWarp)
    sum += from[(a.first + i / width) * g.w.size + b.first + i % width];
  sum = warp_sum(sum);
  if (lane == 0) y[first + warp] = sum / static_cast<T>(g.divisor(a, b));
}

template <class T>
__global__ void avg_backward_kernel(index_t count, Windows g, DeviceRows<const T> gy,
                                    DeviceRows<T> gx) {
  const index_t first = index_t{blockIdx.x} * kThreads, i = first + threadIdx.x;
  if (i >= count) return;
  const Place place = place_of(first, threadIdx.x, g.h.size, g.w.size);
  const Span a = g.h.covering(place.h), b = g.w.covering(place.w);
  const T* from = gy[blockIdx.y] + place.plane * g.h.outputs * g.w.outputs;
  T* to = gx[blockIdx.y] + i;
  T sum = gx.accumulate ? *to : T(0);
  for (int p = a.first; p < a.last; ++p) {
    for (int q = b.first; q < b.last; ++q) {
      const int divisor = g.divisor(g.h.inputs(p), g.w.inputs(q));
      sum += from[p * g.w.outputs + q] / static_cast<T>(divisor);
    }
  }
  *to = sum;
}

template <class T>
void max_pool2d_forward(const PoolGeometry& g, const T* x, T* y, std::int32_t* argmax) {
  const index_t count = g.planes * g.p * g.q;
  launch("max_pool2d_forward", max_forward_kernel<T>, blocks_for(count, kThreads), kThreads, 0,
         count, windows(g), x, y, argmax);
}

template <class T>
void max_pool2d_backward(const PoolGeometry& g, const std::int32_t* argmax, In<T> gy, Out<T> gx) {
  const index_t count = g.planes * g.h * g.w;
  for_each_piece(gx.count, [&](std::int32_t first, std::int32_t rows) {
    launch("max_pool2d_backward", max_backward_kernel<T>, dim3(blocks_for(count, kThreads), rows),
           kThreads, 0, count, windows(g), argmax, device_rows(gy, first, rows),
           device_rows(gx, first, rows));
  });
}

template <class T>
void avg_pool2d_forward(const PoolGeometry& g, const T* x, T* y) {
  const index_t count = g.planes * g.p * g.q;
  const index_t window = g.adaptive
                             ? (g.h / std::max<index_t>(g.p, 1)) * (g.w / std::max<index_t>(g.q, 1))
                             : g.kernel_h * g.kernel_w;
  if (window >= kWarp) {
    launch("avg_pool2d_forward", avg_forward_large_kernel<T>, blocks_for(count, kThreads / kWarp),
           kThreads, 0, count, windows(g), x, y);
  } else {
    launch("avg_pool2d_forward", avg_forward_kernel<T>, blocks_for(count, kThreads), kThreads, 0,
           count, windows(g), x, y);
  }
}

template <class T>
void avg_pool2d_backward(const PoolGeometry& g, In<T> gy, Out<T> gx) {
  const index_t count = g.planes * g.h * g.w;
  for_each_piece(gx.count, [&](std::int32_t first, std::int32_t rows) {
    launch("avg_pool2d_backward", avg_backward_kernel<T>, dim3(blocks_for(count, kThreads), rows),
           kThreads, 0, count, windows(g), device_rows(gy, first, rows),
           device_rows(gx, first, rows));
  });
}

}  // namespace

template <class T>
void set_pool(Kernels<T>& k) {
  k.max_pool2d_forward = max_pool2d_forward<T>;
  k.max_pool2d_backward = max_pool2d_backward<T>;
  k.avg_pool2d_forward = avg_pool2d_forward<T>;
  k.avg_pool2d_backward = avg_pool2d_backward<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(pool)
