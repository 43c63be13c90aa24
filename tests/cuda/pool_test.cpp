#include "sides.h"

#include <limits>

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

std::vector<PoolGeometry> cases() {
  const auto make = [](const Shape& x, const Pool2dOptions& o) {
    return PoolGeometry::make("pool", Tensor::empty(x), o);
  };
  const auto adaptive = [](const Shape& x, index_t p, index_t q) {
    return PoolGeometry::make_adaptive("pool", Tensor::empty(x), p, q);
  };
  return {make({2, 3, 7, 9}, {}),
          make({2, 1, 5, 3}, {}),
          make({1, 2, 8, 34}, {.kernel = {2, 2}, .stride = {2, 1}}),
          make({1, 2, 9, 11}, {.kernel = {2, 2}, .stride = {3, 3}}),
          make({2, 3, 11, 13}, {.kernel = {3, 2}, .stride = {2, 3}, .padding = {1, 1}}),
          make({1, 3, 9, 8}, {.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}}),
          make({1, 3, 19, 8},
               {.kernel = {3, 5}, .stride = {2, 1}, .padding = {1, 2}, .count_include_pad = false}),
          make({1, 3, 19, 17}, {.kernel = {7, 9}, .stride = {4, 5}, .padding = {3, 4}}),
          adaptive({2, 3, 7, 9}, 1, 1),
          adaptive({2, 3, 7, 9}, 3, 4),
          adaptive({2, 3, 4, 3}, 5, 7)};
}

/// Few values, so that maxima tie, and some NaN and infinities.
template <class T>
std::vector<T> awkward(index_t n) {
  std::vector<T> v = normals<T>("x", n);
  for (index_t i = 0; i < n; ++i) {
    v[i] = std::round(2 * v[i]);
    if (i % 29 == 5) v[i] = std::numeric_limits<T>::quiet_NaN();
    if (i % 31 == 3) v[i] = -std::numeric_limits<T>::infinity();
  }
  return v;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: max pooling", T, float, double) {
  for (const PoolGeometry& g : cases()) {
    CAPTURE(g.kernel_h);
    CAPTURE(g.p);
    const index_t in = g.planes * g.h * g.w, out = g.planes * g.p * g.q;
    const Operand<T> x(awkward<T>(in));
    Rowed<T> y(Block<T>(out, 1), false);
    Rowed<std::int32_t> argmax(Block<std::int32_t>(out, 1), false);
    for (const Side side : {Side::cpu, Side::cuda}) {
      table_of<T>(side).max_pool2d_forward(g, x.on(side), y.on(side)[0], argmax.on(side)[0]);
    }
    CHECK(argmax.memory(Side::cuda) == argmax.memory(Side::cpu));
    const auto got = y.memory(Side::cuda), expected = y.memory(Side::cpu);
    CHECK(std::memcmp(got.data(), expected.data(), got.size() * sizeof(T)) == 0);
    check_sides<T>(out, in, [&](Side side, const Kernels<T>& k, In<T> gy, Out<T> gx) {
      k.max_pool2d_backward(g, argmax.on(side)[0], gy, gx);
    });
  }
}

TEST_CASE_TEMPLATE("cuda: average pooling", T, float, double) {
  for (const PoolGeometry& g : cases()) {
    CAPTURE(g.kernel_h);
    CAPTURE(g.p);
    const index_t in = g.planes * g.h * g.w, out = g.planes * g.p * g.q;
    const Operand<T> x(normals<T>("x", in));
    check_sides_plain<T>(
        out, [&](Side side, const Kernels<T>& k, T* y) { k.avg_pool2d_forward(g, x.on(side), y); });
    check_sides<T>(out, in, [&](Side, const Kernels<T>& k, In<T> gy, Out<T> gx) {
      k.avg_pool2d_backward(g, gy, gx);
    });
  }
}

TEST_CASE("cuda: pooling of more rows than one launch takes, and of no planes") {
  const auto g = PoolGeometry::make("pool", Tensor::empty({1, 1, 3, 5}), {.kernel = {2, 3}});
  check_sides<float>(g.p * g.q, 15,
                     [&](Side, const Kernels<float>& k, In<float> gy, Out<float> gx) {
                       k.avg_pool2d_backward(g, gy, gx);
                     },
                     {131});
  const auto none = g.with_planes(0);
  check_sides<float>(0, 0, [&](Side, const Kernels<float>& k, In<float> gy, Out<float> gx) {
    k.max_pool2d_backward(none, nullptr, gy, gx);
    k.avg_pool2d_backward(none, gy, gx);
  });
}
