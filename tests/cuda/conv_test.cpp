// Convolutions on the device against those on the CPU, each way through the kernels.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cuda/conv.h>
#include <concord/tests/cuda/mirror.h>
#include <doctest/doctest.h>

#include <limits>
#include <set>

using namespace concord;
using namespace concord::kernels;
using namespace concord::testing;
using kernels::cuda::ConvPass;
using kernels::cuda::ConvWay;

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

// Tiles with and without rests in rows, columns and the reduction; more than one of them each way;
// planes that do and do not divide by 4; phases without a position of the kernel, with unequal
// numbers of them, and more than one launch holds.
const Case kCases[] = {
    {"one pixel", 1, 1, 1, 1, 1, 1, 1, {}},
    {"odd", 2, 3, 7, 9, 5, 3, 2, {}},
    {"padded", 3, 5, 11, 8, 7, 3, 3, {.padding = {1, 1}}},
    {"padding wider than the kernel", 2, 4, 4, 5, 6, 2, 3, {.padding = {3, 4}}},
    {"stride 2", 2, 6, 13, 17, 9, 3, 3, {.stride = {2, 2}, .padding = {1, 1}}},
    {"1x1 stride 2", 3, 34, 8, 10, 15, 1, 1, {.stride = {2, 2}}},
    {"stride beyond the kernel", 2, 5, 11, 14, 4, 2, 2, {.stride = {3, 4}}},
    {"stride beyond the input", 2, 5, 3, 4, 6, 2, 3, {.stride = {5, 6}}},
    {"uneven strides", 2, 4, 12, 19, 5, 5, 3, {.stride = {1, 3}, .padding = {2, 0}}},
    {"twenty phases", 1, 4, 21, 19, 5, 7, 6, {.stride = {5, 4}, .padding = {2, 1}}},
    {"dilated", 2, 4, 15, 14, 5, 3, 3, {.padding = {2, 1}, .dilation = {2, 3}}},
    {"dilated, strided",
     2,
     4,
     15,
     18,
     5,
     3,
     3,
     {.stride = {2, 2}, .padding = {2, 3}, .dilation = {2, 3}}},
    {"groups", 2, 8, 9, 8, 10, 3, 3, {.padding = {1, 1}, .groups = 2}},
    {"depthwise", 2, 7, 8, 9, 14, 3, 3, {.stride = {1, 2}, .padding = {1, 1}, .groups = 7}},
    {"depthwise, dilated", 2, 3, 13, 18, 3, 3, 2, {.dilation = {2, 4}, .groups = 3}},
    {"one channel to many", 2, 1, 14, 13, 40, 3, 3, {}},
    {"many channels to one", 2, 40, 9, 7, 1, 3, 3, {}},
    {"1x1", 3, 20, 6, 7, 33, 1, 1, {}},
    {"1x1, one image", 1, 20, 6, 7, 33, 1, 1, {}},
    {"kernel as large as the input", 4, 5, 5, 6, 8, 5, 6, {}},
    {"small maps, many images", 40, 9, 3, 4, 18, 3, 3, {.padding = {1, 1}}},
    {"two tiles of rows and columns", 2, 11, 10, 12, 70, 3, 3, {.padding = {1, 1}}},
    {"many pixels, few channels", 2, 5, 66, 67, 6, 1, 2, {}},
    {"many pixels", 2, 4, 17, 67, 5, 3, 3, {.padding = {1, 1}}},
};

// The widest tiles are chosen where they fill a large device: these are for one pass each, f32.
const Case kWideForward{"wide forward", 2, 5, 64, 101, 120, 1, 2, {}};
const Case kWideGradInput{"wide gradient of the input", 2, 120, 64, 100, 5, 1, 2, {}};
const Case kWideGradWeight{"wide gradient of the weight", 2, 14, 9, 11, 120, 3, 3, {}};

const std::vector<std::int32_t> kMap{4, 1, 2};  // places of three rows among five

// Every other case of f32 adds to what is there, and of f64 the others do.
template <class T>
bool accumulates(const Case& test) {
  return (&test - kCases) % 2 == (sizeof(T) == 4 ? 0 : 1);
}

template <class T>
const Kernels<T>& device() {
  return concord::cuda::table<T>(0);
}

}  // namespace

TEST_CASE("cuda conv2d: the cases go all ways") {
  for (const ConvPass pass : {ConvPass::forward, ConvPass::grad_input, ConvPass::grad_weight}) {
    std::set<ConvWay> ways;
    index_t most_parts = 0;
    for (const Case& test : kCases) {
      const auto launch = kernels::cuda::conv_launch(test.geometry(), pass, 4);
      ways.insert(launch.way);
      most_parts = std::max(most_parts, launch.parts);
    }
    for (const Case& test : {kWideForward, kWideGradInput, kWideGradWeight}) {
      ways.insert(kernels::cuda::conv_launch(test.geometry(), pass, 4).way);
    }
    CHECK(ways.size() == 5);
    CHECK((most_parts > 1) == (pass == ConvPass::grad_weight));
  }
}

TEST_CASE("cuda conv2d: the widest tiles") {
  const auto way = [](const Case& test, ConvPass pass) {
    return kernels::cuda::conv_launch(test.geometry(), pass, 4).way;
  };
  {
    REQUIRE(way(kWideForward, ConvPass::forward) == ConvWay::wide);
    const ConvGeometry g = kWideForward.geometry();
    Buffer<float> x(1, g.n * g.x_size()), w(1, g.weight_size()), b(1, g.k);
    Buffer<float> y(1, g.n * g.y_size()), expected = y;
    x.randomize("x"), w.randomize("w"), b.randomize("b");
    cpu::conv2d_forward(g, x.row(0), w.row(0), b.row(0), expected.row(0));
    const Mirror<float> dx(x), dw(w), db(b);
    Mirror<float> dy(y);
    device<float>().conv2d_forward(g, dx.row(0), dw.row(0), db.row(0), dy.row(0));
    dy.download();
    CHECK(y.distance(expected) < device_tolerance<float>());
    CHECK(y.canaries_alive());
  }
  {
    REQUIRE(way(kWideGradInput, ConvPass::grad_input) == ConvWay::wide);
    const ConvGeometry g = kWideGradInput.geometry();
    Buffer<float> w(1, g.weight_size()), gy(1, g.n * g.y_size());
    Buffer<float> gx(1, g.n * g.x_size());
    w.randomize("w"), gy.randomize("gy"), gx.randomize("gx");
    Buffer<float> expected = gx;
    cpu::conv2d_grad_input<float>(g, w.row(0), gy.rows(), expected.rows(true));
    const Mirror<float> dw(w), dgy(gy);
    Mirror<float> dgx(gx);
    device<float>().conv2d_grad_input(g, dw.row(0), dgy.rows(), dgx.rows(true));
    dgx.download();
    CHECK(gx.distance(expected) < device_tolerance<float>());
    CHECK(gx.canaries_alive());
  }
  {
    REQUIRE(way(kWideGradWeight, ConvPass::grad_weight) == ConvWay::wide);
    const ConvGeometry g = kWideGradWeight.geometry();
    Buffer<float> x(1, g.n * g.x_size()), gy(2, g.n * g.y_size()), gw(2, g.weight_size());
    x.randomize("x"), gy.randomize("gy"), gw.randomize("gw");
    Buffer<float> expected = gw;
    Rows<float> shared = x.shared();
    shared.count = 2;
    cpu::conv2d_grad_weight<float>(g, shared, gy.rows(), expected.rows(true));
    const Mirror<float> dx(x), dgy(gy);
    Mirror<float> dgw(gw);
    shared.base = dx.row(0);
    device<float>().conv2d_grad_weight(g, shared, dgy.rows(), dgw.rows(true));
    dgw.download();
    CHECK(gw.distance(expected) < device_tolerance<float>());
    CHECK(gw.canaries_alive());
  }
}

TEST_CASE_TEMPLATE("cuda conv2d: forward as the CPU's", T, float, double) {
  for (const Case& test : kCases) {
    CAPTURE(test.name);
    const ConvGeometry g = test.geometry();
    Buffer<T> x(1, g.n * g.x_size()), w(1, g.weight_size()), b(1, g.k);
    x.randomize("x"), w.randomize("w"), b.randomize("b");
    const Mirror<T> dx(x), dw(w), db(b);
    for (const bool with_bias : {true, false}) {
      Buffer<T> y(1, g.n * g.y_size()), expected = y, naive = y;
      cpu::conv2d_forward(g, x.row(0), w.row(0), with_bias ? b.row(0) : nullptr, expected.row(0));
      Mirror<T> dy(y), dnaive(naive);
      const T* bias = with_bias ? db.row(0) : nullptr;
      device<T>().conv2d_forward(g, dx.row(0), dw.row(0), bias, dy.row(0));
      kernels::cuda::conv2d_forward_naive(g, dx.row(0), dw.row(0), bias, dnaive.row(0));
      dy.download(), dnaive.download();
      CHECK(y.distance(expected) < device_tolerance<T>());
      CHECK(y.canaries_alive());
      CHECK(naive.distance(expected) < device_tolerance<T>());
      CHECK(naive.canaries_alive());
    }
  }
}

TEST_CASE_TEMPLATE("cuda conv2d: gradient of the input as the CPU's, R rows as R separate ones", T,
                   float, double) {
  for (const Case& test : kCases) {
    const ConvGeometry g = test.geometry();
    Buffer<T> w(1, g.weight_size()), gy(3, g.n * g.y_size());
    w.randomize("w"), gy.randomize("gy");
    const Mirror<T> dw(w), dgy(gy);
    const bool accumulate = accumulates<T>(test);
    CAPTURE(test.name);
    CAPTURE(accumulate);
    Buffer<T> gx(3, g.n * g.x_size(), kMap, 5);
    gx.randomize("gx");
    Buffer<T> expected = gx, separate = gx;
    cpu::conv2d_grad_input<T>(g, w.row(0), gy.rows(), expected.rows(accumulate));
    {
      Mirror<T> dgx(gx), one(separate);
      device<T>().conv2d_grad_input(g, dw.row(0), dgy.rows(), dgx.rows(accumulate));
      for (int r = 0; r < 3; ++r) {
        device<T>().conv2d_grad_input(g, dw.row(0), dgy.one(r), one.one(r, accumulate));
      }
      dgx.download(), one.download();
    }
    CHECK(gx.distance(expected) < device_tolerance<T>());
    CHECK(gx.canaries_alive());
    CHECK(gx.equals(separate));
  }
}

TEST_CASE_TEMPLATE("cuda conv2d: gradient of the weight as the CPU's, R rows as R separate ones", T,
                   float, double) {
  for (const Case& test : kCases) {
    const ConvGeometry g = test.geometry();
    Buffer<T> x(3, g.n * g.x_size()), gy(3, g.n * g.y_size());
    x.randomize("x"), gy.randomize("gy");
    const Mirror<T> dx(x), dgy(gy);
    const bool accumulate = accumulates<T>(test);
    CAPTURE(test.name);
    CAPTURE(accumulate);
    Buffer<T> gw(3, g.weight_size(), kMap, 5);
    gw.randomize("gw");
    Buffer<T> expected = gw, separate = gw;
    cpu::conv2d_grad_weight<T>(g, x.shared(), gy.rows(), expected.rows(accumulate));
    {
      Mirror<T> dgw(gw), one(separate);
      device<T>().conv2d_grad_weight(g, dx.shared(), dgy.rows(), dgw.rows(accumulate));
      for (int r = 0; r < 3; ++r) {
        device<T>().conv2d_grad_weight(g, dx.one(0), dgy.one(r), one.one(r, accumulate));
      }
      dgw.download(), one.download();
    }
    CHECK(gw.distance(expected) < device_tolerance<T>());
    CHECK(gw.canaries_alive());
    CHECK(gw.equals(separate));
  }
}

TEST_CASE_TEMPLATE("cuda conv2d: gradient of the weight with one x per row", T, float, double) {
  for (const Case& test : kCases) {
    CAPTURE(test.name);
    const ConvGeometry g = test.geometry().with_batch(1);
    Buffer<T> x(3, g.x_size(), {0, 3, 1}, 4), gy(3, g.y_size());
    x.randomize("x"), gy.randomize("gy");
    Buffer<T> gw(3, g.weight_size()), expected = gw;
    cpu::conv2d_grad_weight<T>(g, x.rows(), gy.rows(), expected.rows());
    const Mirror<T> dx(x), dgy(gy);
    Mirror<T> dgw(gw);
    device<T>().conv2d_grad_weight(g, dx.rows(), dgy.rows(), dgw.rows());
    dgw.download();
    CHECK(gw.distance(expected) < device_tolerance<T>());
    CHECK(gw.canaries_alive());
  }
}

TEST_CASE("cuda conv2d: more rows than a launch takes") {
  constexpr int kRows = 70;
  for (const index_t k : {5, 2}) {  // tiles; directly
    const ConvGeometry g = Case{"", 2, 4, 5, 4, k, 2, 3, {.stride = {2, 1}}}.geometry();
    Buffer<float> x(1, g.n * g.x_size()), w(1, g.weight_size()), gy(kRows, g.n * g.y_size());
    x.randomize("x"), w.randomize("w"), gy.randomize("gy");
    Buffer<float> gx(kRows, g.n * g.x_size()), gw(kRows, g.weight_size());
    Buffer<float> gx_expected = gx, gw_expected = gw;
    Rows<float> shared = x.shared();
    shared.count = kRows;
    cpu::conv2d_grad_input<float>(g, w.row(0), gy.rows(), gx_expected.rows());
    cpu::conv2d_grad_weight<float>(g, shared, gy.rows(), gw_expected.rows());
    const Mirror<float> dx(x), dw(w), dgy(gy);
    Mirror<float> dgx(gx), dgw(gw);
    shared.base = dx.row(0);
    device<float>().conv2d_grad_input(g, dw.row(0), dgy.rows(), dgx.rows());
    device<float>().conv2d_grad_weight(g, shared, dgy.rows(), dgw.rows());
    dgx.download(), dgw.download();
    CHECK(gx.distance(gx_expected) < device_tolerance<float>());
    CHECK(gw.distance(gw_expected) < device_tolerance<float>());
    CHECK(gx.canaries_alive());
    CHECK(gw.canaries_alive());
  }
}

TEST_CASE("cuda conv2d: not-a-numbers stay in the outputs that see them") {
  const ConvGeometry g = Case{"", 2, 4, 9, 8, 6, 3, 3, {.padding = {1, 1}}}.geometry();
  Buffer<float> x(1, g.n * g.x_size()), w(1, g.weight_size()), y(1, g.n * g.y_size());
  x.randomize("x"), w.randomize("w");
  x.row(0)[4 * g.w + 5] = std::numeric_limits<float>::quiet_NaN();  // image 0, channel 0, (4, 5)
  const Mirror<float> dx(x), dw(w);
  Mirror<float> dy(y);
  device<float>().conv2d_forward(g, dx.row(0), dw.row(0), nullptr, dy.row(0));
  dy.download();
  for (index_t i = 0; i < g.n * g.y_size(); ++i) {
    const index_t h = i / g.q % g.p, q = i % g.q;
    const bool sees = i < g.y_size() && h >= 3 && h <= 5 && q >= 4 && q <= 6;
    REQUIRE(std::isnan(y.row(0)[i]) == sees);
  }
}

TEST_CASE("cuda conv2d: an empty batch") {
  for (const index_t k : {7, 2}) {  // tiles; directly
    const ConvGeometry g =
        Case{"", 0, 5, 11, 8, k, 3, 3, {.stride = {2, 1}, .padding = {1, 1}}}.geometry();
    Buffer<float> w(1, g.weight_size()), gw(1, g.weight_size()), none(1, 0), zero = gw;
    std::fill_n(zero.row(0), g.weight_size(), 0.0F);
    w.randomize("w"), gw.randomize("gw");
    Mirror<float> dw(w), dgw(gw), dnone(none);
    device<float>().conv2d_forward(g, dnone.row(0), dw.row(0), nullptr, dnone.row(0));
    device<float>().conv2d_grad_input(g, dw.row(0), dnone.rows(), dnone.rows());
    device<float>().conv2d_grad_weight(g, dnone.shared(), dnone.rows(), dgw.rows());
    dnone.download(), dgw.download();
    CHECK(none.canaries_alive());
    CHECK(gw.equals(zero));
  }
}
