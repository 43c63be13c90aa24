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
  const T* outer = tile.b;
  const index_t stride = tile.stride[2];
  for (index_t x = tile.count[0]; x > 0; --x, outer += tile.stride[0]) {
    const T* inner = outer;
    for (index_t y = tile.count[1]; y > 0; --y, inner += tile.stride[1]) {
      const T* b = inner;
      for (index_t k = tile.count[2]; k > 0; --k, a += kRows, b += stride) {
        sums.add(a, load(b), load(b + Simd<T>::kLanes));
      }
    }
  }
  sums.store_to(tile.c[0], tile.c[1], tile.ldc);
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

int worthwhile_threads(index_t flops) {
  constexpr index_t kFlopsAlone = 6'000'000;
  return flops < kFlopsAlone || omp_in_parallel() ? 1 : omp_get_max_threads();
}

template void multiply_tile(int, const Tile<float>&);
template void multiply_tile(int, const Tile<double>&);

}  // namespace concord::kernels::cpu
