#include "rows.h"

#include <limits>

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

TEST_CASE_TEMPLATE("gram: every number of rows and odd lengths, against the naive sums", T, float,
                   double) {
  for (const index_t n : {0, 1, 7, 511, 513, 9001}) {
    for (const std::int32_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13}) {
      CAPTURE(n);
      CAPTURE(count);
      Block<T> rows = Block<T>::normal("row", n, count);
      const auto run = [&](auto kernel) {
        return [&, kernel](double* out) { kernel(n, rows.in(), out); };
      };
      check_plain<double>(count * count, run(cpu::gram<T>), run(cpu::gram_naive<T>), 10);
    }
  }
}

TEST_CASE("gram: constant float rows are summed to double accuracy") {
  constexpr index_t kLength = 300'007;
  const float a = 0.1f, b = -1.0f / 3;
  std::vector<float> rows(2 * kLength, a);
  std::fill(rows.begin() + kLength, rows.end(), b);
  double gram[4];
  cpu::gram<float>(kLength, In<float>{rows.data(), kLength, nullptr, 2}, gram);
  CHECK(gram[0] == doctest::Approx(double{a} * a * kLength).epsilon(1e-12));
  CHECK(gram[1] == doctest::Approx(double{a} * b * kLength).epsilon(1e-12));
  CHECK(gram[1] == gram[2]);
  CHECK(gram[3] == doctest::Approx(double{b} * b * kLength).epsilon(1e-12));
}

TEST_CASE("gram: a NaN stays in the entries of its row") {
  std::vector<float> rows(3 * 1000, 1.0f);
  rows[1999] = std::nanf("");
  double gram[9];
  cpu::gram<float>(1000, In<float>{rows.data(), 1000, nullptr, 3}, gram);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) CHECK(std::isnan(gram[3 * i + j]) == (i == 1 || j == 1));
}

TEST_CASE("gram: rows of bfloat16 have the products of their values") {
  for (const index_t n : {1, 7, 513, 9001}) {
    for (const std::int32_t count : {1, 3, 6, 11}) {
      CAPTURE(n);
      CAPTURE(count);
      const std::vector<float> values = normals<float>("row", n * count);
      std::vector<BFloat16> rows(static_cast<std::size_t>(n * count));
      std::vector<float> rounded(rows.size());
      const In<float> from{values.data(), n, nullptr, count};
      cpu::round_rows<float>(n, from, {rows.data(), n, nullptr, count});
      cpu::widen_rows<float>(n, {rows.data(), n, nullptr, count},
                             {rounded.data(), n, nullptr, count});
      std::vector<double> got(static_cast<std::size_t>(count * count)), expected(got.size());
      cpu::gram<BFloat16>(n, {rows.data(), n, nullptr, count}, got.data());
      cpu::gram<float>(n, {rounded.data(), n, nullptr, count}, expected.data());
      CHECK(got == expected);
    }
  }
}

TEST_CASE("bfloat16: to the nearest, ties to even, infinities and NaN") {
  const auto round = [](float x) {
    BFloat16 y;
    cpu::round_rows<float>(1, one_row<const float>(&x), one_row(&y));
    return static_cast<float>(y);
  };
  CHECK(round(1.0f) == 1.0f);
  CHECK(round(1.0f + 0x1p-8f) == 1.0f);                    // a tie: down to the even 1
  CHECK(round(1.0f + 3 * 0x1p-8f) == 1.0f + 2 * 0x1p-7f);  // a tie: up to the even one
  CHECK(round(1.0f + 0x1.01p-8f) == 1.0f + 0x1p-7f);       // more than half way
  CHECK(round(-1.0f - 0x1.ffp-9f) == -1.0f);               // less than half way
  CHECK(round(0x1p-133f) == 0x1p-133f);                    // subnormal
  CHECK(std::signbit(round(-0.0f)));
  CHECK(round(std::numeric_limits<float>::max()) == std::numeric_limits<float>::infinity());
  CHECK(round(-INFINITY) == -INFINITY);
  CHECK(std::isnan(round(std::nanf(""))));
  CHECK(std::isnan(round(std::bit_cast<float>(0x7f800001u))));  // payload in the lower half only
}

TEST_CASE_TEMPLATE("linear_gram: the products of the weight gradients, without them", T, float,
                   double) {
  // The last one has more elements than one pass over the columns takes.
  for (const LinearGeometry& g :
       {LinearGeometry{0, 3, 2}, LinearGeometry{1, 5, 7}, LinearGeometry{6, 3, 17},
        LinearGeometry{19, 65, 33}, LinearGeometry{211, 7, 1201}}) {
    for (const std::int32_t count : {1, 3}) {
      CAPTURE(g.n);
      CAPTURE(count);
      const std::vector<T> x = normals<T>("x", g.n * g.in);
      Block<T> gy = Block<T>::normal("gy", g.n * g.out, count);
      const auto run = [&](auto kernel) {
        return [&, kernel](double* out) { kernel(g, x.data(), gy.in(), out); };
      };
      check_plain<double>(count * count, run(cpu::linear_gram<T>), run(cpu::linear_gram_naive<T>),
                          10);
    }
  }
}

TEST_CASE("linear_gram: where the samples cancel in a gradient, its norm is still right") {
  // All samples alike but for their order; the cotangents sum to almost nothing.
  constexpr index_t kSamples = 64, kIn = 100, kOut = 30;
  std::vector<float> x = normals<float>("x", kIn), gy = normals<float>("gy", kSamples * kOut);
  for (index_t i = 1; i < kSamples; ++i)
    for (index_t j = 0; j < kIn; ++j) x.push_back(x[j]);
  for (index_t i = 0; i + 1 < kSamples; i += 2)
    for (index_t j = 0; j < kOut; ++j)
      gy[(i + 1) * kOut + j] = -gy[i * kOut + j] * (1 + 1e-5f * static_cast<float>(i));
  const LinearGeometry g{kSamples, kIn, kOut};
  double got = 0, expected = 0;
  cpu::linear_gram<float>(g, x.data(), one_row<const float>(gy.data()), &got);
  cpu::linear_gram_naive<float>(g, x.data(), one_row<const float>(gy.data()), &expected);
  CHECK(got == doctest::Approx(expected).epsilon(1e-6));
}
