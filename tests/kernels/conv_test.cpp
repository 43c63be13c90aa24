#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tests/kernels/buffers.h>
#include <doctest/doctest.h>

using namespace concord;
using namespace concord::kernels;
using namespace concord::testing;

namespace {

struct Case {
  const char* name;
  index_t n, c, h, w, k, r, s;
  Conv2dOptions options;

  ConvGeometry geometry() const {
    return ConvGeometry::make(Tensor::empty({n, c, h, w}),
                              Tensor::empty({k, c / options.groups, r, s}), options);
  }
};

// One for each way through the kernels: whole-vector, half-vector and single-lane panels; staged
// and not; products per tap, gathered, and in lanes of pixels ("narrow"); several blocks of
// channels, of images, of output rows.
const Case kCases[] = {
    {"one pixel", 1, 1, 1, 1, 1, 1, 1, {}},
    {"odd", 2, 3, 7, 9, 5, 3, 2, {}},
    {"padded", 3, 5, 11, 8, 7, 3, 3, {.padding = {1, 1}}},
    {"padding wider than the kernel", 2, 3, 4, 5, 6, 2, 3, {.padding = {3, 4}}},
    {"stride 2", 2, 6, 13, 17, 9, 3, 3, {.stride = {2, 2}, .padding = {1, 1}}},
    {"stride 2, even", 2, 20, 16, 32, 21, 3, 3, {.stride = {2, 2}, .padding = {1, 1}}},
    {"1x1 stride 2", 3, 34, 8, 10, 15, 1, 1, {.stride = {2, 2}}},
    {"stride beyond the kernel", 2, 3, 11, 14, 4, 2, 2, {.stride = {3, 4}}},
    {"uneven strides", 2, 4, 12, 19, 3, 5, 3, {.stride = {1, 3}, .padding = {2, 0}}},
    {"dilated", 2, 3, 15, 14, 4, 3, 3, {.padding = {2, 1}, .dilation = {2, 3}}},
    {"dilated, strided",
     2,
     3,
     15,
     18,
     4,
     3,
     3,
     {.stride = {2, 2}, .padding = {2, 3}, .dilation = {2, 3}}},
    {"groups", 2, 6, 9, 8, 10, 3, 3, {.padding = {1, 1}, .groups = 2}},
    {"depthwise", 2, 7, 8, 9, 14, 3, 3, {.stride = {1, 2}, .padding = {1, 1}, .groups = 7}},
    {"1x1", 3, 40, 6, 7, 33, 1, 1, {}},
    {"kernel as large as the input", 4, 3, 5, 6, 8, 5, 6, {}},
    {"many channels", 2, 65, 8, 8, 31, 3, 3, {.padding = {1, 1}}},
    {"small maps, many images", 37, 24, 4, 4, 18, 3, 3, {.padding = {1, 1}}},
    {"LeNet 1", 5, 1, 36, 36, 10, 5, 5, {}},
    {"LeNet 2", 9, 10, 16, 16, 20, 5, 5, {}},
    {"narrow, padded", 3, 2, 9, 32, 7, 3, 3, {.padding = {1, 1}}},
    {"narrow, all else",
     2,
     4,
     15,
     34,
     6,
     3,
     2,
     {.stride = {2, 1}, .padding = {1, 0}, .dilation = {3, 2}, .groups = 2}},
    {"narrow, several blocks of rows", 2, 1, 45, 50, 3, 3, 3, {}},
    {"large map", 1, 2, 41, 67, 3, 3, 3, {.padding = {1, 1}}},
};

const std::vector<std::int32_t> kMap{4, 1, 2};  // places of three rows among five

}  // namespace

TEST_CASE_TEMPLATE("conv2d: forward as the naive twin, for any number of threads", T, float,
                   double) {
  for (const Case& test : kCases) {
    CAPTURE(test.name);
    const ConvGeometry g = test.geometry();
    Buffer<T> x(1, g.n * g.x_size()), w(1, g.weight_size()), b(1, g.k);
    x.randomize("x"), w.randomize("w"), b.randomize("b");
    for (const T* bias : {b.row(0), static_cast<T*>(nullptr)}) {
      Buffer<T> y(1, g.n * g.y_size()), expected = y, alone = y;
      cpu::conv2d_forward_naive(g, x.row(0), w.row(0), bias, expected.row(0));
      with_threads(2, [&] { cpu::conv2d_forward(g, x.row(0), w.row(0), bias, y.row(0)); });
      with_threads(1, [&] { cpu::conv2d_forward(g, x.row(0), w.row(0), bias, alone.row(0)); });
      CHECK(y.distance(expected) < tolerance<T>());
      CHECK(y.canaries_alive());
      CHECK(y.equals(alone));
    }
  }
}

TEST_CASE_TEMPLATE("conv2d: gradient of the input, R rows as R separate ones", T, float, double) {
  for (const Case& test : kCases) {
    const ConvGeometry g = test.geometry();
    Buffer<T> w(1, g.weight_size()), gy(3, g.n * g.y_size());
    w.randomize("w"), gy.randomize("gy");
    for (const bool accumulate : {false, true}) {
      CAPTURE(test.name);
      CAPTURE(accumulate);
      Buffer<T> gx(3, g.n * g.x_size(), kMap, 5);
      gx.randomize("gx");
      Buffer<T> expected = gx, separate = gx, alone = gx;
      cpu::conv2d_grad_input_naive<T>(g, w.row(0), gy.rows(), expected.rows(accumulate));
      with_threads(2, [&] {
        cpu::conv2d_grad_input<T>(g, w.row(0), gy.rows(), gx.rows(accumulate));
        for (int r = 0; r < 3; ++r) {
          cpu::conv2d_grad_input<T>(g, w.row(0), gy.one(r), separate.one(r, accumulate));
        }
      });
      with_threads(
          1, [&] { cpu::conv2d_grad_input<T>(g, w.row(0), gy.rows(), alone.rows(accumulate)); });
      CHECK(gx.distance(expected) < tolerance<T>());
      CHECK(gx.canaries_alive());
      CHECK(gx.equals(separate));
      CHECK(gx.equals(alone));
    }
  }
}

TEST_CASE_TEMPLATE("conv2d: gradient of the weight, shared x, R rows as R separate ones", T, float,
                   double) {
  for (const Case& test : kCases) {
    const ConvGeometry g = test.geometry();
    Buffer<T> x(3, g.n * g.x_size()), gy(3, g.n * g.y_size());
    x.randomize("x"), gy.randomize("gy");
    for (const bool accumulate : {false, true}) {
      CAPTURE(test.name);
      CAPTURE(accumulate);
      Buffer<T> gw(3, g.weight_size(), kMap, 5);
      gw.randomize("gw");
      Buffer<T> expected = gw, separate = gw, alone = gw;
      cpu::conv2d_grad_weight_naive<T>(g, x.shared(), gy.rows(), expected.rows(accumulate));
      with_threads(2, [&] {
        cpu::conv2d_grad_weight<T>(g, x.shared(), gy.rows(), gw.rows(accumulate));
        for (int r = 0; r < 3; ++r) {
          cpu::conv2d_grad_weight<T>(g, x.one(0), gy.one(r), separate.one(r, accumulate));
        }
      });
      with_threads(
          1, [&] { cpu::conv2d_grad_weight<T>(g, x.shared(), gy.rows(), alone.rows(accumulate)); });
      CHECK(gw.distance(expected) < tolerance<T>());
      CHECK(gw.canaries_alive());
      CHECK(gw.equals(separate));
      CHECK(gw.equals(alone));
    }
  }
}

TEST_CASE_TEMPLATE("conv2d: gradient of the weight with one x per row", T, float, double) {
  for (const Case& test : kCases) {
    CAPTURE(test.name);
    const ConvGeometry g = test.geometry().with_batch(1);
    Buffer<T> x(3, g.x_size(), {0, 3, 1}, 4), gy(3, g.y_size());
    x.randomize("x"), gy.randomize("gy");
    Buffer<T> gw(3, g.weight_size()), expected = gw, separate = gw;
    cpu::conv2d_grad_weight_naive<T>(g, x.rows(), gy.rows(), expected.rows());
    cpu::conv2d_grad_weight<T>(g, x.rows(), gy.rows(), gw.rows());
    for (int r = 0; r < 3; ++r) {
      cpu::conv2d_grad_weight<T>(g, x.one(r), gy.one(r), separate.one(r));
    }
    CHECK(gw.distance(expected) < tolerance<T>());
    CHECK(gw.canaries_alive());
    CHECK(gw.equals(separate));
  }
}

TEST_CASE("conv2d: an empty batch") {
  const ConvGeometry g = kCases[2].geometry().with_batch(0);
  Buffer<float> w(1, g.weight_size()), gw(1, g.weight_size()), none(1, 0), zero(1, g.weight_size());
  std::fill_n(zero.row(0), g.weight_size(), 0.0F);
  w.randomize("w"), gw.randomize("gw");
  cpu::conv2d_forward<float>(g, none.row(0), w.row(0), nullptr, none.row(0));
  cpu::conv2d_grad_input<float>(g, w.row(0), none.rows(), none.rows());
  CHECK(none.canaries_alive());
  cpu::conv2d_grad_weight<float>(g, none.shared(), none.rows(), gw.rows());
  CHECK(gw.equals(zero));
}
