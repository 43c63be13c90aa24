#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tests/kernels/buffers.h>
#include <doctest/doctest.h>

#include <limits>

using namespace concord;
using namespace concord::kernels;
using namespace concord::testing;

namespace {

std::vector<PoolGeometry> cases() {
  const auto make = [](const Shape& x, const Pool2dOptions& o) {
    return PoolGeometry::make("pool", Tensor::empty(x), o);
  };
  const auto adaptive = [](const Shape& x, index_t p, index_t q) {
    return PoolGeometry::make_adaptive("pool", Tensor::empty(x), p, q);
  };
  return {make({2, 3, 7, 9}, {}),
          make({1, 2, 32, 40}, {}),
          make({3, 1, 5, 47}, {}),
          make({1, 3, 6, 4}, {}),
          make({2, 1, 5, 3}, {}),
          make({1, 2, 12, 10}, {.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 1}}),
          make({1, 2, 8, 34}, {.kernel = {2, 2}, .stride = {2, 1}}),
          make({2, 3, 11, 13}, {.kernel = {3, 2}, .stride = {2, 3}, .padding = {1, 1}}),
          make({1, 3, 9, 8}, {.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}}),
          make({1, 3, 9, 8},
               {.kernel = {3, 5}, .stride = {2, 1}, .padding = {1, 2}, .count_include_pad = false}),
          adaptive({2, 3, 7, 9}, 1, 1),
          adaptive({2, 3, 7, 9}, 3, 4),
          adaptive({2, 3, 4, 3}, 5, 7)};
}

const std::vector<std::int32_t> kMap{4, 1, 2};  // places of three rows among five

}  // namespace

TEST_CASE_TEMPLATE("pool: forward and backward as the naive twins", T, float, double) {
  for (const PoolGeometry& g : cases()) {
    CAPTURE(g.kernel_h);
    CAPTURE(g.p);
    const index_t in = g.planes * g.h * g.w, out = g.planes * g.p * g.q;
    Buffer<T> x(1, in), gy(3, out);
    x.randomize("x"), gy.randomize("gy");
    std::vector<std::int32_t> argmax(static_cast<std::size_t>(out) + 1, -3),
        expected_argmax = argmax;
    for (const bool max : {true, false}) {
      CAPTURE(max);
      Buffer<T> y(1, out), expected = y;
      if (max) {
        cpu::max_pool2d_forward(g, x.row(0), y.row(0), argmax.data());
        cpu::max_pool2d_forward_naive(g, x.row(0), expected.row(0), expected_argmax.data());
        CHECK(argmax == expected_argmax);
        CHECK(y.equals(expected));
      } else {
        cpu::avg_pool2d_forward(g, x.row(0), y.row(0));
        cpu::avg_pool2d_forward_naive(g, x.row(0), expected.row(0));
        CHECK(y.distance(expected) < tolerance<T>());
      }
      CHECK(y.canaries_alive());
      for (const bool accumulate : {false, true}) {
        CAPTURE(accumulate);
        Buffer<T> gx(3, in, kMap, 5);
        gx.randomize("gx");
        Buffer<T> gx_expected = gx, separate = gx;
        if (max) {
          cpu::max_pool2d_backward<T>(g, argmax.data(), gy.rows(), gx.rows(accumulate));
          cpu::max_pool2d_backward_naive<T>(g, argmax.data(), gy.rows(),
                                            gx_expected.rows(accumulate));
        } else {
          cpu::avg_pool2d_backward<T>(g, gy.rows(), gx.rows(accumulate));
          cpu::avg_pool2d_backward_naive<T>(g, gy.rows(), gx_expected.rows(accumulate));
        }
        for (int r = 0; r < 3; ++r) {
          if (max) {
            cpu::max_pool2d_backward<T>(g, argmax.data(), gy.one(r), separate.one(r, accumulate));
          } else {
            cpu::avg_pool2d_backward<T>(g, gy.one(r), separate.one(r, accumulate));
          }
        }
        CHECK(gx.distance(gx_expected) < tolerance<T>());
        CHECK(gx.canaries_alive());
        CHECK(gx.equals(separate));
      }
    }
  }
}

TEST_CASE("pool: the first of equal maxima, NaN propagates, padding is minus infinity") {
  const auto pool = [](std::vector<float> x, const Pool2dOptions& o,
                       std::vector<std::int32_t>& at) {
    const auto g = PoolGeometry::make("pool", Tensor::empty({1, 1, 2, 4}), o);
    std::vector<float> y(static_cast<std::size_t>(g.p * g.q));
    at.resize(y.size());
    cpu::max_pool2d_forward(g, x.data(), y.data(), at.data());
    return y;
  };
  std::vector<std::int32_t> at;
  CHECK(pool({1, 2, 5, 5, 2, 2, 5, 5}, {}, at) == std::vector<float>{2, 5});
  CHECK(at == std::vector<std::int32_t>{1, 2});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float low = -std::numeric_limits<float>::infinity();
  const auto y = pool({1, nan, low, low, 9, 2, low, low}, {}, at);
  CHECK(std::isnan(y[0]));
  CHECK(y[1] == low);
  CHECK(at == std::vector<std::int32_t>{1, 2});
  CHECK(pool({-1, -2, -3, -4, -5, -6, -7, -8},
             {.kernel = {2, 2}, .stride = {1, 2}, .padding = {1, 1}},
             at) == std::vector<float>{-1, -2, -4, -1, -2, -4, -5, -6, -8});
}

// Among few values ties are frequent; the widths take every number of lanes and the plain loops.
TEST_CASE_TEMPLATE("pool: ties and NaN as the naive twin in every lane", T, float, double) {
  for (const index_t w : {3, 4, 7, 9, 17, 35, 64}) {
    CAPTURE(w);
    const auto g = PoolGeometry::make("pool", Tensor::empty({2, 3, 13, w}), {});
    const index_t in = g.planes * g.h * g.w, out = g.planes * g.p * g.q;
    Buffer<T> x(1, in);
    x.randomize("x");
    const T special[] = {std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::infinity(),
                         T(-0.0), T(0), T(1)};
    for (index_t i = 0; i < in; ++i) {
      x.row(0)[i] = special[std::min(static_cast<int>(4 * std::abs(x.row(0)[i]) + 1.5), 4)];
      if (i % 11 == 5) x.row(0)[i] = special[0];
    }
    Buffer<T> y(1, out), expected(1, out);
    std::vector<std::int32_t> argmax(static_cast<std::size_t>(out)), expected_argmax = argmax;
    cpu::max_pool2d_forward(g, x.row(0), y.row(0), argmax.data());
    cpu::max_pool2d_forward_naive(g, x.row(0), expected.row(0), expected_argmax.data());
    CHECK(argmax == expected_argmax);
    CHECK(y.equals(expected));
    CHECK(y.canaries_alive());
  }
}

TEST_CASE("pool: averages with and without the padding") {
  const float x[] = {3, 5};
  const auto average = [&](bool count_include_pad) {
    const auto g = PoolGeometry::make("pool", Tensor::empty({1, 1, 1, 2}),
                                      {.kernel = {2, 2},
                                       .stride = {2, 2},
                                       .padding = {1, 1},
                                       .count_include_pad = count_include_pad});
    std::vector<float> y(static_cast<std::size_t>(g.p * g.q));
    cpu::avg_pool2d_forward(g, x, y.data());
    return y;
  };
  CHECK(average(true) == std::vector<float>{0.75F, 1.25F});
  CHECK(average(false) == std::vector<float>{3, 5});
}

TEST_CASE("pool: no planes") {
  const auto g = PoolGeometry::make("pool", Tensor::empty({1, 1, 4, 4}), {}).with_planes(0);
  Buffer<float> none(1, 0);
  cpu::max_pool2d_forward<float>(g, none.row(0), none.row(0), nullptr);
  cpu::max_pool2d_backward<float>(g, nullptr, none.rows(), none.rows());
  cpu::avg_pool2d_forward<float>(g, none.row(0), none.row(0));
  cpu::avg_pool2d_backward<float>(g, none.rows(), none.rows());
  CHECK(none.canaries_alive());
}
