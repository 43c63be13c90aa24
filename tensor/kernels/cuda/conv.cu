// Convolution by implicit GEMM: the matrix of all shifted inputs ("im2col") is a factor of the
// product, but nobody stores it; each block reads the elements of the tile it is at from the image.
//
// Forward and gradient of the input are one kernel, `correlate`; under a stride the gradient of the
// input is stride_h x stride_w correlations, each for the outputs of one phase and the kernel's
// positions that reach them: a gather, without atomics and without multiplying by the zeros between
// the strides. The gradient of the weight, `weight_gradient`, sums over pixels; where it has few
// tiles, parts of the pixels go to blocks of their own and `sum_parts` adds them in order.
// R cotangent rows are one launch. README.md of this folder tells the way from `forward_direct` to
// these kernels; conv.h decides which of them runs.
#include <concord/tensor/kernels/cuda/conv.h>
#include <concord/tensor/kernels/cuda/gemm.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <numeric>

namespace concord::kernels::cuda {
namespace {

// --- The product on tiles

// Four neighbours, moved as one.
template <class T>
struct alignas(16) Quad {
  T v[4];
};

// A ConvTile as a type. Threads lie kAcross x kDown over the tile; a thread has kRows x kColumns
// sums: a quad of columns in each of kColumns / 4 equal shares of the tile, rows likewise. So a
// warp's reads of a shared quad row are contiguous.
template <class Element, ConvWay kWay>
struct Tile {
  using T = Element;
  static constexpr ConvTile kTile = conv_tile(kWay);
  static constexpr int kM = kTile.m, kN = kTile.n, kK = kTile.k, kThreads = kTile.threads();
  static constexpr int kRows = kTile.rows, kColumns = kTile.columns;
  static constexpr int kAcross = kN / kColumns, kDown = kM / kRows;
  static constexpr int kA = kM * kK / kThreads, kB = kN * kK / kThreads;  // loads of a thread
  // 8 x 8 sums and their operands fit 128 registers: two blocks of 256 threads.
  static constexpr int kMinBlocks = sizeof(T) == 8 ? 1 : kRows == 8 ? 2 : 3;

  // Both factors with the reduction as the slow index. The spare quad puts neighbouring steps four
  // banks apart: threads that store along the reduction do not meet in one bank.
  struct Panel {
    Quad<T> a[kK][kM / 4 + 1], b[kK][kN / 4 + 1];
  };
  struct Sums {
    T v[kRows][kColumns] = {};
  };

  static __device__ int row_quad(int i) {
    return i * kDown + static_cast<int>(threadIdx.x) / kAcross;
  }
  static __device__ int column_quad(int j) {
    return j * kAcross + static_cast<int>(threadIdx.x) % kAcross;
  }
  // The place in the tile of the thread's i-th row and j-th column.
  static __device__ int row(int i) { return row_quad(i / 4) * 4 + i % 4; }
  static __device__ int column(int j) { return column_quad(j / 4) * 4 + j % 4; }
};

// How the loads of a factor are dealt to the threads: each loads, in one step of the reduction,
// every kStep-th row (or column). Along: neighbouring threads have neighbouring steps. Across: one
// step, neighbouring rows.
template <class Tile>
struct Along {
  static constexpr int kStep = Tile::kThreads / Tile::kK;
  static __device__ int step() { return static_cast<int>(threadIdx.x) % Tile::kK; }
  static __device__ int lane(int j) { return static_cast<int>(threadIdx.x) / Tile::kK + j * kStep; }
};
template <class Tile>
struct Across {
  static constexpr int kStep = Tile::kThreads / Tile::kK;
  static __device__ int step() { return static_cast<int>(threadIdx.x) / kStep; }
  static __device__ int lane(int j) { return static_cast<int>(threadIdx.x) % kStep + j * kStep; }
};

// What was loaded goes to its place in a panel.
template <class Dealt, class T, int kWidth, int kCount>
__device__ void put(Quad<T> (*factor)[kWidth], const T (&loaded)[kCount]) {
  T* const row = reinterpret_cast<T*>(factor[Dealt::step()]);
#pragma unroll
  for (int j = 0; j < kCount; ++j) row[Dealt::lane(j)] = loaded[j];
}

template <class Tile>
__device__ void multiply_panel(const typename Tile::Panel& panel, typename Tile::Sums& sums) {
#pragma unroll 8  // all 16 of the square tile would need more registers than there are
  for (int k = 0; k < Tile::kK; ++k) {
    Quad<typename Tile::T> a[Tile::kRows / 4], b[Tile::kColumns / 4];
#pragma unroll
    for (int i = 0; i < Tile::kRows / 4; ++i) a[i] = panel.a[k][Tile::row_quad(i)];
#pragma unroll
    for (int j = 0; j < Tile::kColumns / 4; ++j) b[j] = panel.b[k][Tile::column_quad(j)];
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) {
        sums.v[i][j] += a[i / 4].v[i % 4] * b[j / 4].v[j % 4];
      }
    }
  }
}

// The sums of a block over `steps` panels. While one panel is multiplied, the next is on its way
// from global memory to registers and then goes to the other shared buffer: one barrier per panel.
template <class Tile, class Operands>
__device__ void multiply(Operands& operands, int steps, typename Tile::Sums& sums) {
  using Panel = typename Tile::Panel;
  CONCORD_SHARED(Panel, panels, [2]);
  if (steps <= 0) return;
  operands.fetch();
  operands.keep(panels[0]);
  __syncthreads();
  for (int step = 0; step < steps - 1; ++step) {
    operands.fetch();
    multiply_panel<Tile>(panels[step & 1], sums);
    operands.keep(panels[~step & 1]);
    __syncthreads();
  }
  multiply_panel<Tile>(panels[(steps - 1) & 1], sums);
}

// --- Images

// Where an element lies relative to another: in memory, and in its image, outside of which all is
// 0. An element is read at the sum of two places, one that the thread keeps and one that moves
// along the reduction.
struct Place {
  int offset, h, w;
};
constexpr int kOutside = -(1 << 30);  // a row that no shift brings back

template <class T>
struct Image {
  const T* moved;  // by the second place's offset
  int h, w;

  __device__ T operator()(const Place& p, int down, int right) const {
    const bool inside = static_cast<unsigned>(p.h + down) < static_cast<unsigned>(h) &&
                        static_cast<unsigned>(p.w + right) < static_cast<unsigned>(w);
    return inside ? moved[p.offset] : T(0);
  }
};

// A number in a mixed radix (high without bound, u < size_u, v < size_v), and what is added to it
// over and over: without divisions.
struct Radix {
  int size_u, size_v, step_high, step_u, step_v;
};
Radix radix(int size_u, int size_v, int step) {
  return {size_u, size_v, step / (size_u * size_v), step / size_v % size_u, step % size_v};
}

struct Counter {
  int high, u, v;

  __device__ Counter(const Radix& radix, index_t start)
      : high(static_cast<int>(start / (radix.size_u * radix.size_v))),
        u(static_cast<int>(start % (radix.size_u * radix.size_v)) / radix.size_v),
        v(static_cast<int>(start % radix.size_v)) {}
  __device__ void advance(const Radix& radix) {
    v += radix.step_v;
    u += radix.step_u;
    high += radix.step_high;
    if (v >= radix.size_v) v -= radix.size_v, ++u;
    if (u >= radix.size_u) u -= radix.size_u, ++high;
  }
};

// --- Forward and gradient of the input

// Outputs (first_h + i step_h, first_w + j step_w) for i < rows, j < columns, and the kernel's
// taps_h x taps_w positions that they use. Output (i, j) sees, through tap (u, v), the input at
// (i stride_h + shift_h + u tap_h, j stride_w + shift_w + v tap_w).
struct Phase {
  int first_h, first_w, rows, columns;
  int taps_h, taps_w, shift_h, shift_w;
  int first_tap_h, first_tap_w;  // in the weight as it comes; from there every between_h-th
  int weight;                    // where the phase's weight begins
  Radix taps = {1, 1, 0, 0, 0};  // counts channel, u, v in steps of a tile
};
constexpr int kMaxPhases = 16;  // of one launch

// out[image][m][output] = bias[m] + sum over channels and taps of
//                         weight[m][channel, tap] in[image][channel][input], for each group.
struct Correlation {
  int channels, h, w;   // of the input, channels per group
  int m, out_h, out_w;  // of the output, m per group
  int groups;
  index_t images;
  int stride_h, stride_w, tap_h, tap_w, step_h, step_w, between_h, between_w;
  bool quads;  // four neighbouring pixels, from a multiple of 4 on, can be stored as one
  Phase phases[kMaxPhases];

  __host__ __device__ int image_size() const { return groups * channels * h * w; }
  __host__ __device__ int out_size() const { return groups * m * out_h * out_w; }
};

template <class Tile>
struct CorrelationOperands {
  using T = typename Tile::T;
  using DealtA = Along<Tile>;
  using DealtB = Across<Tile>;

  // Pixels first_in_image + 0 .. count - 1, counted from the first output of the image of `in`.
  __device__ CorrelationOperands(const Correlation& o, const Phase& phase, const T* weight,
                                 int rows, const T* in, int first_in_image, int count)
      : steps(o.channels * phase.taps_h * phase.taps_w),
        weight(weight + DealtA::lane(0) * index_t{steps} + DealtA::step()),
        rows(rows),
        step_a(DealtA::step()),
        in(in),
        o(o),
        phase(phase),
        tap(phase.taps, DealtB::step()) {
    const int plane = phase.rows * phase.columns;
#pragma unroll
    for (int j = 0; j < Tile::kB; ++j) {
      const int l = DealtB::lane(j);
      const int in_image = (first_in_image + l) % plane, image = (first_in_image + l) / plane;
      Place& p = pixel[j];
      p.h = in_image / phase.columns * o.stride_h + phase.shift_h;
      p.w = in_image % phase.columns * o.stride_w + phase.shift_w;
      p.offset = image * o.image_size() + p.h * o.w + p.w;
      if (l >= count) p.h = kOutside;
    }
  }

  __device__ void fetch() {
#pragma unroll
    for (int j = 0; j < Tile::kA; ++j) {
      a[j] = DealtA::lane(j) < rows && step_a < steps ? weight[j * DealtA::kStep * steps] : T(0);
    }
    step_a += Tile::kK;
    weight += Tile::kK;
    const int down = tap.u * o.tap_h, right = tap.v * o.tap_w;
    const Image<T> image{in + ((tap.high * o.h + down) * o.w + right), o.h, o.w};
#pragma unroll
    for (int j = 0; j < Tile::kB; ++j) {
      b[j] = tap.high < o.channels ? image(pixel[j], down, right) : T(0);
    }
    tap.advance(phase.taps);
  }
  __device__ void keep(typename Tile::Panel& panel) const {
    put<DealtA>(panel.a, a);
    put<DealtB>(panel.b, b);
  }

  int steps;
  const T* weight;
  int rows, step_a;
  const T* in;
  const Correlation& o;
  const Phase& phase;
  Counter tap;
  Place pixel[Tile::kB];
  T a[Tile::kA], b[Tile::kB];
};

// Blocks: x is pixel tile, group, tile of m (fastest, so that blocks that run together read the
// same pixels), y the cotangent row, z the phase.
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kMinBlocks)
    correlate(const Correlation o, const typename Tile::T* weight, const typename Tile::T* bias,
              const DeviceRows<const typename Tile::T> in, const DeviceRows<typename Tile::T> out) {
  using T = typename Tile::T;
  const Phase& phase = o.phases[blockIdx.z];
  const int plane = phase.rows * phase.columns;
  const unsigned tiles = (o.m + Tile::kM - 1) / Tile::kM, share = tiles * o.groups;
  const index_t first_pixel = index_t{blockIdx.x / share} * Tile::kN;
  const index_t left = o.images * plane - first_pixel;
  if (left <= 0) return;  // another phase has more
  const int group = static_cast<int>(blockIdx.x % share / tiles);
  const int first_m = static_cast<int>(blockIdx.x % tiles) * Tile::kM;
  const int rows = min(o.m - first_m, Tile::kM);
  const int count = static_cast<int>(min(left, index_t{Tile::kN}));
  const int image = static_cast<int>(first_pixel / plane);
  const int in_image = static_cast<int>(first_pixel % plane);

  typename Tile::Sums sums;
  {
    const int steps = o.channels * phase.taps_h * phase.taps_w;
    CorrelationOperands<Tile> operands(
        o, phase, weight + phase.weight + (group * o.m + first_m) * index_t{steps}, rows,
        in[blockIdx.y] + image * index_t{o.image_size()} + group * o.channels * o.h * o.w, in_image,
        count);
    multiply<Tile>(operands, (steps + Tile::kK - 1) / Tile::kK, sums);
  }

  const int out_plane = o.out_h * o.out_w;
  T* const to =
      out[blockIdx.y] + image * index_t{o.out_size()} + (group * o.m + first_m) * out_plane;
#pragma unroll
  for (int quad = 0; quad < Tile::kColumns; quad += 4) {
    int at[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int pixel = in_image + Tile::column(quad + j), place = pixel % plane;
      at[j] = pixel / plane * o.out_size() +
              (phase.first_h + place / phase.columns * o.step_h) * o.out_w + phase.first_w +
              place % phase.columns * o.step_w;
    }
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const int m = Tile::row(i);
      if (m >= rows) continue;
      const T start = bias ? bias[group * o.m + first_m + m] : T(0);
      T* const row = to + m * out_plane;
      if (o.quads && Tile::column(quad) < count) {
        auto& four = *reinterpret_cast<Quad<T>*>(row + at[0]);
        Quad<T> value{};
        if (out.accumulate) value = four;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          store(&value.v[j], sums.v[i][quad + j] + start, out.accumulate);
        }
        four = value;
        continue;
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (Tile::column(quad + j) < count) {
          store(row + at[j], sums.v[i][quad + j] + start, out.accumulate);
        }
      }
    }
  }
}

// Phase after phase, [m of all groups][channels, taps], from the weight of a convolution
// [channels of all groups][m][r, s]: the transposed, and of the r x s positions the phase's.
template <class T>
__global__ void pack_weight(const Correlation o, int r, int s, const T* weight, T* packed) {
  const Phase& phase = o.phases[blockIdx.z];
  const int taps = phase.taps_h * phase.taps_w, e = blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= o.groups * o.m * o.channels * taps) return;
  const int tap = e % taps, channel = e / taps % o.channels, m = e / taps / o.channels;
  const int from = (m / o.m * o.channels + channel) * o.m + m % o.m;
  const int h = phase.first_tap_h + tap / phase.taps_w * o.between_h;
  const int w = phase.first_tap_w + tap % phase.taps_w * o.between_w;
  packed[phase.weight + e] = weight[(index_t{from} * r + h) * s + w];
}

// --- Gradient of the weight

// A convolution in the kernel's integers. gw[m][channel, tap] = sum over `pixels`, the outputs of
// all images, of gy[m][pixel] x[channel][input], for each group.
struct WeightGradient {
  int channels, h, w;  // of the input, channels per group
  int m, r, s, groups;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int x_size, y_size, plane;      // of an image, an image's gradient, a channel of that
  int pixels, part;               // of all, and of each part
  Radix pixel = {1, 1, 0, 0, 0};  // counts image, row, column in steps of a tile

  __host__ __device__ int columns() const { return channels * r * s; }
};

template <class Tile>
struct WeightGradientOperands {
  using T = typename Tile::T;
  using DealtA = Along<Tile>;
  using DealtB = Along<Tile>;

  // From gy's row 0 and from first_column on, for `count` pixels from first_pixel on.
  __device__ WeightGradientOperands(const WeightGradient& o, const T* gy, int rows, const T* x,
                                    int first_column, int first_pixel, int count)
      : o(o),
        gy(gy + DealtA::lane(0) * o.plane),
        rows(rows),
        x(x),
        left(count - DealtA::step()),
        pixel(o.pixel, first_pixel + DealtA::step()) {
#pragma unroll
    for (int j = 0; j < Tile::kB; ++j) {
      const int c = first_column + DealtB::lane(j);
      Place& p = column[j];
      p.h = c / o.s % o.r * o.dilation_h - o.pad_h;
      p.w = c % o.s * o.dilation_w - o.pad_w;
      p.offset = (c / o.s / o.r * o.h + p.h) * o.w + p.w;
      if (c >= o.columns()) p.h = kOutside;
    }
  }

  __device__ void fetch() {
    const T* const from =
        gy + pixel.high * index_t{o.y_size} + (pixel.u * o.pixel.size_v + pixel.v);
#pragma unroll
    for (int j = 0; j < Tile::kA; ++j) {
      a[j] = DealtA::lane(j) < rows && left > 0 ? from[j * DealtA::kStep * o.plane] : T(0);
    }
    const int down = pixel.u * o.stride_h, right = pixel.v * o.stride_w;
    const Image<T> image{x + pixel.high * index_t{o.x_size} + (down * o.w + right), o.h, o.w};
#pragma unroll
    for (int j = 0; j < Tile::kB; ++j) b[j] = left > 0 ? image(column[j], down, right) : T(0);
    left -= Tile::kK;
    pixel.advance(o.pixel);
  }
  __device__ void keep(typename Tile::Panel& panel) const {
    put<DealtA>(panel.a, a);
    put<DealtB>(panel.b, b);
  }

  const WeightGradient& o;
  const T* gy;
  int rows;
  const T* x;
  int left;
  Counter pixel;
  Place column[Tile::kB];
  T a[Tile::kA], b[Tile::kB];
};

// Blocks: x is group, tile of rows, tile of columns (fastest), y the cotangent row, z the part of
// the pixels. `out` is gw, or its row's parts one after the other.
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kMinBlocks)
    weight_gradient(const WeightGradient o, const DeviceRows<const typename Tile::T> x,
                    const DeviceRows<const typename Tile::T> gy,
                    const DeviceRows<typename Tile::T> out) {
  using T = typename Tile::T;
  const int columns = o.columns();
  const unsigned across = (columns + Tile::kN - 1) / Tile::kN;
  const unsigned down = (o.m + Tile::kM - 1) / Tile::kM;
  const int first_column = static_cast<int>(blockIdx.x % across) * Tile::kN;
  const int first_m = static_cast<int>(blockIdx.x / across % down) * Tile::kM;
  const int group = static_cast<int>(blockIdx.x / across / down);
  const int rows = min(o.m - first_m, Tile::kM);
  const int first_pixel = static_cast<int>(blockIdx.z) * o.part;
  const int count = min(o.pixels - first_pixel, o.part);

  typename Tile::Sums sums;
  {
    WeightGradientOperands<Tile> operands(o, gy[blockIdx.y] + (group * o.m + first_m) * o.plane,
                                          rows, x[blockIdx.y] + group * o.channels * o.h * o.w,
                                          first_column, first_pixel, count);
    multiply<Tile>(operands, (count + Tile::kK - 1) / Tile::kK, sums);
  }

  T* const to =
      out[blockIdx.y] +
      index_t{static_cast<int>(blockIdx.z) * o.groups * o.m + group * o.m + first_m} * columns +
      first_column;
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) {
      if (Tile::row(i) < rows && first_column + Tile::column(j) < columns) {
        store(to + Tile::row(i) * columns + Tile::column(j), sums.v[i][j], out.accumulate);
      }
    }
  }
}

constexpr int kThreads = 256;

// gw[r][i] = sum of the parts, in their order. partial [row][part][size].
template <class T>
__global__ void sum_parts(index_t size, int parts, const T* partial, const DeviceRows<T> gw) {
  const index_t i = index_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size) return;
  const T* from = partial + blockIdx.y * parts * size + i;
  T sum = 0;
  for (int part = 0; part < parts; ++part, from += size) sum += *from;
  store(gw[blockIdx.y] + i, sum, gw.accumulate);
}

// --- Without tiles: a thread per output, or a block per weight

constexpr int kDirectThreads = conv_tile(ConvWay::direct).threads();

// A block's pixels of one plane of many: threads of the last block may have none.
struct PlanePixel {
  int plane, h, w;
  bool inside;

  __device__ PlanePixel(index_t height, index_t width) {
    const int size = static_cast<int>(height * width);
    const unsigned blocks = (size + kDirectThreads - 1) / kDirectThreads;
    const int pixel = static_cast<int>(blockIdx.x % blocks * kDirectThreads + threadIdx.x);
    plane = static_cast<int>(blockIdx.x / blocks);
    h = pixel / static_cast<int>(width);
    w = pixel % static_cast<int>(width);
    inside = pixel < size;
  }
};

template <class T>
__global__ void forward_direct(const ConvGeometry g, const T* x, const T* weight, const T* bias,
                               T* y) {
  const PlanePixel at(g.p, g.q);
  if (!at.inside) return;
  const index_t image = at.plane / g.k, k = at.plane % g.k, channels = g.c / g.groups;
  const index_t first = image * g.c + k / (g.k / g.groups) * channels;
  T sum = bias ? bias[k] : T(0);
  for (index_t c = 0; c < channels; ++c) {
    for (index_t r = 0; r < g.r; ++r) {
      for (index_t s = 0; s < g.s; ++s) {
        const index_t h = at.h * g.stride_h + r * g.dilation_h - g.pad_h;
        const index_t w = at.w * g.stride_w + s * g.dilation_w - g.pad_w;
        if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;
        sum +=
            x[((first + c) * g.h + h) * g.w + w] * weight[((k * channels + c) * g.r + r) * g.s + s];
      }
    }
  }
  y[(at.plane * g.p + at.h) * g.q + at.w] = sum;
}

// Gathers from the outputs that saw an input: h = p stride + r dilation - pad.
template <class T>
__global__ void grad_input_direct(const ConvGeometry g, const T* weight,
                                  const DeviceRows<const T> gy, const DeviceRows<T> gx) {
  const PlanePixel at(g.h, g.w);
  if (!at.inside) return;
  const index_t image = at.plane / g.c, c = at.plane % g.c;
  const index_t channels = g.c / g.groups, m = g.k / g.groups, first = c / channels * m;
  T sum = 0;
  for (index_t k = first; k < first + m; ++k) {
    for (index_t r = 0; r < g.r; ++r) {
      const index_t h = at.h + g.pad_h - r * g.dilation_h;
      if (h < 0 || h % g.stride_h != 0 || h / g.stride_h >= g.p) continue;
      for (index_t s = 0; s < g.s; ++s) {
        const index_t w = at.w + g.pad_w - s * g.dilation_w;
        if (w < 0 || w % g.stride_w != 0 || w / g.stride_w >= g.q) continue;
        sum += gy[blockIdx.y][((image * g.k + k) * g.p + h / g.stride_h) * g.q + w / g.stride_w] *
               weight[((k * channels + c % channels) * g.r + r) * g.s + s];
      }
    }
  }
  store(gx[blockIdx.y] + (at.plane * g.h + at.h) * g.w + at.w, sum, gx.accumulate);
}

template <class T>
__global__ void grad_weight_direct(const ConvGeometry g, const DeviceRows<const T> x,
                                   const DeviceRows<const T> gy, const DeviceRows<T> gw) {
  const int s = static_cast<int>(blockIdx.x % g.s), r = static_cast<int>(blockIdx.x / g.s % g.r);
  const index_t channels = g.c / g.groups, k = blockIdx.x / g.s / g.r / channels;
  const index_t c = blockIdx.x / g.s / g.r % channels + k / (g.k / g.groups) * channels;
  const int plane = static_cast<int>(g.p * g.q), columns = static_cast<int>(g.q);
  T sum = 0;
  for (index_t n = 0; n < g.n; ++n) {
    const T* const from = x[blockIdx.y] + (n * g.c + c) * g.h * g.w;
    const T* const by = gy[blockIdx.y] + (n * g.k + k) * plane;
    for (int pixel = threadIdx.x; pixel < plane; pixel += kDirectThreads) {
      const index_t h = pixel / columns * g.stride_h + r * g.dilation_h - g.pad_h;
      const index_t w = pixel % columns * g.stride_w + s * g.dilation_w - g.pad_w;
      if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;
      sum += from[h * g.w + w] * by[pixel];
    }
  }
  CONCORD_SHARED(T, sums, [kDirectThreads]);
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned half = kDirectThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) store(gw[blockIdx.y] + blockIdx.x, sums[0], gw.accumulate);
}

// --- On the host

int as_int(index_t size) { return static_cast<int>(size); }

// The kernels count in 32 bits: elements within the images of one tile, pixels of a weight's
// gradient.
void check_size(const ConvGeometry& g) {
  const index_t plane =
      std::max<index_t>(1, std::min(g.p * g.q, (g.h / g.stride_h) * (g.w / g.stride_w)));
  const index_t images = 128 / plane + 2, most = std::numeric_limits<std::int32_t>::max();
  if (images * std::max(g.x_size(), g.y_size()) <= most && g.weight_size() <= most &&
      g.n * g.p * g.q <= most) {
    return;
  }
  throw ShapeError(
      "conv2d: too large for the CUDA kernels, which count pixels and an image's elements in 32 "
      "bits",
      {{"input", to_string(Shape{g.n, g.c, g.h, g.w})},
       {"weight", to_string(Shape{g.k, g.c / g.groups, g.r, g.s})}});
}

// f(Tile<T, way>()) for a way with tiles.
template <class T, class F>
void with_tile(ConvWay way, const F& f) {
  if (way == ConvWay::narrow) {
    f(Tile<T, ConvWay::narrow>());
  } else if (way == ConvWay::square) {
    f(Tile<T, ConvWay::square>());
  } else if constexpr (sizeof(T) == 4) {
    f(Tile<T, ConvWay::wide>());
  }
}

dim3 grid(index_t x, index_t y, index_t z = 1) {
  return {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
}

// The first `phases` of o for all rows.
template <class T>
void launch_correlation(ConvWay way, Correlation o, int phases, const T* weight, const T* bias,
                        In<T> in, Out<T> out) {
  const auto aligned = [](index_t bytes) { return bytes % alignof(Quad<T>) == 0; };
  o.quads = o.step_h == 1 && o.step_w == 1 && o.out_h * o.out_w % 4 == 0 &&
            aligned(out.stride * index_t{sizeof(T)}) &&
            aligned(static_cast<index_t>(reinterpret_cast<std::uintptr_t>(out.base)));
  index_t plane = 0;
  for (int i = 0; i < phases; ++i) {
    plane = std::max(plane, index_t{o.phases[i].rows} * o.phases[i].columns);
  }
  with_tile<T>(way, [&]<class Tile>(Tile) {
    const index_t pixel_tiles = (o.images * plane + Tile::kN - 1) / Tile::kN;
    Correlation of_tile = o;
    for (int i = 0; i < phases; ++i) {
      Phase& p = of_tile.phases[i];
      if (p.taps_h * p.taps_w > 0) p.taps = radix(p.taps_h, p.taps_w, Tile::kK);
    }
    const index_t blocks = pixel_tiles * o.groups * ((o.m + Tile::kM - 1) / Tile::kM);
    for_each_piece(out.count, [&](std::int32_t first, std::int32_t count) {
      launch("correlate", correlate<Tile>, grid(blocks, count, phases), Tile::kThreads, 0, of_tile,
             weight, bias, device_rows(in, first, count), device_rows(out, first, count));
    });
  });
}

// One axis of the phases of an input's gradient: the inputs first, first + stride, ... get
// something from the kernel's positions tap, tap + between, ... of which the first lies at output
// `shift`.
struct AxisPhase {
  int places, tap, taps, shift;

  AxisPhase(index_t first, index_t size, index_t kernel, index_t stride, index_t pad,
            index_t dilation, index_t between) {
    index_t t = 0;
    while (t < kernel && (first + pad - t * dilation) % stride != 0) ++t;
    places = as_int((size - first + stride - 1) / stride);
    tap = as_int(t);
    taps = as_int(std::max<index_t>(kernel - t + between - 1, 0) / between);
    shift = taps > 0 ? as_int((first + pad - t * dilation) / stride) : 0;
  }
};

template <class T>
void grad_input_by_tiles(const ConvGeometry& g, ConvWay way, const T* weight, In<T> gy, Out<T> gx) {
  const index_t between_h = g.stride_h / std::gcd(g.stride_h, g.dilation_h);
  const index_t between_w = g.stride_w / std::gcd(g.stride_w, g.dilation_w);
  Correlation o{.channels = as_int(g.k / g.groups),
                .h = as_int(g.p),
                .w = as_int(g.q),
                .m = as_int(g.c / g.groups),
                .out_h = as_int(g.h),
                .out_w = as_int(g.w),
                .groups = as_int(g.groups),
                .images = g.n,
                .stride_h = 1,
                .stride_w = 1,
                .tap_h = -as_int(between_h * g.dilation_h / g.stride_h),
                .tap_w = -as_int(between_w * g.dilation_w / g.stride_w),
                .step_h = as_int(g.stride_h),
                .step_w = as_int(g.stride_w),
                .between_h = as_int(between_h),
                .between_w = as_int(between_w)};
  // The phases share the weight's positions among them.
  const Scratch packed(static_cast<std::size_t>(g.weight_size()) * sizeof(T));
  int phases = 0, begin = 0;
  const auto flush = [&] {
    int most = 0;
    for (int i = 0; i < phases; ++i) {
      most = std::max(most, o.phases[i].taps_h * o.phases[i].taps_w);
    }
    launch("pack_weight", pack_weight<T>,
           grid(blocks_for(index_t{o.groups} * o.m * o.channels * most, kThreads), 1, phases),
           kThreads, 0, o, as_int(g.r), as_int(g.s), weight, packed.as<T>());
    launch_correlation<T>(way, o, phases, packed.as<T>(), nullptr, gy, gx);
    phases = 0;
  };
  for (index_t i = 0; i < std::min(g.stride_h, g.h); ++i) {
    const AxisPhase h(i, g.h, g.r, g.stride_h, g.pad_h, g.dilation_h, between_h);
    for (index_t j = 0; j < std::min(g.stride_w, g.w); ++j) {
      const AxisPhase w(j, g.w, g.s, g.stride_w, g.pad_w, g.dilation_w, between_w);
      o.phases[phases++] = {as_int(i), as_int(j), h.places, w.places, h.taps, w.taps,
                            h.shift,   w.shift,   h.tap,    w.tap,    begin};
      begin += o.groups * o.m * o.channels * h.taps * w.taps;
      if (phases == kMaxPhases) flush();
    }
  }
  if (phases > 0) flush();
}

template <class T>
void grad_weight_by_tiles(const ConvGeometry& g, const ConvLaunch& l, In<T> x, In<T> gy,
                          Out<T> gw) {
  const index_t size = g.weight_size(), pixels = g.n * g.p * g.q;
  WeightGradient o{.channels = as_int(g.c / g.groups),
                   .h = as_int(g.h),
                   .w = as_int(g.w),
                   .m = as_int(g.k / g.groups),
                   .r = as_int(g.r),
                   .s = as_int(g.s),
                   .groups = as_int(g.groups),
                   .stride_h = as_int(g.stride_h),
                   .stride_w = as_int(g.stride_w),
                   .pad_h = as_int(g.pad_h),
                   .pad_w = as_int(g.pad_w),
                   .dilation_h = as_int(g.dilation_h),
                   .dilation_w = as_int(g.dilation_w),
                   .x_size = as_int(g.x_size()),
                   .y_size = as_int(g.y_size()),
                   .plane = as_int(g.p * g.q),
                   .pixels = as_int(pixels),
                   .part = as_int((pixels + l.parts - 1) / l.parts)};
  // Rows that share a launch share the memory for their parts too.
  const index_t most_rows = std::clamp<index_t>((index_t{1} << 26) / (size * l.parts), 1, kMaxRows);
  for (std::int32_t first = 0; first < gw.count; first += as_int(most_rows)) {
    const std::int32_t count = std::min(as_int(most_rows), gw.count - first);
    const Scratch sums(l.parts > 1 ? count * l.parts * size * sizeof(T) : 0);
    const Out<T> parts{sums.as<T>(), l.parts * size, nullptr, count, false};
    const auto to = device_rows(gw, first, count);
    with_tile<T>(l.way, [&]<class Tile>(Tile) {
      o.pixel = radix(as_int(g.p), as_int(g.q), Tile::kK);
      launch("weight_gradient", weight_gradient<Tile>, grid(l.blocks / l.parts, count, l.parts),
             Tile::kThreads, 0, o, device_rows(x, first, count), device_rows(gy, first, count),
             l.parts > 1 ? device_rows(parts, 0, count) : to);
    });
    if (l.parts > 1) {
      launch("sum_parts", sum_parts<T>, grid(blocks_for(size, kThreads), count), kThreads, 0, size,
             as_int(l.parts), sums.as<T>(), to);
    }
  }
}

// As rows of a product: the images of one array, and a matrix that they share.
template <class T>
Rows<T> images(T* base, index_t size, index_t n, bool accumulate = false) {
  return {base, size, nullptr, static_cast<std::int32_t>(n), accumulate};
}

template <class T>
void conv2d_forward(const ConvGeometry& g, const T* x, const T* weight, const T* bias, T* y) {
  const ConvLaunch l = conv_launch(g, ConvPass::forward, sizeof(T));
  check_size(g);
  if (l.way == ConvWay::blas) {
    if (bias) spread_bias(g.n, g.k, g.p * g.q, bias, y);
    multiply_rows<T>({false, false, g.k, g.p * g.q, g.c, images(weight, 0, g.n), g.c,
                      images(x, g.x_size(), g.n), g.p * g.q,
                      images(y, g.y_size(), g.n, bias != nullptr), g.p * g.q});
  } else if (l.way == ConvWay::direct) {
    conv2d_forward_naive(g, x, weight, bias, y);
  } else {
    const Correlation o{.channels = as_int(g.c / g.groups),
                        .h = as_int(g.h),
                        .w = as_int(g.w),
                        .m = as_int(g.k / g.groups),
                        .out_h = as_int(g.p),
                        .out_w = as_int(g.q),
                        .groups = as_int(g.groups),
                        .images = g.n,
                        .stride_h = as_int(g.stride_h),
                        .stride_w = as_int(g.stride_w),
                        .tap_h = as_int(g.dilation_h),
                        .tap_w = as_int(g.dilation_w),
                        .step_h = 1,
                        .step_w = 1,
                        .phases = {{0, 0, as_int(g.p), as_int(g.q), as_int(g.r), as_int(g.s),
                                    -as_int(g.pad_h), -as_int(g.pad_w)}}};
    launch_correlation<T>(l.way, o, 1, weight, bias, one_row(x), one_row(y));
  }
}

template <class T>
void conv2d_grad_input(const ConvGeometry& g, const T* weight, In<T> gy, Out<T> gx) {
  const ConvLaunch l = conv_launch(g, ConvPass::grad_input, sizeof(T));
  check_size(g);
  if (l.way == ConvWay::blas) {
    for (std::int32_t r = 0; r < gx.count; ++r) {
      multiply_rows<T>({true, false, g.c, g.h * g.w, g.k, images(weight, 0, g.n), g.c,
                        images(gy[r], g.y_size(), g.n), g.h * g.w,
                        images(gx[r], g.x_size(), g.n, gx.accumulate), g.h * g.w});
    }
  } else if (l.way == ConvWay::direct) {
    for_each_piece(gx.count, [&](std::int32_t first, std::int32_t count) {
      launch("grad_input_direct", grad_input_direct<T>, grid(l.blocks, count), kDirectThreads, 0, g,
             weight, device_rows(gy, first, count), device_rows(gx, first, count));
    });
  } else {
    grad_input_by_tiles(g, l.way, weight, gy, gx);
  }
}

template <class T>
void conv2d_grad_weight(const ConvGeometry& g, In<T> x, In<T> gy, Out<T> gw) {
  const ConvLaunch l = conv_launch(g, ConvPass::grad_weight, sizeof(T));
  check_size(g);
  if (l.way == ConvWay::blas) {
    multiply_rows<T>({false, true, g.k, g.c, g.p * g.q, gy, g.p * g.q, x, g.p * g.q, gw, g.c});
  } else if (l.way == ConvWay::direct) {
    for_each_piece(gw.count, [&](std::int32_t first, std::int32_t count) {
      launch("grad_weight_direct", grad_weight_direct<T>, grid(l.blocks, count), kDirectThreads, 0,
             g, device_rows(x, first, count), device_rows(gy, first, count),
             device_rows(gw, first, count));
    });
  } else {
    grad_weight_by_tiles(g, l, x, gy, gw);
  }
}

}  // namespace

template <class T>
void conv2d_forward_naive(const ConvGeometry& g, const T* x, const T* weight, const T* bias, T* y) {
  launch("forward_direct", forward_direct<T>,
         grid(g.n * g.k * blocks_for(g.p * g.q, kDirectThreads), 1), kDirectThreads, 0, g, x,
         weight, bias, y);
}
template void conv2d_forward_naive(const ConvGeometry&, const float*, const float*, const float*,
                                   float*);
template void conv2d_forward_naive(const ConvGeometry&, const double*, const double*, const double*,
                                   double*);

template <class T>
void set_conv(Kernels<T>& k) {
  k.conv2d_forward = conv2d_forward<T>;
  k.conv2d_grad_input = conv2d_grad_input<T>;
  k.conv2d_grad_weight = conv2d_grad_weight<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(conv)
