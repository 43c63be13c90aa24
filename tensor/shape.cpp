#include <concord/tensor/shape.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace concord {

Shape::Shape(std::span<const index_t> extents) : rank_(static_cast<int>(extents.size())) {
  const auto describe = [&] { return fmt::format("[{}]", fmt::join(extents, ",")); };
  if (extents.size() > kMaxRank) {
    throw ShapeError(
        fmt::format("shape: {} axes, at most {} are possible", extents.size(), kMaxRank),
        {{"shape", describe()}});
  }
  constexpr index_t kMost = index_t{1} << 62;
  for (int i = 0; i < rank_; ++i) {
    const index_t n = extents[i];
    if (n < 0)
      throw ShapeError(fmt::format("shape: axis {} has negative extent {}", i, n),
                       {{"shape", describe()}});
    if (n > 0 && numel_ > kMost / n)
      throw ShapeError("shape: more than 2^62 elements", {{"shape", describe()}});
    extents_[i] = n;
    numel_ *= n;
  }
}

int Shape::normalize(int axis) const {
  const int a = axis < 0 ? axis + rank_ : axis;
  if (a < 0 || a >= rank_) {
    throw ShapeError(fmt::format("shape: axis {} of a tensor with {} axes", axis, rank_),
                     {{"shape", to_string(*this)}});
  }
  return a;
}

index_t Shape::span(int first, int last) const {
  index_t n = 1;
  for (int i = first; i < last; ++i) n *= extents_[i];
  return n;
}

Shape Shape::with(int axis, index_t extent) const {
  std::array<index_t, kMaxRank> e = extents_;
  e[normalize(axis)] = extent;
  return Shape(std::span<const index_t>(e.data(), rank_));
}

Shape Shape::without(int axis) const {
  std::array<index_t, kMaxRank> e{};
  const int drop = normalize(axis);
  int k = 0;
  for (int i = 0; i < rank_; ++i)
    if (i != drop) e[k++] = extents_[i];
  return Shape(std::span<const index_t>(e.data(), k));
}

Shape Shape::insert(int axis, index_t extent) const {
  if (axis < 0 || axis > rank_)
    throw ShapeError(fmt::format("shape: no place {} to insert an axis", axis),
                     {{"shape", to_string(*this)}});
  std::array<index_t, kMaxRank + 1> e;  // one more: the constructor says when it is too many
  index_t* const place = std::copy(begin(), begin() + axis, e.data());
  *place = extent;
  std::copy(begin() + axis, end(), place + 1);
  return Shape(std::span<const index_t>(e.data(), static_cast<std::size_t>(rank_) + 1));
}

std::string to_string(const Shape& s) {
  return fmt::format("[{}]", fmt::join(s.begin(), s.end(), ","));
}

}  // namespace concord
