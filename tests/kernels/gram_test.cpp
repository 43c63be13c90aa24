#include "rows.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

TEST_CASE_TEMPLATE("gram: every number of rows and odd lengths, against the naive sums", T, float,
                   double) {
  for (const index_t n : {0, 1, 7, 255, 257, 9001}) {
    for (const std::int32_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13}) {
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
