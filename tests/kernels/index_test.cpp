#include "rows.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

TEST_CASE_TEMPLATE("embedding: rows of the table, gradients to the rows named", T, float, double) {
  const index_t shapes[][3] = {{11, 5, 7}, {1031, 17, 33}, {0, 3, 2}};
  for (const auto& [n, entries, width] : shapes) {
    CAPTURE(n);
    const index_t count = n, e = entries, w = width;
    const auto table = normals<T>("table", e * w);
    const auto index = indices("index", count, e - 1);  // the last entry is never named
    std::vector<T> y(count * w);
    cpu::embedding_forward<T>(count, e, w, table.data(), index.data(), y.data());
    for (index_t i = 0; i < count * w; ++i) REQUIRE(y[i] == table[index[i / w] * w + i % w]);
    const auto run = [&](auto kernel) {
      return [&, kernel](In<T> gy, Out<T> out) {
        kernel(count, e, w, Rows<const std::int64_t>{index.data(), 0, nullptr, gy.count}, gy, out);
      };
    };
    check_rows<T>(count * w, e * w, run(cpu::embedding_backward<T>),
                  run(cpu::embedding_backward_naive<T>), 4);
  }
}

TEST_CASE_TEMPLATE("embedding: indices of their own for each row", T, float, double) {
  const auto index = indices("index", 3 * 4, 5);
  Block<T> gy = Block<T>::normal("gy", 4 * 3, 3), got(15, 3), expected(15, 3);
  const Rows<const std::int64_t> rows{index.data(), 4, nullptr, 3};
  cpu::embedding_backward<T>(4, 5, 3, rows, gy.in(), got.rows());
  cpu::embedding_backward_naive<T>(4, 5, 3, rows, gy.in(), expected.rows());
  CHECK(difference(got.memory(), expected.memory()) <= tolerance<T>());
  CHECK(got.canaries_alive());
}

TEST_CASE_TEMPLATE("gather: picks along an axis, gradients to the places picked", T, float,
                   double) {
  const std::pair<AxisGeometry, index_t> cases[] = {
      {{3, 7, 5}, 4}, {{129, 11, 1}, 1}, {{2, 3, 4001}, 6}, {{3, 7, 5}, 0}};
  for (const auto& [geometry, count] : cases) {
    const AxisGeometry g = geometry;
    const index_t picks = count, n = g.outer * picks * g.inner;
    const auto x = normals<T>("x", g.outer * g.length * g.inner);
    const auto index = indices("index", n, g.length);
    const auto source = [&](index_t at) {
      return (at / g.inner / picks * g.length + index[at]) * g.inner + at % g.inner;
    };
    std::vector<T> y(n);
    cpu::gather_forward<T>(g, picks, x.data(), index.data(), y.data());
    for (index_t i = 0; i < n; ++i) REQUIRE(y[i] == x[source(i)]);
    const auto naive = [&](In<T> gy, Out<T> gx) {
      for (std::int32_t r = 0; r < gy.count; ++r) {
        if (!gx.accumulate) std::fill_n(gx[r], x.size(), T(0));
        for (index_t i = 0; i < n; ++i) gx[r][source(i)] += gy[r][i];
      }
    };
    check_rows<T>(
        n, static_cast<index_t>(x.size()),
        [&](In<T> gy, Out<T> gx) { cpu::gather_backward<T>(g, picks, index.data(), gy, gx); },
        naive);
  }
}
