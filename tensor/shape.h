// Shape: up to six extents, by value, no allocation.
#pragma once

#include <concord/tensor/check.h>
#include <concord/tensor/types.h>

#include <array>
#include <initializer_list>
#include <span>
#include <string>

namespace concord {

/// Row-major extents. Rank 0 is a scalar with one element. Extents may be zero.
class Shape {
 public:
  Shape() = default;
  /// Throws ShapeError for more than kMaxRank axes, a negative extent, or a product beyond 2^62.
  Shape(std::initializer_list<index_t> extents)
      : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const index_t> extents);

  int rank() const { return rank_; }
  index_t numel() const { return numel_; }
  /// Extent of an axis; negative axes count from the end. Throws ShapeError when out of range.
  index_t operator[](int axis) const { return extents_[normalize(axis)]; }
  const index_t* begin() const { return extents_.data(); }
  const index_t* end() const { return extents_.data() + rank_; }

  /// -1 -> rank-1 and so on. Throws ShapeError when out of range.
  int normalize(int axis) const;
  /// Product of the extents of axes [first, last).
  index_t span(int first, int last) const;
  Shape with(int axis, index_t extent) const;    ///< the same with one extent changed
  Shape without(int axis) const;                 ///< the same with one axis removed
  Shape insert(int axis, index_t extent) const;  ///< the same with one axis put in before `axis`

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && std::equal(a.begin(), a.end(), b.begin());
  }

 private:
  std::array<index_t, kMaxRank> extents_{};
  index_t numel_ = 1;
  int rank_ = 0;
};

/// "[8,3,32,32]"; a scalar is "[]".
std::string to_string(const Shape& s);

}  // namespace concord
