#include <concord/tensor/kernels/cpu/tile.h>

#include <omp.h>

#include <array>
#include <cstring>
#include <utility>

namespace concord::kernels::cpu {
namespace {

template <class T>
typename Simd<T>::Vector load(const T* p) {
  typename Simd<T>::Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
void store(T* p, typename Simd<T>::Vector v) {
  std::memcpy(p, &v, sizeof v);
}

// The accumulators of the last kRows rows of a tile: members of nested structs rather than an
// array, because compilers keep the former in registers throughout and an indexed array sometimes
// not.
template <class T, int kRows>
struct Sums {
  using Vector = typename Simd<T>::Vector;
  Vector left, right;
  Sums<T, kRows - 1> below;

  void load_from(const T* c0, const T* c1, index_t ldc) {
    left = load(c0);
    right = load(c1);
    below.load_from(c0 + ldc, c1 + ldc, ldc);
  }
  void start_from(const T* start) {
    left = right = Vector{} + *start;
    below.start_from(start + 1);
  }
  void clear() {
    left = right = Vector{};
    below.clear();
  }
  void add(const T* a, Vector b0, Vector b1) {
    left += *a * b0;
    right += *a * b1;
    below.add(a + 1, b0, b1);
  }
  void store_to(T* c0, T* c1, index_t ldc) const {
    store(c0, left);
    store(c1, right);
    below.store_to(c0 + ldc, c1 + ldc, ldc);
  }
};

template <class T>
struct Sums<T, 0> {
  using Vector = typename Simd<T>::Vector;
  void load_from(const T*, const T*, index_t) {}
  void start_from(const T*) {}
  void clear() {}
  void add(const T*, Vector, Vector) {}
  void store_to(T*, T*, index_t) const {}
};

template <class T, int kRows>
void multiply(const Tile<T>& tile) {
  Sums<T, kRows> sums;
  if (tile.from_c) {
    sums.load_from(tile.c[0], tile.c[1], tile.ldc);
  } else if (tile.start) {
    sums.start_from(tile.start);
  } else {
    sums.clear();
  }
  const T* a = tile.a;
  if (tile.offset) {
    const T *b0 = tile.b[0], *b1 = tile.b[1];
    for (index_t k = 0; k < tile.count[2]; ++k, a += kRows) {
      const index_t at = tile.offset[k];
      sums.add(a, load(b0 + at), load(b1 + at));
    }
  } else {
    const T* outer = tile.b[0];
    const index_t apart = tile.b[1] - tile.b[0], stride = tile.stride[2];
    for (index_t x = tile.count[0]; x > 0; --x, outer += tile.stride[0]) {
      const T* inner = outer;
      for (index_t y = tile.count[1]; y > 0; --y, inner += tile.stride[1]) {
        const T* b = inner;
        for (index_t k = tile.count[2]; k > 0; --k, a += kRows, b += stride) {
          sums.add(a, load(b), load(b + apart));
        }
      }
    }
  }
  sums.store_to(tile.c[0], tile.c[1], tile.ldc);
}

// An 8 x 8 block in registers: three rounds, each of which interleaves row i with row i + 4.
template <class T>
void transpose_block(const T* from, index_t row_stride, T* to, index_t ld) {
  typedef T Row __attribute__((vector_size(8 * sizeof(T))));
  Row a[8], b[8];
  for (int i = 0; i < 8; ++i) std::memcpy(&a[i], from + i * row_stride, sizeof(Row));
  const auto interleave = [](const Row* in, Row* out) {
    for (int i = 0; i < 4; ++i) {
      out[2 * i] = __builtin_shufflevector(in[i], in[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      out[2 * i + 1] = __builtin_shufflevector(in[i], in[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
  };
  interleave(a, b);
  interleave(b, a);
  interleave(a, b);
  for (int j = 0; j < 8; ++j) std::memcpy(to + j * ld, &b[j], sizeof(Row));
}

template <class T, int... kIndex>
constexpr auto make_table(std::integer_sequence<int, kIndex...>) {
  return std::array<void (*)(const Tile<T>&), sizeof...(kIndex)>{multiply<T, kIndex + 1>...};
}

}  // namespace

template <class T>
void multiply_tile(int rows, const Tile<T>& tile) {
  static constexpr auto kByRows = make_table<T>(std::make_integer_sequence<int, kMaxTileRows>());
  kByRows[rows - 1](tile);
}

template <class T>
void transpose(const T* from, index_t row_stride, index_t column_stride, index_t rows,
               index_t columns, T* to, index_t ld) {
  if (rows < 8 || columns < 8 || column_stride != 1) {
    for (index_t j = 0; j < columns; ++j) {
      for (index_t i = 0; i < rows; ++i) {
        to[j * ld + i] = from[i * row_stride + j * column_stride];
      }
    }
    return;
  }
  // The last block of a row or column overlaps the one before it where 8 does not divide.
  for (index_t top = 0; top < rows; top += 8) {
    const index_t i = std::min(top, rows - 8);
    for (index_t first = 0; first < columns; first += 8) {
      const index_t j = std::min(first, columns - 8);
      transpose_block(from + i * row_stride + j, row_stride, to + j * ld + i, ld);
    }
  }
}

int worthwhile_threads(index_t flops) {
  constexpr index_t kFlopsAlone = 6'000'000;
  return flops < kFlopsAlone || omp_in_parallel() ? 1 : omp_get_max_threads();
}

template void multiply_tile(int, const Tile<float>&);
template void multiply_tile(int, const Tile<double>&);
template void transpose(const float*, index_t, index_t, index_t, index_t, float*, index_t);
template void transpose(const double*, index_t, index_t, index_t, index_t, double*, index_t);

}  // namespace concord::kernels::cpu
