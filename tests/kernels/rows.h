// What the kernel tests share: rows of numbers with gaps and canaries, comparisons, the checks that
// every kernel with R rows must pass.
#pragma once

#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/random.h>

#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace concord::kernels::test {

/// Standard normal numbers, the same for the same name.
template <class T>
std::vector<T> normals(std::string_view name, index_t n) {
  const Rng rng = Rng(7).fork(name);
  std::vector<T> v(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i) v[i] = static_cast<T>(rng.normal(static_cast<std::uint64_t>(i)));
  return v;
}

inline std::vector<std::int64_t> indices(std::string_view name, index_t n, index_t below) {
  const Rng rng = Rng(7).fork(name);
  std::vector<std::int64_t> v(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i) v[i] = rng.below(static_cast<std::uint64_t>(i), below);
  return v;
}

/// Rows in memory that is longer than they are: `places` rows of `length` elements, kGap elements
/// of canaries before, between and after. The map visits the places backwards.
template <class T>
class Block {
 public:
  static constexpr index_t kGap = 5;

  Block(index_t length, std::int32_t places) : length_(length), places_(places) {
    memory_.assign(static_cast<std::size_t>((length + kGap) * places + kGap), kCanary);
    for (std::int32_t r = places - 1; r >= 0; --r) map_.push_back(r);
  }
  static Block normal(std::string_view name, index_t length, std::int32_t places) {
    Block block(length, places);
    for (std::int32_t p = 0; p < places; ++p) {
      const auto v = normals<T>(std::string(name) + char('a' + p), length);
      std::copy(v.begin(), v.end(), block.place(p));
    }
    return block;
  }

  T* place(index_t p) { return memory_.data() + kGap + p * (length_ + kGap); }
  /// All rows, through the map.
  Rows<T> rows(bool accumulate = false) {
    return {place(0), length_ + kGap, map_.data(), places_, accumulate};
  }
  In<T> in() { return rows(); }

  bool canaries_alive() {
    for (std::int32_t p = 0; p <= places_; ++p) {
      const T* gap = place(p) - kGap;
      if (!std::all_of(gap, gap + kGap, [](T v) { return v == kCanary; })) return false;
    }
    return true;
  }
  friend bool operator==(const Block& a, const Block& b) {
    return a.memory_.size() == b.memory_.size() &&
           std::memcmp(a.memory_.data(), b.memory_.data(), a.memory_.size() * sizeof(T)) == 0;
  }
  const std::vector<T>& memory() const { return memory_; }

 private:
  static constexpr T kCanary = T(-12345.5);
  index_t length_;
  std::int32_t places_;
  std::vector<T> memory_;
  std::vector<std::int32_t> map_;
};

/// The allowance for a result of T against its naive twin, relative to the largest value.
template <class T>
constexpr double tolerance() {
  return sizeof(T) == 4 ? 2e-6 : 1e-14;
}

/// The largest difference over the largest magnitude (or 1).
template <class T>
double difference(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return 1e300;
  double worst = 0, scale = 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == T(-12345.5) && b[i] == T(-12345.5)) continue;  // canaries
    scale = std::max(scale, std::abs(double{b[i]}));
    if (!(std::abs(double{a[i]} - b[i]) <= worst)) worst = std::abs(double{a[i]} - b[i]);
    if (std::isnan(a[i]) != std::isnan(b[i])) return 1e300;
  }
  return worst / scale;
}

/// Runs f with 1 and with 2 threads.
template <class F>
void with_threads(int threads, F f) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  f();
  omp_set_num_threads(before);
}

/// kernel(In<T> gy, Out<T> out) and its naive twin, for 3 rows of cotangents of `in` elements each
/// and results of `out` elements: equal to the twin, writing and adding; bitwise the same for each
/// row alone and for any number of threads; nothing written beside the rows.
template <class T, class Kernel, class Naive>
void check_rows(index_t in, index_t out, Kernel kernel, Naive naive, double slack = 1) {
  constexpr std::int32_t kRows = 3;
  Block<T> gy = Block<T>::normal("gy", in, kRows);
  for (const bool accumulate : {false, true}) {
    CAPTURE(accumulate);
    const Block<T> start = Block<T>::normal("start", out, kRows);
    Block<T> expected = start, got = start, alone = start, threads = start;
    naive(gy.in(), expected.rows(accumulate));
    with_threads(1, [&] { kernel(gy.in(), got.rows(accumulate)); });
    CHECK(difference(got.memory(), expected.memory()) <= slack * tolerance<T>());
    CHECK(got.canaries_alive());
    for (std::int32_t r = 0; r < kRows; ++r) {
      kernel(gy.in().one(r), alone.rows(accumulate).one(r));
    }
    CHECK(alone == got);
    with_threads(2, [&] { kernel(gy.in(), threads.rows(accumulate)); });
    CHECK(threads == got);
  }
}

/// kernel(T* out) and its twin for a kernel without rows.
template <class T, class Kernel, class Naive>
void check_plain(index_t out, Kernel kernel, Naive naive, double slack = 1) {
  const Block<T> start = Block<T>::normal("start", out, 1);
  Block<T> expected = start, got = start, threads = start;
  naive(expected.place(0));
  with_threads(1, [&] { kernel(got.place(0)); });
  CHECK(difference(got.memory(), expected.memory()) <= slack * tolerance<T>());
  CHECK(got.canaries_alive());
  with_threads(2, [&] { kernel(threads.place(0)); });
  CHECK(threads == got);
}

}  // namespace concord::kernels::test
