#include <concord/tensor/random.h>

#include <cmath>
#include <numbers>
#include <utility>

namespace concord {

std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p0)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

namespace {

std::array<std::uint32_t, 4> block(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter) {
  return philox4x32_10({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                        static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                       {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

/// SplitMix64's finaliser: spreads nearby names and indices over all 64 bits.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

Rng Rng::fork(std::string_view name) const {
  std::uint64_t h = 0xCBF29CE484222325u;  // FNV-1a
  for (const char ch : name) h = (h ^ static_cast<unsigned char>(ch)) * 0x100000001B3u;
  return Rng(seed_, mix(mix(stream_) ^ h));
}

Rng Rng::fork(std::uint64_t index) const { return Rng(seed_, mix(mix(stream_ ^ 0x5851F42D4C957F2Du) + index)); }

std::uint32_t Rng::bits(std::uint64_t i) const { return block(seed_, stream_, i / 4)[i % 4]; }

double Rng::normal(std::uint64_t i) const {
  const auto b = block(seed_, stream_, i / 2);
  const double u = (static_cast<double>(b[2 * (i % 2)]) + 0.5) * 0x1p-32;
  const double v = static_cast<double>(b[2 * (i % 2) + 1]) * 0x1p-32;
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

index_t Rng::below(std::uint64_t i, index_t n) const {
  if (n <= 0) throw ValueError("random: below needs n >= 1");
  return static_cast<index_t>((static_cast<unsigned __int128>(bits(i)) * static_cast<std::uint64_t>(n)) >> 32);
}

void Rng::permutation(std::span<index_t> out) const {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<index_t>(i);
  for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[below(i, static_cast<index_t>(i))]);
}

namespace {

template <class F> void fill(const Tensor& t, F value) {
  if (t.dtype() == DType::f32) {
    float* p = t.data<float>();
    for (index_t i = 0; i < t.numel(); ++i) p[i] = static_cast<float>(value(i));
  } else {
    double* p = t.data<double>();
    for (index_t i = 0; i < t.numel(); ++i) p[i] = value(i);
  }
}

}  // namespace

void Rng::fill_uniform(const Tensor& t, double low, double high) const {
  fill(t, [&](index_t i) { return low + (high - low) * uniform(static_cast<std::uint64_t>(i)); });
}

void Rng::fill_normal(const Tensor& t, double mean, double deviation) const {
  fill(t, [&](index_t i) { return mean + deviation * normal(static_cast<std::uint64_t>(i)); });
}

}  // namespace concord
