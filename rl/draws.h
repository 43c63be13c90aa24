// The random numbers of one environment, in the order in which its rules ask for them.
#pragma once

#include <concord/tensor/random.h>

#include <array>
#include <cstdint>

namespace concord::rl {

/// Draw i is word i of a stream of tensor/random.h. A plain value: copying it copies the position,
/// and a checkpoint is its bytes. Each block of four words is computed once.
class Draws {
 public:
  explicit Draws(const Rng& stream = Rng()) : seed_(stream.seed()), stream_(stream.stream()) {}

  std::uint32_t bits() {
    if (next_ % 4 == 0) {
      const std::uint64_t block = next_ / 4;
      words_ = philox4x32_10(
          {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
           static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
          {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
    }
    return words_[next_++ % 4];
  }
  /// Uniform in [0, 1), as Rng::uniform.
  double uniform() { return static_cast<double>(bits() >> 8) * 0x1p-24; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in {0, ..., n-1}, as Rng::below.
  int below(int n) {
    return static_cast<int>((std::uint64_t{bits()} * static_cast<std::uint64_t>(n)) >> 32);
  }
  bool chance(double p) { return uniform() < p; }

 private:
  std::uint64_t seed_, stream_, next_ = 0;
  std::array<std::uint32_t, 4> words_{};
};

}  // namespace concord::rl
