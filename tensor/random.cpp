#include <concord/tensor/kernels/cuda/cuda.h>
#include <concord/tensor/philox.h>
#include <concord/tensor/random.h>

#include <algorithm>
#include <utility>

namespace concord {

std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> c,
                                           std::array<std::uint32_t, 2> k) {
  const philox::Words w = philox::rounds({{c[0], c[1], c[2], c[3]}}, k[0], k[1]);
  return {w.at[0], w.at[1], w.at[2], w.at[3]};
}

namespace {

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

Rng Rng::fork(std::uint64_t index) const {
  return Rng(seed_, mix(mix(stream_ ^ 0x5851F42D4C957F2Du) + index));
}

std::uint32_t Rng::bits(std::uint64_t i) const {
  return philox::block(seed_, stream_, i / 4).at[i % 4];
}

double Rng::uniform(std::uint64_t i) const { return philox::uniform(bits(i)); }

double Rng::normal(std::uint64_t i) const {
  const philox::Words w = philox::block(seed_, stream_, i / 2);
  return philox::normal(w.at[2 * (i % 2)], w.at[2 * (i % 2) + 1]);
}

index_t Rng::below(std::uint64_t i, index_t n) const {
  if (n <= 0) throw ValueError("random: below needs n >= 1");
  return static_cast<index_t>(
      (static_cast<unsigned __int128>(bits(i)) * static_cast<std::uint64_t>(n)) >> 32);
}

void Rng::permutation(std::span<index_t> out) const {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<index_t>(i);
  for (std::size_t i = out.size(); i > 1; --i)
    std::swap(out[i - 1], out[below(i, static_cast<index_t>(i))]);
}

namespace {

/// Element i is element i % k of values(i / k), an array of k: each Philox block is computed once.
template <class T, class F>
void fill_blocks(const Tensor& t, F values) {
  T* p = t.data<T>();
  const auto n = static_cast<std::uint64_t>(t.numel());
  const std::uint64_t k = values(0).size();
  for (std::uint64_t i = 0; i < n; i += k) {
    const auto v = values(i / k);
    for (std::uint64_t j = 0; j < std::min(k, n - i); ++j) p[i + j] = static_cast<T>(v[j]);
  }
}

/// True when t lies on a device, which draws for itself.
bool drawn_there(const Tensor& t, const Rng& rng, cuda::Distribution distribution, double a,
                 double b) {
  if (t.device() == kCpu) return false;
  cuda::random(t.device().index, t.dtype(), t.numel(), rng, distribution, a, b, t.raw());
  return true;
}

template <class F>
void fill(const Tensor& t, F values) {
  if (t.dtype() == DType::f32)
    fill_blocks<float>(t, values);
  else
    fill_blocks<double>(t, values);
}

}  // namespace

void Rng::fill_uniform(const Tensor& t, double low, double high) const {
  if (drawn_there(t, *this, cuda::Distribution::uniform, low, high)) return;
  fill(t, [&](std::uint64_t b) {
    const philox::Words w = philox::block(seed_, stream_, b);
    std::array<double, 4> v;
    for (int j = 0; j < 4; ++j) v[j] = philox::scaled(philox::uniform(w.at[j]), low, high - low);
    return v;
  });
}

void Rng::fill_normal(const Tensor& t, double mean, double deviation) const {
  if (drawn_there(t, *this, cuda::Distribution::normal, mean, deviation)) return;
  fill(t, [&](std::uint64_t b) {
    const philox::Words w = philox::block(seed_, stream_, b);
    return std::array{philox::scaled(philox::normal(w.at[0], w.at[1]), mean, deviation),
                      philox::scaled(philox::normal(w.at[2], w.at[3]), mean, deviation)};
  });
}

}  // namespace concord
