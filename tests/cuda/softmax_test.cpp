#include <concord/tensor/kernels/cuda/naive.h>

#include <limits>

#include "sides.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {
// A warp, a block, a thread for a vector.
const AxisGeometry kShapes[] = {{3, 7, 1},   {2, 1031, 1}, {2, 5, 131},
                                {33, 43, 1}, {2, 19, 37},  {4, 1, 1}};
}  // namespace

TEST_CASE_TEMPLATE("device: softmax and log-softmax, forward", T, float, double) {
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    const index_t n = g.outer * g.length * g.inner;
    auto values = normals<T>("x", n);
    for (T& v : values) v = v * 20 + 90;  // e^x alone would overflow
    const Operand<T> x(values);
    check_sides_plain<T>(
        n, [&](Side at, const Kernels<T>& k, T* y) { k.softmax_forward(g, x.on(at), y); });
    check_sides_plain<T>(
        n, [&](Side at, const Kernels<T>& k, T* y) { k.log_softmax_forward(g, x.on(at), y); });
    check_sides_plain<T>(n, [&](Side at, const Kernels<T>& k, T* y) {
      if (at == Side::cuda) {
        kernels::cuda::softmax_forward_naive<T>(g, x.on(at), y);
      } else {
        k.softmax_forward(g, x.on(at), y);
      }
    });
  }
}

TEST_CASE_TEMPLATE("device: softmax of vectors with infinities and NaN is the CPU's", T, float,
                   double) {
  const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  for (const AxisGeometry& g : {AxisGeometry{1, 40, 1}, {1, 1100, 1}, {1, 5, 2}}) {
    CAPTURE(g.length);
    const index_t n = g.length * g.inner;
    for (int kind = 0; kind < 5; ++kind) {
      CAPTURE(kind);
      auto x = normals<T>("x", n);
      if (kind == 0) x[0] = x[n / 2] = -inf;  // masked elements
      if (kind == 1) std::fill(x.begin(), x.end() - g.inner, -inf);
      if (kind == 2) std::fill(x.begin(), x.end(), -inf);
      if (kind == 3) x[n / 2] = inf;
      if (kind == 4) x[n - 1] = nan;
      const OnDevice<T> dx(x), dy(n, T(7));
      std::vector<T> y(n);
      cpu_table<T>().softmax_forward(g, x.data(), y.data());
      table_of<T>(Side::cuda).softmax_forward(g, dx, dy);
      const std::vector<T> got = dy.values();
      for (index_t i = 0; i < n; ++i) {
        if (std::isnan(y[i])) {
          CHECK(std::isnan(got[i]));
        } else {
          CHECK(std::abs(got[i] - y[i]) <= device_tolerance<T>());
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("device: softmax and log-softmax, gradients of rows", T, float, double) {
  const auto check = [](const AxisGeometry& g, std::initializer_list<std::int32_t> rows) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    const index_t n = g.outer * g.length * g.inner;
    const auto x = normals<T>("x", n);
    std::vector<T> y(n);
    cpu_table<T>().softmax_forward(g, x.data(), y.data());
    const Operand<T> p(y);
    check_sides<T>(
        n, n,
        [&](Side at, const Kernels<T>& k, In<T> gy, Out<T> gx) {
          k.softmax_backward(g, p.on(at), gy, gx);
        },
        rows);
    cpu_table<T>().log_softmax_forward(g, x.data(), y.data());
    const Operand<T> log_p(y);
    check_sides<T>(
        n, n,
        [&](Side at, const Kernels<T>& k, In<T> gy, Out<T> gx) {
          k.log_softmax_backward(g, log_p.on(at), gy, gx);
        },
        rows);
  };
  for (const AxisGeometry& g : kShapes) check(g, {1, 3});
  check({2, 5, 1}, {67});
}

TEST_CASE_TEMPLATE("device: cross-entropy, loss and gradients, smoothing, ignored targets", T,
                   float, double) {
  constexpr std::int64_t kIgnore = -100;
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    const index_t n = g.outer * g.length * g.inner, vectors = g.outer * g.inner;
    const Operand<T> x(normals<T>("x", n));
    auto targets = indices("target", vectors, g.length);
    for (index_t i = 2; i < vectors; i += 3) targets[i] = kIgnore;
    const Operand<std::int64_t> target(targets);
    for (const double smoothing : {0.0, 0.1}) {
      CAPTURE(smoothing);
      check_sides_plain<T>(n + vectors, [&](Side at, const Kernels<T>& k, T* out) {
        k.cross_entropy_forward(g, x.on(at), target.on(at), kIgnore, smoothing, out + n, out);
      });
      std::vector<T> loss(vectors), values(n);
      cpu_table<T>().cross_entropy_forward(g, x.on(Side::cpu), targets.data(), kIgnore, smoothing,
                                           loss.data(), values.data());
      const Operand<T> log_p(values);
      const auto backward = [&](Side at, const Kernels<T>& k, In<T> gy, Out<T> gx) {
        k.cross_entropy_backward(g, log_p.on(at), target.on(at), kIgnore, smoothing, gy, gx);
      };
      if (g.length == 7) {
        check_sides<T>(vectors, n, backward, {67});
      } else {
        check_sides<T>(vectors, n, backward);
      }
    }
  }
}

TEST_CASE("device: an ignored vector gets no gradient even from an infinite cotangent") {
  const OnDevice<float> log_p({-1, -2, -3}), gx({9, 9, 9});
  const OnDevice<float> gy({std::numeric_limits<float>::infinity()});
  const OnDevice<std::int64_t> target({-1});
  table_of<float>(Side::cuda)
      .cross_entropy_backward({1, 3, 1}, log_p, target, -1, 0, In<float>(one_row(gy.data())),
                              one_row(gx.data()));
  for (const float v : gx.values()) CHECK(v == 0);
}
