// The Gram matrix of T gradient rows.
//
// A block takes a chunk of the columns and a tile of K x K pairs of rows. A thread walks its chunk
// with a stride of one block, so that a warp reads 128 neighbouring bytes of each row, widens every
// element to double once and adds its K x K products to sums in registers; products of floats are
// exact in double. At the end of the chunk the block adds up its threads' sums by a tree, and a
// second kernel those of the chunks. Chunks depend on the columns alone: an entry is the same
// number whatever the other rows are and whichever tile it falls into; fma is spelt out, so that
// the compiler does not round differently in one of them.
//
// Up to kOnePass rows make one tile, on and above the diagonal only: one pass over the rows, at the
// speed of the memory (8 rows need 36 products for 32 bytes, a quarter of what an H100 multiplies
// in double while it reads them). More rows are cut into bands of equal height, at most kTile; the
// tiles of a chunk are neighbours in the grid, so that all but the first read its rows from the L2
// cache.
#include <concord/tensor/kernels/cuda/block_sum.h>
#include <concord/tensor/kernels/cuda/gemm.h>
#include <concord/tensor/kernels/cuda/launch.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <array>
#include <cmath>
#include <utility>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kOnePass = 8, kTile = 6;
constexpr index_t kMostChunks = 1024;
constexpr index_t kLeastChunk = 8 * kThreads;

/// Columns cut into chunks of whole blocks of threads.
struct Chunks {
  index_t columns, chunk, count;
  explicit Chunks(index_t n) : columns(n) {
    const index_t least = std::max(kLeastChunk, (n + kMostChunks - 1) / kMostChunks);
    chunk = (least + kThreads - 1) / kThreads * kThreads;
    count = (n + chunk - 1) / chunk;
  }
};

/// How the pairs of a rows with b rows fall into tiles of height x height.
struct Tiling {
  int a_rows, b_rows, height;
  bool upper;  ///< only pairs (i, j) with j >= i are wanted

  __host__ __device__ int a_bands() const { return (a_rows + height - 1) / height; }
  __host__ __device__ int b_bands() const { return (b_rows + height - 1) / height; }
  __host__ __device__ int tiles() const {
    return upper ? a_bands() * (a_bands() + 1) / 2 : a_bands() * b_bands();
  }
  /// The bands of a tile: row by row, in an upper triangle from the diagonal on.
  __device__ void bands(int tile, int& a, int& b) const {
    a = 0;
    int length = b_bands();
    for (; tile >= length; ++a) {
      tile -= length;
      if (upper) --length;
    }
    b = tile + (upper ? a : 0);
  }
};

/// The height of bands for `rows` rows: as few bands of at most kTile as possible, all alike.
int band_height(int rows) {
  const int bands = (rows + kTile - 1) / kTile;
  return (rows + bands - 1) / bands;
}

/// sums[(tile K K + i K + j) chunks + chunk] = <a_i, b_j> over the chunk, for the rows of the tile;
/// the triangle: b = a, one tile, j >= i only. Bands that are not full repeat the last row; nobody
/// reads those sums.
template <class T, int K, bool kTriangle>
__global__ void products_kernel(Chunks chunks, Tiling tiling, DeviceRows<const T> a,
                                DeviceRows<const T> b, double* __restrict__ sums) {
  // Loads under way at once: enough of them hide the memory's latency, more cost registers.
  [[maybe_unused]] constexpr int kSteps = kTriangle ? std::max(2, 8 / K) : 1;
  int a_band = 0, b_band = 0;
  if (!kTriangle) tiling.bands(blockIdx.x, a_band, b_band);
  const T *left[K], *right[K];
#pragma unroll
  for (int i = 0; i < K; ++i) {
    left[i] = a[min(a_band * K + i, tiling.a_rows - 1)];
    right[i] = b[min(b_band * K + i, tiling.b_rows - 1)];
  }
  double s[K][K] = {};
  const index_t first = blockIdx.y * chunks.chunk;
  const index_t last = min(first + chunks.chunk, chunks.columns);
#pragma unroll kSteps
  for (index_t at = first + threadIdx.x; at < last; at += kThreads) {
    double x[K], y[K];
#pragma unroll
    for (int i = 0; i < K; ++i) {
      x[i] = static_cast<double>(left[i][at]);
      y[i] = kTriangle ? x[i] : static_cast<double>(right[i][at]);
    }
#pragma unroll
    for (int i = 0; i < K; ++i) {
#pragma unroll
      for (int j = kTriangle ? i : 0; j < K; ++j) s[i][j] = std::fma(x[i], y[j], s[i][j]);
    }
  }

  CONCORD_SHARED(double, partial, [kWarps][K * K]);
#pragma unroll
  for (int i = 0; i < K; ++i) {
#pragma unroll
    for (int j = kTriangle ? i : 0; j < K; ++j) {
      const double sum = warp_sum(s[i][j]);
      if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp][i * K + j] = sum;
    }
  }
  __syncthreads();
  const int pair = threadIdx.x;
  if (pair >= K * K || (kTriangle && pair % K < pair / K)) return;
  double sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += partial[w][pair];
  sums[(index_t{blockIdx.x} * (K * K) + pair) * chunks.count + blockIdx.y] = sum;
}

/// gram[i, j] = gram[j, i] (+)= the sum over the chunks, of pair (i, j) of this piece's rows; a
/// warp takes one pair.
__global__ void gram_kernel(index_t chunks, Tiling tiling, const double* __restrict__ sums,
                            int a_first, int b_first, int count, bool accumulate, double* gram) {
  const int pair = blockIdx.x * kWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int height = tiling.height, per_tile = height * height;
  if (pair >= tiling.tiles() * per_tile) return;  // the whole warp, as below
  int a_band, b_band;
  tiling.bands(pair / per_tile, a_band, b_band);
  const int i = a_band * height + pair % per_tile / height, j = b_band * height + pair % height;
  if (i >= tiling.a_rows || j >= tiling.b_rows || (tiling.upper && j < i)) return;
  double sum = 0;
  for (index_t c = lane; c < chunks; c += kWarp) sum += sums[pair * chunks + c];
  sum = warp_sum(sum);
  if (lane != 0) return;
  const index_t row = a_first + i, column = b_first + j;
  if (accumulate) sum += gram[row * count + column];
  gram[row * count + column] = gram[column * count + row] = sum;
}

template <class T>
using ProductsKernel = void (*)(Chunks, Tiling, DeviceRows<const T>, DeviceRows<const T>, double*);
template <class T, bool kTriangle, int... At>
constexpr std::array<ProductsKernel<T>, sizeof...(At)> products_kernels(
    std::integer_sequence<int, At...>) {
  return {products_kernel<T, At + 1, kTriangle>...};
}
/// Kernels for tiles of 1, 2 ... rows: kTriangles<T>[K - 1].
template <class T>
constexpr auto kTriangles = products_kernels<T, true>(std::make_integer_sequence<int, kOnePass>{});
template <class T>
constexpr auto kSquares = products_kernels<T, false>(std::make_integer_sequence<int, kTile>{});

/// gram[i, j] = gram[j, i] (+)= <a_i, b_j> for j >= i; `same`: b is a.
template <class T>
void products(index_t n, In<T> a, In<T> b, bool same, bool accumulate, double* gram) {
  const Chunks chunks(n);
  const auto chunk_count = static_cast<unsigned>(chunks.count);
  for_each_piece(a.count, [&](std::int32_t a_first, std::int32_t a_rows) {
    for_each_piece(b.count, [&](std::int32_t b_first, std::int32_t b_rows) {
      if (b_first < a_first) return;
      const bool triangle = same && a.count <= kOnePass;
      const Tiling tiling{a_rows, b_rows, triangle ? a_rows : band_height(std::max(a_rows, b_rows)),
                          a_first == b_first};
      const index_t pairs = index_t{tiling.tiles()} * tiling.height * tiling.height;
      const Scratch sums(static_cast<std::size_t>(pairs * chunks.count) * sizeof(double));
      launch("gram", triangle ? kTriangles<T>[a_rows - 1] : kSquares<T>[tiling.height - 1],
             dim3(static_cast<unsigned>(tiling.tiles()), chunk_count), kThreads, 0, chunks, tiling,
             device_rows(a, a_first, a_rows), device_rows(b, b_first, b_rows), sums.as<double>());
      launch("gram, over chunks", gram_kernel, blocks_for(pairs, kWarps), kThreads, 0, chunks.count,
             tiling, sums.as<double>(), a_first, b_first, a.count, accumulate, gram);
    });
  });
}

constexpr int kConvertThreads = 256;

/// to_r = from_r; one of the two is bfloat16.
template <class From, class To>
__global__ void convert_rows_kernel(index_t n, DeviceRows<const From> from, DeviceRows<To> to) {
  const index_t i = index_t{blockIdx.x} * kConvertThreads + threadIdx.x;
  if (i >= n) return;
  const From* x = from[blockIdx.y];
  to[blockIdx.y][i] = static_cast<To>(static_cast<float>(x[i]));
}

template <class From, class To>
void convert_rows(const char* name, index_t n, In<From> from, Out<To> to) {
  for_each_piece(from.count, [&](std::int32_t first, std::int32_t rows) {
    launch(name, convert_rows_kernel<From, To>, dim3(blocks_for(n, kConvertThreads), rows),
           kConvertThreads, 0, n, device_rows(from, first, rows), device_rows(to, first, rows));
  });
}

/// to_r [n, width] = columns first to first + width of from_r [n, length], as doubles.
template <class T>
__global__ void widen_columns_kernel(index_t n, index_t length, index_t first, index_t width,
                                     DeviceRows<const T> from, DeviceRows<double> to) {
  const index_t i = index_t{blockIdx.x} * kConvertThreads + threadIdx.x;
  if (i >= n * width) return;
  to[blockIdx.y][i] = static_cast<double>(from[blockIdx.y][i / width * length + first + i % width]);
}

template <class T>
void gram(index_t n, In<T> rows, double* gram) {
  products<T>(n, rows, rows, true, false, gram);
}

// <W_i, W_j> = <dY_i, K dY_j> with K = X Xᵀ [n, n], all in double, as on the CPU.
template <class T>
void linear_gram(const LinearGeometry& g, const T* x, In<T> gy, double* gram) {
  constexpr index_t kMostElements = index_t{1} << 22;  // of dY and K dY: 32 MiB each
  const index_t count = gy.count, n = g.n;
  if (n == 0 || g.in == 0 || g.out == 0) {
    products<T>(0, gy, gy, true, false, gram);
    return;
  }
  const index_t width = std::clamp<index_t>(kMostElements / (count * n), 1, g.out);
  const Scratch memory(static_cast<std::size_t>(n * g.in + n * n + 2 * count * n * width) *
                       sizeof(double));
  double* const wide = memory.as<double>();        // X
  double* const k = wide + n * g.in;               // K
  double* const left = k + n * n;                  // dY of some columns: [count][n][width]
  double* const right = left + count * n * width;  // K dY of those columns
  const auto widen = [&](index_t length, index_t first, index_t columns, In<T> from, double* to) {
    for_each_piece(from.count, [&](std::int32_t row, std::int32_t rows) {
      const Rows<double> wider{to, n * columns, nullptr, from.count};
      launch("linear_gram, widening", widen_columns_kernel<T>,
             dim3(blocks_for(n * columns, kConvertThreads), rows), kConvertThreads, 0, n, length,
             first, columns, device_rows(from, row, rows), device_rows(wider, row, rows));
    });
  };
  widen(g.in, 0, g.in, one_row(x), wide);
  const In<double> samples = one_row<const double>(wide);
  multiply_rows<double>({false, true, n, n, g.in, samples, g.in, samples, g.in, one_row(k), n});
  for (index_t first = 0; first < g.out; first += width) {
    const index_t columns = std::min(width, g.out - first), length = n * columns;
    widen(g.out, first, columns, gy, left);
    const Rows<double> seeds{left, length, nullptr, gy.count};
    const Rows<double> weighted{right, length, nullptr, gy.count};
    const In<double> shared{k, 0, nullptr, gy.count};
    multiply_rows<double>(
        {false, false, n, columns, n, shared, n, seeds, columns, weighted, columns});
    products<double>(length, seeds, weighted, false, first > 0, gram);
  }
}

template <class T>
void round_rows(index_t n, In<T> from, Rows<BFloat16> to) {
  convert_rows<T, BFloat16>("round_rows", n, from, to);
}

template <class T>
void widen_rows(index_t n, In<BFloat16> from, Out<T> to) {
  convert_rows<BFloat16, T>("widen_rows", n, from, to);
}

}  // namespace

template <class T>
void set_gram(Kernels<T>& k) {
  k.gram = gram<T>;
  k.gram_bf16 = gram<BFloat16>;
  k.linear_gram = linear_gram<T>;
  k.round_rows = round_rows<T>;
  k.widen_rows = widen_rows<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(gram)
