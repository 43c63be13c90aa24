// Buffers for kernel tests: R rows with gaps between them, canaries in the gaps and behind the end.
#pragma once

#include <concord/tensor/kernels/rows.h>
#include <concord/tensor/random.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

namespace concord::testing {

inline constexpr double kCanary = -7.75;

/// `count` rows of `size` values; row r lies at place map[r] of `places`. Everything that is not in
/// a row is canary.
template <class T>
class Buffer {
 public:
  Buffer(int count, index_t size, std::vector<std::int32_t> map = {}, int places = 0)
      : count_(count),
        size_(size),
        stride_(size + 5),
        map_(std::move(map)),
        values_(static_cast<std::size_t>(std::max(count, places) * stride_ + 3), T(kCanary)) {}

  /// Uniform values in [-1, 1), the same for the same name.
  Buffer& randomize(const std::string& name) {
    const Rng rng = Rng(7).fork(name);
    for (int r = 0; r < count_; ++r) {
      for (index_t i = 0; i < size_; ++i) {
        row(r)[i] = static_cast<T>(2 * rng.uniform(static_cast<std::uint64_t>(r * size_ + i)) - 1);
      }
    }
    return *this;
  }
  T* row(int r) { return values_.data() + (map_.empty() ? r : map_[r]) * stride_; }
  kernels::Rows<T> rows(bool accumulate = false) {
    return {values_.data(), stride_, map_.empty() ? nullptr : map_.data(), count_, accumulate};
  }
  /// Row r of the same buffer alone.
  kernels::Rows<T> one(int r, bool accumulate = false) { return rows(accumulate).one(r); }
  /// Row 0 as an operand that all rows share.
  kernels::Rows<T> shared() { return {row(0), 0, nullptr, count_, false}; }

  /// Everything, canaries too.
  std::vector<T>& values() { return values_; }

  bool canaries_alive() {
    std::vector<bool> inside(values_.size(), false);
    for (int r = 0; r < count_; ++r) {
      std::fill_n(inside.begin() + (row(r) - values_.data()), size_, true);
    }
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (!inside[i] && values_[i] != T(kCanary)) return false;
    }
    return true;
  }
  /// Bitwise, rows only.
  bool equals(Buffer& o) {
    for (int r = 0; r < count_; ++r) {
      if (std::memcmp(row(r), o.row(r), static_cast<std::size_t>(size_) * sizeof(T)) != 0)
        return false;
    }
    return true;
  }
  /// Largest difference over the largest magnitude, rows only; infinite if something is not finite.
  double distance(Buffer& o) {
    double difference = 0, scale = 1e-30;
    for (int r = 0; r < count_; ++r) {
      for (index_t i = 0; i < size_; ++i) {
        const double a = row(r)[i], b = o.row(r)[i];
        if (!std::isfinite(a) || !std::isfinite(b)) return INFINITY;
        difference = std::max(difference, std::abs(a - b));
        scale = std::max(scale, std::abs(b));
      }
    }
    return difference / scale;
  }

 private:
  int count_;
  index_t size_, stride_;
  std::vector<std::int32_t> map_;
  std::vector<T> values_;
};

/// Rounding of long sums: relative to the largest element.
template <class T>
double tolerance() {
  return sizeof(T) == 4 ? 2e-6 : 1e-14;
}

/// Runs f with `threads` threads.
template <class F>
void with_threads(int threads, F f) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  f();
  omp_set_num_threads(before);
}

}  // namespace concord::testing
