#include <concord/tensor/kernels/cuda/naive.h>

#include <limits>

#include "sides.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {
// Along: a warp, a block, several pieces. Across: one thread or eight for a sum, several pieces.
const AxisGeometry kShapes[] = {{3, 7, 1},    {2, 1500, 1}, {1, 10'007, 1}, {3, 7, 5}, {2, 131, 70},
                                {1, 1500, 9}, {51, 13, 1},  {2, 0, 3},      {3, 0, 1}, {0, 3, 2}};
}  // namespace

TEST_CASE_TEMPLATE("device: sum", T, float, double) {
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    check_sides<T>(g.outer * g.length * g.inner, g.outer * g.inner,
                   [&](Side, const Kernels<T>& k, In<T> x, Out<T> y) { k.sum(g, 0.5, x, y); });
    check_sides<T>(g.outer * g.length * g.inner, g.outer * g.inner,
                   [&](Side at, const Kernels<T>& k, In<T> x, Out<T> y) {
                     if (at == Side::cuda) {
                       kernels::cuda::sum_naive<T>(g, 0.5, x, y);
                     } else {
                       k.sum(g, 0.5, x, y);
                     }
                   });
  }
  const AxisGeometry many_rows{2, 3, 5};
  check_sides<T>(30, 10,
                 [&](Side, const Kernels<T>& k, In<T> x, Out<T> y) { k.sum(many_rows, 2, x, y); },
                 {67});
}

TEST_CASE_TEMPLATE("device: sums are in double", T, float, double) {
  // 2^24 + 1 is no float: a sum in floats would lose the ones.
  std::vector<T> x(5001, T(1));
  x[0] = T(1 << 24);
  const OnDevice<T> there(x), y(1, T(0));
  table_of<T>(Side::cuda)
      .sum({1, 5001, 1}, 1, In<T>{there.data(), 0, nullptr, 1}, one_row(y.data()));
  CHECK(y.values()[0] == static_cast<T>((1 << 24) + 5000.0));
}

TEST_CASE_TEMPLATE("device: spread", T, float, double) {
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    check_sides<T>(
        g.outer * g.inner, g.outer * g.length * g.inner,
        [&](Side, const Kernels<T>& k, In<T> gy, Out<T> gx) { k.spread(g, 0.25, gy, gx); });
  }
  check_sides<T>(2, 6,
                 [&](Side, const Kernels<T>& k, In<T> gy, Out<T> gx) {
                   k.spread({1, 3, 2}, 3, gy, gx);
                 },
                 {67});
}

TEST_CASE_TEMPLATE("device: max, the first of equal ones, NaN wins", T, float, double) {
  const T nan = std::numeric_limits<T>::quiet_NaN(), inf = std::numeric_limits<T>::infinity();
  for (const AxisGeometry& g :
       {AxisGeometry{3, 7, 1}, {2, 33, 31}, {1, 1, 4}, {5, 100, 1}, {2, 1300, 1}}) {
    CAPTURE(g.length);
    const index_t n = g.outer * g.length * g.inner, vectors = g.outer * g.inner;
    for (const int kind : {0, 1, 2}) {
      CAPTURE(kind);
      auto x = normals<T>("x", n);
      for (T& v : x) v = std::round(v);  // many ties
      if (kind == 1) std::fill(x.begin(), x.end(), -inf);
      if (kind == 2) {
        for (index_t i = n / 2; i < n; i += 5) x[i] = nan;
      }
      std::vector<T> y(vectors);
      std::vector<std::int64_t> at(vectors);
      cpu_table<T>().max(g, x.data(), y.data(), at.data());
      const OnDevice<T> dx(x), dy(vectors, T(0));
      const OnDevice<std::int64_t> dat(vectors, std::int64_t{-1});
      table_of<T>(Side::cuda).max(g, dx, dy, dat);
      const auto got = dy.values();
      CHECK(dat.values() == at);
      for (index_t v = 0; v < vectors; ++v)
        CHECK((got[v] == y[v] || (std::isnan(got[v]) && std::isnan(y[v]))));
    }
  }
}

TEST_CASE_TEMPLATE("device: norm squared and the count of what is not finite", T, float, double) {
  for (const index_t n : {0, 1, 37, 1500, 20'003}) {
    CAPTURE(n);
    auto x = normals<T>("x", n);
    if (n >= 37) {
      x[3] = std::numeric_limits<T>::quiet_NaN();
      x[n - 1] = std::numeric_limits<T>::infinity();
      x[n / 2] = -std::numeric_limits<T>::infinity();
    }
    const OnDevice<T> dx(x);
    const OnDevice<index_t> bad(1, index_t{-1});
    table_of<T>(Side::cuda).count_nonfinite(n, dx, bad);
    CHECK(bad.values()[0] == (n >= 37 ? 3 : 0));
    const auto finite = normals<T>("x", n);
    const OnDevice<T> df(finite);
    const OnDevice<double> norm(1, -1.0);
    double expected = 0;
    cpu_table<T>().norm_squared(n, finite.data(), &expected);
    table_of<T>(Side::cuda).norm_squared(n, df, norm);
    CHECK(norm.values()[0] == doctest::Approx(expected).epsilon(1e-13));
  }
}
