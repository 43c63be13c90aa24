// Element-wise kernels: the list of kernels/elementwise.h over arrays, with broadcasting, and
// copies of boxes. All of them are bound by memory: a thread moves 16 bytes at a time where the
// arrays lie one after the other, and the gradients of R rows share the derivative, which a thread
// keeps in registers while it walks through the rows.
#include <concord/tensor/kernels/cuda/sums.h>
#include <concord/tensor/kernels/cuda/table.h>
#include <concord/tensor/kernels/elementwise_ops.h>
#include <concord/tensor/philox.h>

#include <cmath>
#include <cstdint>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// Elements that a thread handles together: one load where they are 16-byte aligned, else one each.
template <class T>
struct alignas(16) Pack {
  static constexpr int kLanes = 16 / sizeof(T);
  T at[kLanes];
};

/// The pack of this thread: elements first .. first + count - 1 of n.
template <class T>
struct Span {
  index_t first;
  int count;
  __device__ explicit Span(index_t n)
      : first((blockIdx.x * index_t{kThreads} + threadIdx.x) * Pack<T>::kLanes),
        count(n - first < Pack<T>::kLanes ? static_cast<int>(n - first) : Pack<T>::kLanes) {}

  __device__ bool wide(const T* p) const {
    return count == Pack<T>::kLanes && reinterpret_cast<std::uintptr_t>(p) % sizeof(Pack<T>) == 0;
  }
  /// Zeros behind the end.
  __device__ Pack<T> load(const T* array) const {
    const T* from = array + first;
    if (wide(from)) return *reinterpret_cast<const Pack<T>*>(from);
    Pack<T> v{};
    for (int l = 0; l < Pack<T>::kLanes; ++l)
      if (l < count) v.at[l] = from[l];
    return v;
  }
  /// ... or one number in all places where the stride is 0.
  __device__ Pack<T> load(const T* array, index_t stride) const {
    if (stride) return load(array);
    Pack<T> v;
    for (T& e : v.at) e = *array;
    return v;
  }
  __device__ void store(T* array, const Pack<T>& v) const {
    T* to = array + first;
    if (wide(to)) {
      *reinterpret_cast<Pack<T>*>(to) = v;
      return;
    }
    for (int l = 0; l < Pack<T>::kLanes; ++l)
      if (l < count) to[l] = v.at[l];
  }
};

template <class T>
unsigned pack_blocks(index_t n) {
  return blocks_for(n, kThreads * Pack<T>::kLanes);
}

/// to[r] = or += from[r] * factor, for the rows of this grid's y.
template <class T>
__device__ void multiply_pack(const Span<T>& span, const DeviceRows<const T>& from,
                              const Pack<T>& factor, const DeviceRows<T>& to) {
  for (int r = blockIdx.y; r < from.count; r += gridDim.y) {
    Pack<T> v = span.load(from[r]), old{};
    if (to.accumulate) old = span.load(to[r]);
    for (int l = 0; l < Pack<T>::kLanes; ++l) v.at[l] = old.at[l] + v.at[l] * factor.at[l];
    span.store(to[r], v);
  }
}

// --- Unary
// -----------------------------------------------------------------------------------------

template <class Functor, class T>
__global__ void unary_forward_kernel(index_t n, T p, T q, const T* x, T* y) {
  const Span<T> span(n);
  if (span.count <= 0) return;
  Pack<T> v = span.load(x);
  for (T& e : v.at) e = Functor{}.f(e, p, q);
  span.store(y, v);
}

template <class T>
void unary_forward(UnaryOp op, Scalars s, index_t n, const T* x, T* y) {
  with_op(op, [&]<class Functor>(Functor) {
    launch("unary_forward", unary_forward_kernel<Functor, T>, pack_blocks<T>(n), kThreads, 0, n,
           static_cast<T>(s.p), static_cast<T>(s.q), x, y);
  });
}

template <class Functor, class T>
__global__ void unary_backward_kernel(index_t n, T p, T q, const T* x, const T* y,
                                      DeviceRows<const T> gy, DeviceRows<T> gx) {
  const Span<T> span(n);
  if (span.count <= 0) return;
  Pack<T> slope = span.load(x);
  const Pack<T> value = span.load(y);
  for (int l = 0; l < Pack<T>::kLanes; ++l)
    slope.at[l] = Functor{}.df(slope.at[l], value.at[l], p, q);
  multiply_pack(span, gy, slope, gx);
}

template <class T>
void unary_backward(UnaryOp op, Scalars s, index_t n, const T* x, const T* y, In<T> gy, Out<T> gx) {
  const unsigned blocks = pack_blocks<T>(n);
  with_op(op, [&]<class Functor>(Functor) {
    for_each_piece(gy.count, [&](std::int32_t first, std::int32_t count) {
      launch("unary_backward", unary_backward_kernel<Functor, T>,
             dim3(blocks, row_groups(blocks, count)), kThreads, 0, n, static_cast<T>(s.p),
             static_cast<T>(s.q), x, y, device_rows(gy, first, count),
             device_rows(gx, first, count));
    });
  });
}

// --- Binary, with broadcasting. The divisions that count off the axes of an element hide behind
// memory: at 3.35 TB/s a multiprocessor gets 14 bytes a cycle, about one element of 12 bytes, and
// has 128 lanes to compute where it lies.

/// Both sides contiguous or a single number.
template <class Functor, class T>
__global__ void binary_flat_kernel(index_t n, index_t a_stride, index_t b_stride, const T* a,
                                   const T* b, T* y) {
  const Span<T> span(n);
  if (span.count <= 0) return;
  Pack<T> v = span.load(a, a_stride);
  const Pack<T> right = span.load(b, b_stride);
  for (int l = 0; l < Pack<T>::kLanes; ++l) v.at[l] = Functor{}.f(v.at[l], right.at[l]);
  span.store(y, v);
}

template <class Functor, class T>
__global__ void binary_forward_kernel(index_t n, Odometer axes, const T* a, const T* b, T* y) {
  const index_t i = blockIdx.x * index_t{kThreads} + threadIdx.x;
  if (i >= n) return;
  const Odometer::Offsets o = axes.at(i);
  y[i] = Functor{}.f(a[o.a], b[o.b]);
}

template <class T>
void binary_forward(BinaryOp op, const BroadcastGeometry& g, const T* a, const T* b, T* y) {
  const index_t n = g.out.numel();
  const Odometer axes = odometer(g, g.rank, [](int) { return true; });
  with_op(op, [&]<class Functor>(Functor) {
    if (axes.rank == 1) {
      launch("binary_forward", binary_flat_kernel<Functor, T>, pack_blocks<T>(n), kThreads, 0, n,
             axes.a_stride[0], axes.b_stride[0], a, b, y);
    } else {
      launch("binary_forward", binary_forward_kernel<Functor, T>, blocks_for(n, kThreads), kThreads,
             0, n, axes, a, b, y);
    }
  });
}

/// The derivative of an op with respect to one side.
template <class Functor, int kSide>
struct Slope {
  template <class T>
  __device__ T operator()(T a, T b, T y) const {
    return kSide == 0 ? Functor{}.da(a, b, y) : Functor{}.db(a, b, y);
  }
};

/// Where nothing is summed: a thread for each element.
template <class SlopeOf, class T>
__global__ void binary_backward_kernel(index_t n, Odometer axes, DeviceRows<const T> a,
                                       DeviceRows<const T> b, DeviceRows<const T> y,
                                       DeviceRows<const T> gy, DeviceRows<T> out) {
  const index_t i = blockIdx.x * index_t{kThreads} + threadIdx.x;
  if (i >= n) return;
  const Odometer::Offsets o = axes.at(i);
  for (int r = blockIdx.y; r < gy.count; r += gridDim.y)
    store(out[r] + i, gy[r][i] * SlopeOf{}(a[r][o.a], b[r][o.b], y[r][i]), out.accumulate);
}

/// The terms of an element of the side that was repeated: kept axes lead to the element, summed
/// axes through its terms.
template <class SlopeOf, class T>
struct BroadcastTerms {
  Odometer kept, summed;
  DeviceRows<const T> a, b, y, gy;

  struct Sum {
    const Odometer* summed;
    const T *a, *b, *y, *gy;
    __device__ double operator()(index_t l) const {
      const Odometer::Offsets o = summed->at(l);
      return gy[o.out] * SlopeOf{}(a[o.a], b[o.b], y[o.out]);
    }
  };
  __device__ Sum at(int r, index_t j) const {
    const Odometer::Offsets o = kept.at(j);
    return {&summed, a[r] + o.a, b[r] + o.b, y[r] + o.out, gy[r] + o.out};
  }
};

template <class T>
struct PutSum {
  DeviceRows<T> out;
  __device__ void operator()(int r, index_t j, double total) const {
    store(out[r] + j, static_cast<T>(total), out.accumulate);
  }
};

template <class T>
void binary_backward(BinaryOp op, int side, const BroadcastGeometry& g, In<T> a, In<T> b, In<T> y,
                     In<T> gy, Out<T> out) {
  const auto& own_stride = side == 0 ? g.a_stride : g.b_stride;
  const index_t own_numel = side == 0 ? g.a_numel : g.b_numel, total = g.out.numel();
  if (own_numel == 0) return;
  const auto backward = [&]<class SlopeOf>(SlopeOf) {
    for_each_piece(gy.count, [&](std::int32_t first, std::int32_t count) {
      const auto piece = [&](const auto& rows) { return device_rows(rows, first, count); };
      if (own_numel == total) {
        const unsigned blocks = blocks_for(total, kThreads);
        launch("binary_backward", binary_backward_kernel<SlopeOf, T>,
               dim3(blocks, row_groups(blocks, count)), kThreads, 0, total,
               odometer(g, g.rank, [](int) { return true; }), piece(a), piece(b), piece(y),
               piece(gy), piece(out));
        return;
      }
      const BroadcastTerms<SlopeOf, T> terms{
          odometer(g, g.rank, [&](int axis) { return own_stride[axis] != 0; }),
          odometer(g, g.rank, [&](int axis) { return own_stride[axis] == 0; }),
          piece(a),
          piece(b),
          piece(y),
          piece(gy)};
      sums("binary_backward", own_stride[g.rank - 1] == 0 ? Walk::along : Walk::across, count,
           own_numel, total / own_numel, terms, PutSum<T>{piece(out)});
    });
  };
  with_op(op, [&]<class Functor>(Functor) {
    if (side == 0) {
      backward(Slope<Functor, 0>{});
    } else {
      backward(Slope<Functor, 1>{});
    }
  });
}

// --- Dropout
// ---------------------------------------------------------------------------------------

/// A thread for each Philox block: four elements.
template <class T>
__global__ void dropout_mask_kernel(index_t n, std::uint32_t bound, T keep, std::uint64_t seed,
                                    std::uint64_t stream, T* mask) {
  const index_t block = blockIdx.x * index_t{kThreads} + threadIdx.x, first = 4 * block;
  if (first >= n) return;
  const philox::Words words = philox::block(seed, stream, static_cast<std::uint64_t>(block));
  for (int l = 0; l < 4; ++l)
    if (first + l < n) mask[first + l] = (words.at[l] >> 8) >= bound ? keep : T(0);
}

template <class T>
void dropout_mask(index_t n, double p, Rng rng, T* mask) {
  // Rng::uniform(i) >= p, with p scaled to the 24 bits that uniform keeps.
  const auto bound = static_cast<std::uint32_t>(std::ceil(p * 0x1p24));
  launch("dropout_mask", dropout_mask_kernel<T>, blocks_for(n, 4 * kThreads), kThreads, 0, n, bound,
         static_cast<T>(1 / (1 - p)), rng.seed(), rng.stream(), mask);
}

template <class T>
__global__ void multiply_rows_kernel(index_t n, DeviceRows<const T> a, const T* b,
                                     DeviceRows<T> out) {
  const Span<T> span(n);
  if (span.count <= 0) return;
  multiply_pack(span, a, span.load(b), out);
}

template <class T>
void multiply_rows(index_t n, In<T> a, const T* b, Out<T> out) {
  const unsigned blocks = pack_blocks<T>(n);
  for_each_piece(a.count, [&](std::int32_t first, std::int32_t count) {
    launch("multiply_rows", multiply_rows_kernel<T>, dim3(blocks, row_groups(blocks, count)),
           kThreads, 0, n, device_rows(a, first, count), b, device_rows(out, first, count));
  });
}

// --- Boxes. An odometer's a side counts the source, its b side the destination.

template <class T>
__global__ void copy_box_kernel(index_t n, Odometer axes, DeviceRows<const T> from,
                                DeviceRows<T> to) {
  const index_t i = blockIdx.x * index_t{kThreads} + threadIdx.x;
  if (i >= n) return;
  const Odometer::Offsets o = axes.at(i);
  for (int r = blockIdx.y; r < from.count; r += gridDim.y)
    store(to[r] + o.b, from[r][o.a], to.accumulate);
}

/// A transposition: the source is contiguous along one axis (x), the destination along another (y).
struct Transposition {
  index_t x, y;  ///< extents
  index_t from_y, to_x;
  index_t tiles_x, tiles_y;
  Odometer rest;
};

constexpr int kTile = 32, kTileRows = 8;

/// A block moves tiles of 32 x 32 elements through shared memory, so that both its reads and its
/// writes go along contiguous axes. The 33rd column keeps a column's elements in different banks.
template <class T>
__global__ void transpose_kernel(Transposition t, DeviceRows<const T> from, DeviceRows<T> to) {
  CONCORD_SHARED(T, tile, [kTile][kTile + 1]);
  index_t place = blockIdx.x;
  const index_t x0 = place % t.tiles_x * kTile;
  place /= t.tiles_x;
  const index_t y0 = place % t.tiles_y * kTile;
  const Odometer::Offsets o = t.rest.at(place / t.tiles_y);
  const int column = threadIdx.x, line = threadIdx.y;
  for (int r = blockIdx.y; r < from.count; r += gridDim.y) {
    const T* source = from[r] + o.a;
    T* target = to[r] + o.b;
    for (int k = line; k < kTile; k += kTileRows) {
      const index_t x = x0 + column, y = y0 + k;
      if (x < t.x && y < t.y) tile[k][column] = source[y * t.from_y + x];
    }
    __syncthreads();
    for (int k = line; k < kTile; k += kTileRows) {
      const index_t x = x0 + k, y = y0 + column;
      if (x < t.x && y < t.y) store(target + x * t.to_x + y, tile[column][k], to.accumulate);
    }
    __syncthreads();  // before the next row's tile
  }
}

/// The longest axis along which `stride` is 1, or -1.
int contiguous_axis(const CopyGeometry& g, const std::array<index_t, kMaxRank>& stride) {
  int best = -1;
  for (int axis = 0; axis < g.rank; ++axis)
    if (stride[axis] == 1 && (best < 0 || g.extent[axis] >= g.extent[best])) best = axis;
  return best;
}

template <class T>
void copy_box(const CopyGeometry& g, In<T> from, Out<T> to) {
  index_t n = 1;
  for (int axis = 0; axis < g.rank; ++axis) n *= g.extent[axis];
  if (n == 0) return;
  from.base += g.from_offset;
  to.base += g.to_offset;
  const int x = contiguous_axis(g, g.from_stride), y = contiguous_axis(g, g.to_stride);
  const bool transposed = x >= 0 && y >= 0 && x != y;
  Odometer rest;  // all axes but those two
  for (int axis = 0; axis < g.rank; ++axis)
    if (!transposed || (axis != x && axis != y))
      rest.add(g.extent[axis], 0, g.from_stride[axis], g.to_stride[axis]);
  for_each_piece(from.count, [&](std::int32_t first, std::int32_t count) {
    if (!transposed) {
      const unsigned blocks = blocks_for(n, kThreads);
      launch("copy_box", copy_box_kernel<T>, dim3(blocks, row_groups(blocks, count)), kThreads, 0,
             n, rest, device_rows(from, first, count), device_rows(to, first, count));
      return;
    }
    const auto tiles = [](index_t extent) { return (extent + kTile - 1) / kTile; };
    const Transposition t{
        g.extent[x],        g.extent[y], g.from_stride[y], g.to_stride[x], tiles(g.extent[x]),
        tiles(g.extent[y]), rest};
    const auto blocks = static_cast<unsigned>(t.tiles_x * t.tiles_y * rest.places());
    launch("transpose", transpose_kernel<T>, dim3(blocks, row_groups(blocks, count)),
           dim3(kTile, kTileRows), 0, t, device_rows(from, first, count),
           device_rows(to, first, count));
  });
}

}  // namespace

template <class T>
void set_elementwise(Kernels<T>& k) {
  k.unary_forward = unary_forward<T>;
  k.unary_backward = unary_backward<T>;
  k.binary_forward = binary_forward<T>;
  k.binary_backward = binary_backward<T>;
  k.dropout_mask = dropout_mask<T>;
  k.multiply_rows = multiply_rows<T>;
  k.copy_box = copy_box<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(elementwise)
