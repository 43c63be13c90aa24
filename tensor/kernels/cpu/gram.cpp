// The Gram matrix of T gradient rows in one pass over them.
//
// Columns are taken in blocks that stay in cache while tiles of kTile x kTile pairs of rows, on and
// above the diagonal only, run over them: each element is widened to double as it is loaded, and
// the sums stay in registers. Products of floats are exact in double, so the result carries the
// rounding of the rows alone. (Sums in float, even over a few elements at a time, do not do: on
// rows of equal values their rounding is the same every time and does not average out.) The columns
// are cut into a number of chunks that does not depend on the threads; the chunks' sums are added
// up in order.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/simd.h>

#include <omp.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace concord::kernels::cpu {
namespace {

/// 5 x 5 sums and 5 + 1 operands fit 32 registers, 3 x 3 and 3 + 1 fit 16.
constexpr int kTile = kVectorBytes == 64 ? 5 : 3;
constexpr index_t kSumsPerTile = kTile * kTile;
/// Columns of a block, a multiple of every vector length.
constexpr index_t kBlock = 512;
constexpr index_t kMostChunks = 32;

/// Which pairs of a tile are wanted: all, or those with j >= i, on the diagonal of the matrix;
/// `same`: there, the rows b are the rows a.
enum class Part { rectangle, triangle, triangle_same };

/// Adds the products of I rows `a` with J rows `b`, over `columns` columns from `first`, to
/// sums[i * J + j]. Tiles on the diagonal, which meet each row once, fetch the block that follows.
template <class T, int I, int J, Part part>
void tile(const T* const* a, const T* const* b, index_t first, index_t columns, Doubles* sums) {
  constexpr bool kTriangle = part != Part::rectangle;
  Doubles s[I][J] = {};
  for (index_t at = first; at < first + columns; at += kDoubles) {
    Doubles right[J];
#pragma GCC unroll 5
    for (int j = 0; j < J; ++j) {
      right[j] = load_doubles(b[j] + at);
      if (kTriangle) __builtin_prefetch(b[j] + at + kBlock);
    }
#pragma GCC unroll 5
    for (int i = 0; i < I; ++i) {
      const Doubles left = part == Part::triangle_same ? right[i] : load_doubles(a[i] + at);
#pragma GCC unroll 5
      for (int j = kTriangle ? i : 0; j < J; ++j) s[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < I; ++i)
    for (int j = 0; j < J; ++j) sums[i * J + j] += s[i][j];
}

template <class T>
using Tile = void (*)(const T* const*, const T* const*, index_t, index_t, Doubles*);

// kRectangles[(i - 1) * kTile + (j - 1)]: i rows against j others; kTriangles[i - 1]: i rows.
template <class T, int... At>
constexpr std::array<Tile<T>, sizeof...(At)> rectangles(std::integer_sequence<int, At...>) {
  return {tile<T, At / kTile + 1, At % kTile + 1, Part::rectangle>...};
}
template <class T, Part part, int... At>
constexpr std::array<Tile<T>, sizeof...(At)> triangles(std::integer_sequence<int, At...>) {
  return {tile<T, At + 1, At + 1, part>...};
}
template <class T>
constexpr auto kRectangles = rectangles<T>(std::make_integer_sequence<int, kTile * kTile>{});
template <class T, Part part>
constexpr auto kTriangles = triangles<T, part>(std::make_integer_sequence<int, kTile>{});

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

/// The rows' first elements, and rows that hold what is left after the last whole block, with zeros
/// up to a multiple of the vector length.
template <class T>
class Operand {
 public:
  Operand(In<T> rows, index_t whole, index_t rest)
      : columns_((rest + kDoubles - 1) / kDoubles * kDoubles),
        memory_(Tensor::empty({rows.count * (kPointers + columns_)}, DType::f64)),
        rows_(reinterpret_cast<const T**>(memory_.raw())),
        rests_(rows_ + rows.count) {
    T* to = reinterpret_cast<T*>(rests_ + rows.count);
    for (std::int32_t r = 0; r < rows.count; ++r, to += columns_) {
      rows_[r] = rows[r];
      rests_[r] = to;
      std::copy_n(rows[r] + whole, rest, to);
      std::fill_n(to + rest, columns_ - rest, T{});
    }
  }
  const T* const* rows() const { return rows_; }
  const T* const* rests() const { return rests_; }
  index_t rest_columns() const { return columns_; }

 private:
  static constexpr index_t kPointers = 2;  // per row; a pointer takes no more than a double
  index_t columns_;
  Tensor memory_;
  const T **rows_, **rests_;
};

/// out[i, j] = out[j, i] = <a_i, b_j> for j >= i; `part` says whether b is a.
template <class T, Part part>
void products(index_t n, In<T> a, In<T> b, double* out) {
  const index_t count = a.count;
  const Tiling tiling(count);
  const index_t chunk = std::max<index_t>(1, pieces(pieces(n, kMostChunks), kBlock)) * kBlock;
  const index_t chunks = pieces(n, chunk);
  const index_t sums_per_chunk = tiling.tiles() * kSumsPerTile;
  // The allocator aligns blocks to 64 bytes, as Doubles asks for.
  const Tensor sums_memory = Tensor::zeros({chunks * sums_per_chunk * kDoubles}, DType::f64);
  Doubles* const sums = reinterpret_cast<Doubles*>(sums_memory.data<double>());
  const index_t whole = n / kBlock * kBlock;
  const Operand<T> left(a, whole, n - whole);
  std::optional<Operand<T>> other;
  if (part == Part::triangle) other.emplace(b, whole, n - whole);
  const Operand<T>& right = other ? *other : left;

  const auto add = [&](const T* const* x, const T* const* y, index_t first, index_t columns,
                       Doubles* to) {
    tiling.for_tiles([&](index_t i, index_t j, index_t number) {
      const int height = tiling.band_rows(i), width = tiling.band_rows(j);
      const Tile<T> f = i == j ? kTriangles<T, part>[width - 1]
                               : kRectangles<T>[(height - 1) * kTile + width - 1];
      f(x + i * kTile, y + j * kTile, first, columns, to + number * kSumsPerTile);
    });
  };
  parallel_for(n * count >= kParallelWork && chunks > 1, chunks, [&](index_t c) {
    const index_t end = std::min(whole, (c + 1) * chunk);
    for (index_t first = c * chunk; first < end; first += kBlock)
      add(left.rows(), right.rows(), first, kBlock, sums + c * sums_per_chunk);
  });
  if (left.rest_columns() > 0) {
    add(left.rests(), right.rests(), 0, left.rest_columns(), sums + (chunks - 1) * sums_per_chunk);
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
        out[row_i * count + row_j] = out[row_j * count + row_i] = total;
      }
    }
  });
}

/// x as doubles, in the order given by the strides.
template <class T>
void widen(index_t rows, index_t columns, const T* x, index_t row_stride, index_t column_stride,
           double* to) {
  parallel_for(rows * columns >= kParallelWork, rows, [&](index_t i) {
    for (index_t j = 0; j < columns; ++j)
      to[i * columns + j] = x[i * row_stride + j * column_stride];
  });
}

}  // namespace

template <class T>
void gram(index_t n, In<T> rows, double* gram) {
  products<T, Part::triangle_same>(n, rows, rows, gram);
}

template <class T>
void gram_naive(index_t n, In<T> rows, double* gram) {
  for (std::int32_t i = 0; i < rows.count; ++i) {
    for (std::int32_t j = 0; j < rows.count; ++j) {
      double total = 0;
      for (index_t k = 0; k < n; ++k) total += double(rows[i][k]) * double(rows[j][k]);
      gram[i * rows.count + j] = total;
    }
  }
}

// The gradient of row r is W_r = dY_rᵀ X, with dY_r [n, out] and X [n, in]. So
//   <W_i, W_j> = tr(Xᵀ dY_i dY_jᵀ X) = <dY_i, K dY_j>,  K = X Xᵀ [n, n],
// which needs no W and costs n / in of what forming them does. All in double: where the samples'
// contributions to a gradient cancel, they do so after squaring here.
template <class T>
void linear_gram(const LinearGeometry& g, const T* x, In<T> gy, double* gram) {
  constexpr index_t kMostElements = index_t{1} << 19;  // of the two buffers below: 4 MiB each
  const index_t count = gy.count, n = g.n;
  std::fill_n(gram, count * count, 0.0);
  if (n == 0 || g.in == 0 || g.out == 0) return;
  const index_t width = std::clamp<index_t>(kMostElements / (count * n), 1, g.out);
  const Tensor memory =
      Tensor::empty({n * g.in + n * n + 2 * count * width * n + count * count}, DType::f64);
  double* const wide = memory.data<double>();
  double* const k = wide + n * g.in;
  double* const left = k + n * n;                  // dY of some columns: [count][width][n]
  double* const right = left + count * width * n;  // the same times K
  double* const part = right + count * width * n;
  widen(n, g.in, x, g.in, 1, wide);
  linear_forward<double>({n, g.in, n}, wide, wide, nullptr, k);
  for (index_t first = 0; first < g.out; first += width) {
    const index_t columns = std::min(width, g.out - first), length = columns * n;
    for (std::int32_t r = 0; r < count; ++r)
      widen(columns, n, gy[r] + first, 1, g.out, left + r * length);
    linear_forward<double>({count * columns, n, n}, left, k, nullptr, right);
    products<double, Part::triangle>(length, {left, length, nullptr, gy.count},
                                     {right, length, nullptr, gy.count}, part);
    for (index_t i = 0; i < count * count; ++i) gram[i] += part[i];
  }
}

template <class T>
void linear_gram_naive(const LinearGeometry& g, const T* x, In<T> gy, double* gram) {
  std::vector<double> rows(static_cast<std::size_t>(gy.count * g.in * g.out));
  std::vector<double> wide(x, x + g.n * g.in);
  for (std::int32_t r = 0; r < gy.count; ++r) {
    const std::vector<double> cotangent(gy[r], gy[r] + g.n * g.out);
    linear_grad_weight_naive<double>(g, one_row<const double>(wide.data()),
                                     one_row<const double>(cotangent.data()),
                                     one_row(rows.data() + r * g.in * g.out));
  }
  gram_naive<double>(g.in * g.out, {rows.data(), g.in * g.out, nullptr, gy.count}, gram);
}

template <class T>
void round_rows(index_t n, In<T> from, Rows<BFloat16> to) {
  for (std::int32_t r = 0; r < from.count; ++r) {
    const T* x = from[r];
    BFloat16* y = to[r];
    for_pieces(n, n, [&](index_t first, index_t count) {
      for (index_t i = first; i < first + count; ++i) y[i] = BFloat16(static_cast<float>(x[i]));
    });
  }
}

template <class T>
void widen_rows(index_t n, In<BFloat16> from, Out<T> to) {
  for (std::int32_t r = 0; r < from.count; ++r) {
    const BFloat16* x = from[r];
    T* y = to[r];
    for_pieces(n, n, [&](index_t first, index_t count) {
      for (index_t i = first; i < first + count; ++i) y[i] = static_cast<float>(x[i]);
    });
  }
}

CONCORD_KERNEL_AND_NAIVE(gram)
template void gram<BFloat16>(index_t, In<BFloat16>, double*);
template void gram_naive<BFloat16>(index_t, In<BFloat16>, double*);
CONCORD_KERNEL_AND_NAIVE(linear_gram)
CONCORD_KERNEL(round_rows)
CONCORD_KERNEL(widen_rows)

}  // namespace concord::kernels::cpu
