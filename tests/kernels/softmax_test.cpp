#include <concord/tensor/kernels/cpu/simd.h>

#include <limits>

#include "rows.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {
const AxisGeometry kShapes[] = {{3, 7, 1},    {5, 1031, 1},  {2, 5, 131},
                                {301, 43, 1}, {2, 19, 1009}, {4, 1, 1}};
}

TEST_CASE("the float exponential is within 2 ulp, and right at the ends") {
  const auto ulp = [](double e) { return std::ldexp(1.0, std::max(std::ilogb(e), -126) - 23); };
  double worst = 0;
  for (std::uint32_t bits = 0; bits < 0x42D00000u; bits += 997) {  // up to |x| = 104
    for (const float x : {std::bit_cast<float>(bits), -std::bit_cast<float>(bits)}) {
      const double exact = std::exp(double{x});
      const float got = cpu::exp_of(x);
      if (exact > std::numeric_limits<float>::max()) {
        CHECK(got == std::numeric_limits<float>::infinity());
      } else {
        worst = std::max(worst, std::abs(got - exact) / ulp(exact));
      }
    }
  }
  CHECK(worst <= 2);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  CHECK(cpu::exp_of(0.0f) == 1);
  CHECK(cpu::exp_of(kInfinity) == kInfinity);
  CHECK(cpu::exp_of(-kInfinity) == 0);
  CHECK(std::isnan(cpu::exp_of(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE_TEMPLATE("softmax and log-softmax: forward", T, float, double) {
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    const index_t n = g.outer * g.length * g.inner;
    auto x = normals<T>("x", n);
    for (T& v : x) v = v * 20 + 90;  // e^x alone would overflow
    const auto run = [&](auto kernel) { return [&, kernel](T* y) { kernel(g, x.data(), y); }; };
    check_plain<T>(n, run(cpu::softmax_forward<T>), run(cpu::softmax_forward_naive<T>));
    check_plain<T>(n, run(cpu::log_softmax_forward<T>), run(cpu::log_softmax_forward_naive<T>));
  }
}

TEST_CASE_TEMPLATE("softmax and log-softmax: gradients of rows", T, float, double) {
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    const index_t n = g.outer * g.length * g.inner;
    const auto x = normals<T>("x", n);
    std::vector<T> y(n);
    const auto run = [&](auto kernel) {
      return [&, kernel](In<T> gy, Out<T> gx) { kernel(g, y.data(), gy, gx); };
    };
    cpu::softmax_forward_naive<T>(g, x.data(), y.data());
    check_rows<T>(n, n, run(cpu::softmax_backward<T>), run(cpu::softmax_backward_naive<T>), 2);
    cpu::log_softmax_forward_naive<T>(g, x.data(), y.data());
    check_rows<T>(n, n, run(cpu::log_softmax_backward<T>), run(cpu::log_softmax_backward_naive<T>),
                  2);
  }
}

TEST_CASE_TEMPLATE("log-softmax: more rows than are handled at once", T, float, double) {
  const AxisGeometry g{2, 5, 3};
  const auto y = normals<T>("y", 30);
  Block<T> gy = Block<T>::normal("gy", 30, 19), got(30, 19), expected(30, 19);
  cpu::log_softmax_backward<T>(g, y.data(), gy.in(), got.rows());
  cpu::log_softmax_backward_naive<T>(g, y.data(), gy.in(), expected.rows());
  CHECK(difference(got.memory(), expected.memory()) <= 2 * tolerance<T>());
}

TEST_CASE_TEMPLATE("cross-entropy: loss and gradients, smoothing, ignored targets", T, float,
                   double) {
  constexpr std::int64_t kIgnore = -100;
  for (const AxisGeometry& g : kShapes) {
    CAPTURE(g.length);
    CAPTURE(g.inner);
    const index_t n = g.outer * g.length * g.inner, vectors = g.outer * g.inner;
    const auto x = normals<T>("x", n);
    auto target = indices("target", vectors, g.length);
    for (index_t i = 2; i < vectors; i += 3) target[i] = kIgnore;
    for (const double smoothing : {0.0, 0.1}) {
      CAPTURE(smoothing);
      const auto forward = [&](auto kernel) {
        return [&, kernel](T* out) {
          kernel(g, x.data(), target.data(), kIgnore, smoothing, out + n, out);
        };
      };
      check_plain<T>(n + vectors, forward(cpu::cross_entropy_forward<T>),
                     forward(cpu::cross_entropy_forward_naive<T>), 2);
      std::vector<T> out(n + vectors);
      forward(cpu::cross_entropy_forward_naive<T>)(out.data());
      const auto backward = [&](auto kernel) {
        return [&, kernel](In<T> gy, Out<T> gx) {
          kernel(g, out.data(), target.data(), kIgnore, smoothing, gy, gx);
        };
      };
      check_rows<T>(vectors, n, backward(cpu::cross_entropy_backward<T>),
                    backward(cpu::cross_entropy_backward_naive<T>), 2);
    }
  }
}

TEST_CASE("cross-entropy: an ignored vector gets no gradient even from an infinite cotangent") {
  const float log_p[] = {-1, -2, -3}, gy = std::numeric_limits<float>::infinity();
  const std::int64_t target = -1;
  float gx[] = {9, 9, 9};
  cpu::cross_entropy_backward<float>({1, 3, 1}, log_p, &target, -1, 0, one_row(&gy), one_row(gx));
  for (const float v : gx) CHECK(v == 0);
}
