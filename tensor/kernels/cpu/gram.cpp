// The Gram matrix of T gradient rows in one pass over them.
//
// Columns are taken in blocks small enough for T rows of one block to stay in cache; within a block a
// tile of kTile x kTile pairs of rows keeps its sums in registers, and only tiles on or above the
// diagonal are computed. Products of floats are exact in double and sums are in double, so that the
// result carries the rounding of the rows alone. The columns are cut into a number of chunks that
// does not depend on the threads; chunks are added up in order.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/simd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace concord::kernels::cpu {
namespace {

/// Tile edge: 4 x 4 sums, 4 + 1 operands fit 32 registers; 3 x 3 and 3 + 1 fit 16.
constexpr int kTile = kVectorBytes == 64 ? 4 : 3;

/// Adds the products of I rows `a` with J rows `b` over n columns (a multiple of kDoubles) to the
/// lanes of sums[i * J + j]. On the diagonal (a = b) pairs with j < i are left out.
template <class T, int I, int J, bool Diagonal>
void tile(index_t n, const T* const* a, const T* const* b, Doubles* sums) {
  Doubles s[I][J];
  for (int i = 0; i < I; ++i)
    for (int j = 0; j < J; ++j) s[i][j] = sums[i * J + j];
  for (index_t at = 0; at < n; at += kDoubles) {
    Doubles right[J];
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) right[j] = load_doubles(b[j] + at);
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i) {
      const Doubles left = Diagonal ? right[i] : load_doubles(a[i] + at);
#pragma GCC unroll 4
      for (int j = Diagonal ? i : 0; j < J; ++j) s[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < I; ++i)
    for (int j = 0; j < J; ++j) sums[i * J + j] = s[i][j];
}

template <class T> using Tile = void (*)(index_t, const T* const*, const T* const*, Doubles*);

/// tiles<T>[(i - 1) * kTile + (j - 1)]: i rows against j others.
template <class T, int... At>
constexpr std::array<Tile<T>, sizeof...(At)> rectangles(std::integer_sequence<int, At...>) {
  return {tile<T, At / kTile + 1, At % kTile + 1, false>...};
}
template <class T, int... At>
constexpr std::array<Tile<T>, sizeof...(At)> triangles(std::integer_sequence<int, At...>) {
  return {tile<T, At + 1, At + 1, true>...};
}

/// How the pairs of `rows` rows fall into tiles.
struct Tiling {
  index_t rows, bands;
  explicit Tiling(index_t count) : rows(count), bands(pieces(count, kTile)) {}
  int band_rows(index_t band) const {
    return static_cast<int>(std::min<index_t>(kTile, rows - band * kTile));
  }
  /// f(first band, second band) for each tile on or above the diagonal.
  template <class F> void for_tiles(F f) const {
    for (index_t i = 0; i < bands; ++i)
      for (index_t j = i; j < bands; ++j) f(i, j);
  }
  index_t tiles() const { return bands * (bands + 1) / 2; }
};

constexpr index_t kSumsPerTile = kTile * kTile;

/// Adds the products over columns [first, first + n) to sums [tiles, kTile * kTile] of lanes.
template <class T>
void gram_of_block(const Tiling& tiling, const In<T>& rows, index_t first, index_t n,
                   Doubles* sums) {
  static constexpr auto kRectangles =
      rectangles<T>(std::make_integer_sequence<int, kTile * kTile>{});
  static constexpr auto kTriangles = triangles<T>(std::make_integer_sequence<int, kTile>{});
  const auto pointers = [&](index_t band) {
    std::array<const T*, kTile> p{};
    for (int i = 0; i < tiling.band_rows(band); ++i) {
      p[i] = rows[static_cast<std::int32_t>(band * kTile + i)] + first;
    }
    return p;
  };
  tiling.for_tiles([&](index_t i, index_t j) {
    const auto a = pointers(i), b = pointers(j);
    const int height = tiling.band_rows(i), width = tiling.band_rows(j);
    const Tile<T> f = i == j ? kTriangles[width - 1] : kRectangles[(height - 1) * kTile + width - 1];
    f(n, a.data(), b.data(), sums);
    sums += kSumsPerTile;
  });
}

}  // namespace

template <class T> void gram(index_t n, In<T> rows, double* gram) {
  const index_t count = rows.count;
  const Tiling tiling(count);
  // T rows of a block take about half of a first-level cache... or of a second-level one when T is
  // large.
  constexpr index_t kMostChunks = 32;
  const index_t block = 1024;
  const index_t chunk = std::max(block, pieces(pieces(n, kMostChunks), block) * block);
  const index_t chunks = std::max<index_t>(pieces(n, chunk), 1);
  const index_t sums_per_chunk = tiling.tiles() * kSumsPerTile;
  const Tensor scratch = Tensor::zeros({chunks * sums_per_chunk * kDoubles}, DType::f64);
  // Blocks come 64-byte aligned from the allocator.
  Doubles* const all_sums = reinterpret_cast<Doubles*>(scratch.data<double>());

#pragma omp parallel for schedule(static) if (n * count >= kParallelWork && chunks > 1)
  for (index_t c = 0; c < chunks; ++c) {
    const index_t last = std::min(n, (c + 1) * chunk);
    for (index_t first = c * chunk; first < last; first += block) {
      const index_t whole = std::min(block, last - first) / kDoubles * kDoubles;
      gram_of_block(tiling, rows, first, whole, all_sums + c * sums_per_chunk);
    }
  }

  const index_t tail = n / kDoubles * kDoubles;  // the last n % kDoubles columns go one by one
  index_t at = 0;
  tiling.for_tiles([&](index_t band_i, index_t band_j) {
    const int width = tiling.band_rows(band_j);
    for (int i = 0; i < tiling.band_rows(band_i); ++i) {
      for (int j = 0; j < width; ++j) {
        const index_t row_i = band_i * kTile + i, row_j = band_j * kTile + j;
        if (row_j < row_i) continue;
        double total = 0;
        for (index_t c = 0; c < chunks; ++c) {
          total += sum_of_lanes(all_sums[c * sums_per_chunk + at + i * width + j]);
        }
        const T* a = rows[static_cast<std::int32_t>(row_i)];
        const T* b = rows[static_cast<std::int32_t>(row_j)];
        for (index_t k = tail; k < n; ++k) total += double{a[k]} * b[k];
        gram[row_i * count + row_j] = gram[row_j * count + row_i] = total;
      }
    }
    at += kSumsPerTile;
  });
}

template <class T> void gram_naive(index_t n, In<T> rows, double* gram) {
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
