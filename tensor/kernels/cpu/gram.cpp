// The Gram matrix of T gradient rows in one pass over them.
//
// Columns are taken in blocks: the rows' elements of a block are converted to double into a panel
// that stays in cache, and tiles of kTile x kTile pairs of rows, on and above the diagonal only,
// run over the panel with their sums in registers. Products of floats are exact in double, so the
// result carries the rounding of the rows alone. The columns are cut into a number of chunks that
// does not depend on the threads; the chunks' sums are added up in order.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/simd.h>

#include <omp.h>

#include <algorithm>
#include <array>
#include <utility>

namespace concord::kernels::cpu {
namespace {

/// 4 x 4 sums and 4 + 1 operands fit 32 registers, 3 x 3 and 3 + 1 fit 16.
constexpr int kTile = kVectorBytes == 64 ? 4 : 3;
constexpr index_t kSumsPerTile = kTile * kTile;
/// Columns of a panel, a multiple of every vector length.
constexpr index_t kBlock = 256;
constexpr index_t kMostChunks = 32;

/// Adds the products of I rows `a` with J rows `b` of a panel to sums[i * J + j]. On the diagonal
/// (a = b) the pairs with j < i are left out.
template <int I, int J, bool Diagonal>
void tile(const double* a, const double* b, Doubles* sums) {
  Doubles s[I][J] = {};
  for (index_t at = 0; at < kBlock; at += kDoubles) {
    Doubles right[J];
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) right[j] = load_doubles(b + j * kBlock + at);
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i) {
      const Doubles left = Diagonal ? right[i] : load_doubles(a + i * kBlock + at);
#pragma GCC unroll 4
      for (int j = Diagonal ? i : 0; j < J; ++j) s[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < I; ++i)
    for (int j = 0; j < J; ++j) sums[i * J + j] += s[i][j];
}

using Tile = void (*)(const double*, const double*, Doubles*);

// kRectangles[(i - 1) * kTile + (j - 1)]: i rows against j others; kTriangles[i - 1]: i rows.
template <int... At>
constexpr std::array<Tile, sizeof...(At)> rectangles(std::integer_sequence<int, At...>) {
  return {tile<At / kTile + 1, At % kTile + 1, false>...};
}
template <int... At>
constexpr std::array<Tile, sizeof...(At)> triangles(std::integer_sequence<int, At...>) {
  return {tile<At + 1, At + 1, true>...};
}
constexpr auto kRectangles = rectangles(std::make_integer_sequence<int, kTile * kTile>{});
constexpr auto kTriangles = triangles(std::make_integer_sequence<int, kTile>{});

/// How the pairs of rows fall into tiles: bands of kTile rows, each against itself and those after.
struct Tiling {
  index_t rows, bands;
  explicit Tiling(index_t count) : rows(count), bands(pieces(count, kTile)) {}
  index_t tiles() const { return bands * (bands + 1) / 2; }
  int band_rows(index_t band) const {
    return static_cast<int>(std::min<index_t>(kTile, rows - band * kTile));
  }
  /// f(first band, second band, number of the tile).
  template <class F>
  void for_tiles(F f) const {
    index_t number = 0;
    for (index_t i = 0; i < bands; ++i)
      for (index_t j = i; j < bands; ++j) f(i, j, number++);
  }
};

/// Columns [first, first + n) of all rows as doubles [rows, kBlock], zeros after the n-th.
template <class T>
void pack(const In<T>& rows, index_t first, index_t n, double* panel) {
  for (std::int32_t r = 0; r < rows.count; ++r, panel += kBlock) {
    const T* from = rows[r] + first;
    for (index_t i = 0; i < n; ++i) panel[i] = from[i];
    std::fill(panel + n, panel + kBlock, 0.0);
  }
}

void add_products(const Tiling& tiling, const double* panel, Doubles* sums) {
  tiling.for_tiles([&](index_t i, index_t j, index_t number) {
    const int height = tiling.band_rows(i), width = tiling.band_rows(j);
    const Tile f = i == j ? kTriangles[width - 1] : kRectangles[(height - 1) * kTile + width - 1];
    f(panel + i * kTile * kBlock, panel + j * kTile * kBlock, sums + number * kSumsPerTile);
  });
}

}  // namespace

template <class T>
void gram(index_t n, In<T> rows, double* gram) {
  const index_t count = rows.count;
  const Tiling tiling(count);
  const index_t chunk = std::max<index_t>(1, pieces(pieces(n, kMostChunks), kBlock)) * kBlock;
  const index_t chunks = pieces(n, chunk);
  const index_t sums_per_chunk = tiling.tiles() * kSumsPerTile;
  // The allocator aligns blocks to 64 bytes, as Doubles asks for.
  const Tensor sums_memory = Tensor::zeros({chunks * sums_per_chunk * kDoubles}, DType::f64);
  const Tensor panels = Tensor::empty({omp_get_max_threads(), count * kBlock}, DType::f64);
  Doubles* const sums = reinterpret_cast<Doubles*>(sums_memory.data<double>());
  double* const panel_base = panels.data<double>();

#pragma omp parallel for schedule(static) if (n * count >= kParallelWork && chunks > 1)
  for (index_t c = 0; c < chunks; ++c) {
    double* const panel = panel_base + omp_get_thread_num() * count * kBlock;
    const index_t last = std::min(n, (c + 1) * chunk);
    for (index_t first = c * chunk; first < last; first += kBlock) {
      pack(rows, first, std::min(kBlock, last - first), panel);
      add_products(tiling, panel, sums + c * sums_per_chunk);
    }
  }

  tiling.for_tiles([&](index_t band_i, index_t band_j, index_t number) {
    const int height = tiling.band_rows(band_i), width = tiling.band_rows(band_j);
    for (int i = 0; i < height; ++i) {
      for (int j = band_i == band_j ? i : 0; j < width; ++j) {
        double total = 0;
        for (index_t c = 0; c < chunks; ++c) {
          total += sum_of_lanes(sums[c * sums_per_chunk + number * kSumsPerTile + i * width + j]);
        }
        const index_t row_i = band_i * kTile + i, row_j = band_j * kTile + j;
        gram[row_i * count + row_j] = gram[row_j * count + row_i] = total;
      }
    }
  });
}

template <class T>
void gram_naive(index_t n, In<T> rows, double* gram) {
  for (std::int32_t i = 0; i < rows.count; ++i) {
    for (std::int32_t j = 0; j < rows.count; ++j) {
      double total = 0;
      for (index_t k = 0; k < n; ++k) total += double{rows[i][k]} * rows[j][k];
      gram[i * rows.count + j] = total;
    }
  }
}

CONCORD_KERNEL_AND_NAIVE(gram)

}  // namespace concord::kernels::cpu
