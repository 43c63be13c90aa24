#include <concord/tensor/random.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

using namespace concord;

// Known answers of the authors' Random123 library, file kat_vectors, philox4x32 with 10 rounds.
TEST_CASE("philox: published known answers") {
  using Block = std::array<std::uint32_t, 4>;
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) ==
        Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
        Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("rng: element i is word i % 4 of block i / 4") {
  const Rng rng(0x0123456789abcdef, 0xfedcba9876543210);
  for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{7}, (std::uint64_t{1} << 40) + 2}) {
    const std::uint64_t b = i / 4;
    const auto block = philox4x32_10({static_cast<std::uint32_t>(b),
                                      static_cast<std::uint32_t>(b >> 32), 0x76543210, 0xfedcba98},
                                     {0x89abcdef, 0x01234567});
    CHECK(rng.bits(i) == block[i % 4]);
  }
}

TEST_CASE("rng: uniforms have the moments of the uniform distribution and the same value in f32") {
  const Rng rng(3);
  constexpr int kCount = 200'000;
  double sum = 0, square = 0, low = 1, high = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = rng.uniform(i);
    sum += u;
    square += u * u;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  // Four standard errors: sqrt(1/12/n) and sqrt(4/45/n).
  CHECK(std::abs(sum / kCount - 0.5) < 4 * std::sqrt(1.0 / 12 / kCount));
  CHECK(std::abs(square / kCount - 1.0 / 3) < 4 * std::sqrt(4.0 / 45 / kCount));
  CHECK(low >= 0);
  CHECK(high < 1);
  const Tensor f = Tensor::empty({57}), d = Tensor::empty({57}, DType::f64);
  rng.fill_uniform(f);
  rng.fill_uniform(d);
  for (index_t i = 0; i < 57; ++i) CHECK(f.at({i}) == d.at({i}));
}

TEST_CASE("rng: normals have mean 0, variance 1, no skew and kurtosis 3") {
  const Rng rng(5);
  constexpr int kCount = 200'000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, pairs = 0, last = 0;
  for (int i = 0; i < kCount; ++i) {
    const double z = rng.normal(i);
    m1 += z;
    m2 += z * z;
    m3 += z * z * z;
    m4 += z * z * z * z;
    pairs += z * last;
    last = z;
  }
  // Variances of the sample moments: 1, 2, 15, 96; four standard errors.
  const double root = std::sqrt(static_cast<double>(kCount));
  CHECK(std::abs(m1 / kCount) < 4 / root);
  CHECK(std::abs(m2 / kCount - 1) < 4 * std::sqrt(2.0) / root);
  CHECK(std::abs(m3 / kCount) < 4 * std::sqrt(15.0) / root);
  CHECK(std::abs(m4 / kCount - 3) < 4 * std::sqrt(96.0) / root);
  CHECK(std::abs(pairs / kCount) < 4 / root);
}

TEST_CASE("rng: fill_normal and fill_uniform scale and shift") {
  const Tensor t = Tensor::empty({40'000}, DType::f64);
  Rng(9).fill_normal(t, -2, 3);
  CHECK(t.at({123}) == std::fma(3, Rng(9).normal(123), -2));
  Rng(9).fill_uniform(t, -1, 4);
  CHECK(t.at({123}) == std::fma(5, Rng(9).uniform(123), -1));
  CHECK(*std::min_element(t.data<double>(), t.data<double>() + t.numel()) >= -1);
}

TEST_CASE("rng: filling gives element i the number of index i, to the odd end") {
  const Rng rng(21, 4);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor u = Tensor::empty({57}, dtype), z = Tensor::empty({57}, dtype);
    rng.fill_uniform(u);
    rng.fill_normal(z);
    for (index_t i = 0; i < 57; ++i) {
      const double normal = rng.normal(i);
      CHECK(u.at({i}) == rng.uniform(i));
      CHECK(z.at({i}) == (dtype == DType::f32 ? static_cast<float>(normal) : normal));
    }
  }
}

TEST_CASE("rng: forks are streams of their own and repeat") {
  const Rng rng(11);
  std::set<std::uint64_t> streams{rng.stream()};
  for (const char* name : {"init", "dropout", "dropout/1", "dropout/2", "data", ""}) {
    streams.insert(rng.fork(name).stream());
  }
  for (std::uint64_t i = 0; i < 1000; ++i) streams.insert(rng.fork(i).stream());
  CHECK(streams.size() == 1007);
  CHECK(rng.fork("a").fork("b").stream() != rng.fork("b").fork("a").stream());
  CHECK(rng.fork("a").bits(5) == rng.fork("a").bits(5));

  // Correlation of two neighbouring streams, four standard errors.
  const Rng a = rng.fork(std::uint64_t{1}), b = rng.fork(std::uint64_t{2});
  constexpr int kCount = 50'000;
  double sum = 0;
  for (int i = 0; i < kCount; ++i) sum += (a.uniform(i) - 0.5) * (b.uniform(i) - 0.5);
  CHECK(std::abs(sum / kCount) < 4.0 / 12 / std::sqrt(static_cast<double>(kCount)));
}

TEST_CASE("rng: permutations hold each index once and are fair") {
  std::vector<index_t> p(1001);
  Rng(1).permutation(p);
  std::vector<index_t> sorted = p;
  std::sort(sorted.begin(), sorted.end());
  for (index_t i = 0; i < 1001; ++i) CHECK(sorted[i] == i);
  std::vector<index_t> q(1001);
  Rng(2).permutation(q);
  CHECK(p != q);

  // All 24 orders of four: chi-squared with 23 degrees of freedom stays below 58 (p = 1e-4).
  constexpr int kDraws = 24'000;
  std::array<int, 256> counts{};
  for (int i = 0; i < kDraws; ++i) {
    std::array<index_t, 4> o{};
    Rng(7).fork(static_cast<std::uint64_t>(i)).permutation(o);
    ++counts[o[0] + 4 * o[1] + 16 * o[2] + 64 * o[3]];
  }
  double chi = 0;
  int seen = 0;
  for (const int c : counts) {
    if (c == 0) continue;
    ++seen;
    chi += (c - 1000.0) * (c - 1000.0) / 1000.0;
  }
  CHECK(seen == 24);
  CHECK(chi < 58);
}

TEST_CASE("rng: below stays in range and its argument is checked") {
  const Rng rng(13);
  std::array<int, 7> counts{};
  for (int i = 0; i < 7000; ++i) {
    const index_t v = rng.below(i, 7);
    REQUIRE(v >= 0);
    REQUIRE(v < 7);
    ++counts[v];
  }
  for (const int c : counts) CHECK(std::abs(c - 1000) < 120);
  CHECK(concord::testing::error_text<ValueError>([&] { rng.below(0, 0); }) ==
        "random: below needs n >= 1");
}
