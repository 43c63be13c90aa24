// The arithmetic behind random.h, inline for host and device alike: number i of a stream has the
// same bits wherever it is computed (normals: up to the last bits of log and cos).
#pragma once

#include <concord/tensor/kernels/elementwise.h>  // CONCORD_HD

#include <cmath>
#include <cstdint>
#include <numbers>

namespace concord::philox {

struct Words {
  std::uint32_t at[4];
};

/// Philox4x32-10: ten rounds over the counter `c` with the key (k0, k1).
CONCORD_HD inline Words rounds(Words c, std::uint32_t k0, std::uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c.at[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c.at[2];
    c = {{static_cast<std::uint32_t>(p1 >> 32) ^ c.at[1] ^ k0, static_cast<std::uint32_t>(p1),
          static_cast<std::uint32_t>(p0 >> 32) ^ c.at[3] ^ k1, static_cast<std::uint32_t>(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// Counter block `counter` of a stream: the words 4 counter .. 4 counter + 3.
CONCORD_HD inline Words block(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter) {
  return rounds({{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                  static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}},
                static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
}

/// Uniform in [0, 1): the upper 24 bits of a word.
CONCORD_HD inline double uniform(std::uint32_t word) {
  return static_cast<double>(word >> 8) * 0x1p-24;
}

/// Standard normal by Box and Muller; the radius' uniform number is never 0.
CONCORD_HD inline double normal(std::uint32_t radius, std::uint32_t angle) {
  const double u = (static_cast<double>(radius) + 0.5) * 0x1p-32;
  const double v = static_cast<double>(angle) * 0x1p-32;
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

/// shift + scale x with one rounding, whether or not the compiler fuses products and sums.
CONCORD_HD inline double scaled(double x, double shift, double scale) {
  return std::fma(scale, x, shift);
}

}  // namespace concord::philox
