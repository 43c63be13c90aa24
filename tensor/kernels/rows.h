// Rows: how a kernel sees R cotangents at once. Every vector-Jacobian product in concord is written
// for R >= 1 rows (one per task); ordinary backpropagation is R = 1.
#pragma once

#include <concord/tensor/types.h>

#include <type_traits>

namespace concord::kernels {

/// R arrays of equal length at base + map[r] * stride (map null: r * stride). A stride of 0 means
/// that all rows share one operand: pack it once. `accumulate` is for outputs: add instead of
/// write.
template <class T>
struct Rows {
  T* base = nullptr;
  index_t stride = 0;                 ///< elements between neighbouring rows
  const std::int32_t* map = nullptr;  ///< place of row r, or null for r itself
  std::int32_t count = 0;             ///< R
  bool accumulate = false;

  T* operator[](std::int32_t r) const { return base + (map ? map[r] : r) * stride; }
  explicit operator bool() const { return base != nullptr; }
  /// Row r alone.
  Rows one(std::int32_t r) const { return {(*this)[r], 0, nullptr, 1, accumulate}; }
  template <class U>
  requires(std::is_same_v<U, const T> && !std::is_const_v<T>) operator Rows<U>() const {
    return {base, stride, map, count, accumulate};
  }
};

/// A single array as one row.
template <class T>
Rows<T> one_row(T* data, bool accumulate = false) {
  return {data, 0, nullptr, 1, accumulate};
}

}  // namespace concord::kernels
