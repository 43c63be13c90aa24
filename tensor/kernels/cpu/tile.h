// The register tile: the one inner loop that all matrix products of the CPU kernels share.
//
// A tile is up to kMaxRows rows times two vectors of columns, held in registers while the reduction
// index runs: c[i][j] += sum_k a[k][i] * b[k][j], one broadcast of a against two vectors of b. Each
// element is one chain of fused multiply-adds in the order of k. It is therefore the same number
// whichever tile it falls into, and however rows, columns and threads were cut: this is what makes
// R merged cotangent rows equal, bit for bit, R separate passes.
#pragma once

#include <concord/tensor/tensor.h>

#include <algorithm>

namespace concord::kernels::cpu {

// GCC's and clang's vector types; their width and the number of registers are the target's.
#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64, kMaxTileRows = 14;  // 28 accumulators of 32 registers
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32, kMaxTileRows = 6;  // 12 of 16
#elif defined(__aarch64__)
inline constexpr int kVectorBytes = 16, kMaxTileRows = 12;  // 24 of 32
#else
inline constexpr int kVectorBytes = 16, kMaxTileRows = 6;  // 12 of 16
#endif

template <class T>
struct Simd {
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int kWidth = 2 * kLanes;  ///< columns of a tile
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
};

/// The operands of one tile with `rows` rows.
template <class T>
struct Tile {
  const T* a;     ///< packed [steps][rows]
  const T* b[2];  ///< the two vectors of columns at the first step
  /// b moves through up to three nested loops, the innermost last: elements between steps ...
  index_t count[3] = {1, 1, 0};
  index_t stride[3] = {0, 0, Simd<T>::kWidth};
  /// ... or, where not null, step k of the innermost loop reads at b + offset[k].
  const index_t* offset = nullptr;
  T* c[2];      ///< the two vectors of row 0
  index_t ldc;  ///< elements between rows of c
  /// The sum starts from c itself, else from start[row], else (null) from zero.
  bool from_c = false;
  const T* start = nullptr;
};

/// Computes a tile of 1 <= rows <= kMaxTileRows rows.
template <class T>
void multiply_tile(int rows, const Tile<T>& tile);

/// `total` rows cut into tiles whose heights differ by at most one: as few as the height allows,
/// but `at_least` so many where there are enough rows.
struct TileRows {
  index_t total, tiles;
  explicit TileRows(index_t rows, index_t at_least = 1)
      : total(rows),
        tiles(std::max((rows + kMaxTileRows - 1) / kMaxTileRows, std::min(rows, at_least))) {}
  index_t first(index_t tile) const { return total * tile / tiles; }
  int height(index_t tile) const { return static_cast<int>(first(tile + 1) - first(tile)); }
};

/// Scratch memory from the caching allocator.
template <class T>
class Scratch {
 public:
  explicit Scratch(index_t size)
      : tensor_(Tensor::empty({std::max<index_t>(size, 1)}, dtype_of<T>)) {}
  T* data() const { return tensor_.data<T>(); }

 private:
  Tensor tensor_;
};

/// How many threads a region of `flops` operations deserves: entering a parallel region costs some
/// microseconds, so work under about 50 us stays with the caller.
int worthwhile_threads(index_t flops);

inline index_t round_up(index_t value, index_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// to[j * ld + i] = from[i * row_stride + j * column_stride].
template <class T>
void transpose(const T* from, index_t row_stride, index_t column_stride, index_t rows,
               index_t columns, T* to, index_t ld);

}  // namespace concord::kernels::cpu
