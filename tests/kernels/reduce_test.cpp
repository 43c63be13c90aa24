#include <limits>

#include "rows.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {
const AxisGeometry kShapes[] = {{3, 7, 1},     {3, 7, 5}, {1, 70'001, 1}, {2, 33, 1009},
                                {501, 131, 1}, {2, 0, 3}, {0, 3, 2}};
}

TEST_CASE_TEMPLATE("sum: against the naive sums", T, float, double) {
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    const auto run = [&](auto kernel) {
      return [&, kernel](In<T> x, Out<T> y) { kernel(g, 0.5, x, y); };
    };
    check_rows<T>(g.outer * g.length * g.inner, g.outer * g.inner, run(cpu::sum<T>),
                  run(cpu::sum_naive<T>));
  }
}

TEST_CASE_TEMPLATE("spread: the transpose of sum", T, float, double) {
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    const auto naive = [&](In<T> gy, Out<T> gx) {
      for (std::int32_t r = 0; r < gy.count; ++r)
        for (index_t o = 0; o < g.outer; ++o)
          for (index_t l = 0; l < g.length; ++l)
            for (index_t i = 0; i < g.inner; ++i) {
              T& slot = gx[r][(o * g.length + l) * g.inner + i];
              slot = (gx.accumulate ? slot : T(0)) + T(0.25) * gy[r][o * g.inner + i];
            }
    };
    check_rows<T>(
        g.outer * g.inner, g.outer * g.length * g.inner,
        [&](In<T> gy, Out<T> gx) { cpu::spread<T>(g, 0.25, gy, gx); }, naive);
  }
}

TEST_CASE_TEMPLATE("max: the first of equal maxima, NaN wins", T, float, double) {
  for (const AxisGeometry& g : {AxisGeometry{3, 7, 1}, {2, 33, 301}, {1, 1, 4}}) {
    auto x = normals<T>("x", g.outer * g.length * g.inner);
    for (T& v : x) v = std::round(v);  // many ties
    std::vector<T> y(g.outer * g.inner);
    std::vector<std::int64_t> at(y.size());
    cpu::max<T>(g, x.data(), y.data(), at.data());
    for (index_t o = 0; o < g.outer; ++o) {
      for (index_t i = 0; i < g.inner; ++i) {
        index_t best = 0;
        const auto value = [&](index_t l) { return x[(o * g.length + l) * g.inner + i]; };
        for (index_t l = 1; l < g.length; ++l)
          if (value(l) > value(best)) best = l;
        CHECK(at[o * g.inner + i] == best);
        CHECK(y[o * g.inner + i] == value(best));
      }
    }
  }
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const T x[] = {1, nan, 5, nan};
  T y = 0;
  std::int64_t at = 0;
  cpu::max<T>({1, 4, 1}, x, &y, &at);
  CHECK(std::isnan(y));
  CHECK(at == 1);
}

TEST_CASE_TEMPLATE("norm squared and the count of what is not finite", T, float, double) {
  for (const index_t n : {0, 1, 37, 200'003}) {
    CAPTURE(n);
    auto x = normals<T>("x", n);
    double expected = 0, one = 0, two = 0;
    cpu::norm_squared_naive<T>(n, x.data(), &expected);
    with_threads(1, [&] { cpu::norm_squared<T>(n, x.data(), &one); });
    with_threads(2, [&] { cpu::norm_squared<T>(n, x.data(), &two); });
    CHECK(one == doctest::Approx(expected).epsilon(1e-13));
    CHECK(one == two);
    index_t bad = -1;
    cpu::count_nonfinite<T>(n, x.data(), &bad);
    CHECK(bad == 0);
    if (n < 37) continue;
    x[3] = std::numeric_limits<T>::quiet_NaN();
    x[n - 1] = std::numeric_limits<T>::infinity();
    x[n / 2] = -std::numeric_limits<T>::infinity();
    cpu::count_nonfinite<T>(n, x.data(), &bad);
    CHECK(bad == 3);
  }
}
