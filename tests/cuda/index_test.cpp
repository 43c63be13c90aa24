#include "sides.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

// Terms are added in the order of the indices on both devices: the bits are equal.

TEST_CASE_TEMPLATE("device: embedding, and its gradient to the bits of the CPU's", T, float,
                   double) {
  // The third: several entries for each block. The last: more columns than a block has.
  const index_t shapes[][3] = {{11, 5, 7}, {531, 17, 33}, {300, 2100, 3}, {0, 3, 2}, {13, 3, 301}};
  for (const auto& [n, entries, width] : shapes) {
    CAPTURE(n);
    const index_t count = n, e = entries, w = width;
    const Operand<T> table(normals<T>("table", e * w));
    const Operand<std::int64_t> index(indices("index", count, e - 1));  // the last is never named
    check_sides_plain<T>(
        count * w,
        [&](Side at, const Kernels<T>& k, T* y) {
          k.embedding_forward(count, e, w, table.on(at), index.on(at), y);
        },
        0);
    const auto backward = [&](Side at, const Kernels<T>& k, In<T> gy, Out<T> out) {
      k.embedding_backward(count, e, w,
                           Rows<const std::int64_t>{index.on(at), 0, nullptr, gy.count}, gy, out);
    };
    if (e == 5) {
      check_sides<T>(count * w, e * w, backward, {67}, 0);
    } else {
      check_sides<T>(count * w, e * w, backward, {2}, 0);
    }
  }
}

TEST_CASE_TEMPLATE("device: embedding with indices of their own for each row", T, float, double) {
  const Operand<std::int64_t> index(indices("index", 3 * 4, 5));
  Rowed<T> gy(Block<T>::normal("gy", 4 * 3, 3), true), got(Block<T>(15, 3), true);
  for (const Side at : {Side::cpu, Side::cuda}) {
    table_of<T>(at).embedding_backward(
        4, 5, 3, Rows<const std::int64_t>{index.on(at), 4, nullptr, 3}, gy.on(at), got.on(at));
  }
  CHECK(got.memory(Side::cuda) == got.memory(Side::cpu));
}

TEST_CASE_TEMPLATE("device: gather, and its gradient to the bits of the CPU's", T, float, double) {
  const std::pair<AxisGeometry, index_t> cases[] = {
      {{3, 7, 5}, 4}, {{129, 11, 1}, 1}, {{2, 3, 401}, 6}, {{3, 7, 5}, 0}};
  for (const auto& [geometry, count] : cases) {
    const AxisGeometry g = geometry;
    const index_t picks = count, n = g.outer * picks * g.inner, m = g.outer * g.length * g.inner;
    const Operand<T> x(normals<T>("x", m));
    const Operand<std::int64_t> index(indices("index", n, g.length));
    check_sides_plain<T>(
        n,
        [&](Side at, const Kernels<T>& k, T* y) {
          k.gather_forward(g, picks, x.on(at), index.on(at), y);
        },
        0);
    const auto backward = [&](Side at, const Kernels<T>& k, In<T> gy, Out<T> gx) {
      k.gather_backward(g, picks, index.on(at), gy, gx);
    };
    if (picks == 4) {
      check_sides<T>(n, m, backward, {67}, 0);
    } else {
      check_sides<T>(n, m, backward, {1, 3}, 0);
    }
  }
}
