// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011): random numbers as a pure function of (seed, stream, index). Nothing is drawn "next": the
// caller names the index, so values depend neither on the number of threads nor on launch geometry.
#pragma once

#include <concord/tensor/tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace concord {

/// The ten-round bijection: 128-bit counter, 64-bit key -> 128 random bits.
std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter,
                                           std::array<std::uint32_t, 2> key);

/// One named stream of random numbers. Element i uses word i % 4 of counter block i / 4, with
/// key = seed and the stream in the counter's upper half.
class Rng {
 public:
  explicit Rng(std::uint64_t seed = 0, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  /// A stream of its own for `name`: adding a layer does not shift the numbers of the others.
  Rng fork(std::string_view name) const;
  /// ... and for a step, an epoch, a worker.
  Rng fork(std::uint64_t index) const;

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }

  std::uint32_t bits(std::uint64_t i) const;
  /// Uniform in [0, 1): the upper 24 bits, so f32 and f64 see the same number.
  double uniform(std::uint64_t i) const;
  /// Standard normal (Box-Muller on the words 2i and 2i+1).
  double normal(std::uint64_t i) const;
  /// Uniform in {0, ..., n-1}, without bias worth speaking of for n < 2^32 (multiply-shift).
  index_t below(std::uint64_t i, index_t n) const;

  /// 0..n-1 in random order (Fisher-Yates, from the back).
  void permutation(std::span<index_t> out) const;
  /// Fills an f32 or f64 tensor, element i from index i.
  void fill_uniform(const Tensor& t, double low = 0, double high = 1) const;
  void fill_normal(const Tensor& t, double mean = 0, double deviation = 1) const;

 private:
  std::uint64_t seed_, stream_;
};

}  // namespace concord
