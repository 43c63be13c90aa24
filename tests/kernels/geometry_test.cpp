#include <concord/tensor/kernels/geometry.h>

#include <doctest/doctest.h>

#include <string>

using namespace concord;
using namespace concord::kernels;

namespace {

/// The whole text of what f throws, and that it is of type E.
template <class E, class F>
std::string thrown(F f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing thrown";
}

Tensor make(const Shape& shape, DType dtype = DType::f32) { return Tensor::empty(shape, dtype); }

template <class E = ShapeError>
std::string conv_error(const Shape& x, const Shape& weight, const Conv2dOptions& o = {}) {
  return thrown<E>([&] { ConvGeometry::make(make(x), make(weight), o); });
}

template <class E = ShapeError>
std::string pool_error(const Shape& x, const Pool2dOptions& o) {
  return thrown<E>([&] { PoolGeometry::make("max_pool2d", make(x), o); });
}

}  // namespace

TEST_CASE("conv2d: output sizes") {
  const Tensor x = make({2, 6, 11, 9}), w = make({4, 3, 3, 2});
  const ConvGeometry g = ConvGeometry::make(
      x, w, {.stride = {2, 1}, .padding = {1, 2}, .dilation = {2, 3}, .groups = 2});
  CHECK(g.p == 5);   // (11 + 2 - 5) / 2 + 1
  CHECK(g.q == 10);  // 9 + 4 - 4 + 1
  CHECK(g.k == 4);
  CHECK(g.x_size() == 6 * 11 * 9);
  CHECK(g.weight_size() == w.numel());
  CHECK(g.flops() == 2 * 2 * 4 * 5 * 10 * 3 * 6);
  CHECK(g.with_batch(7).n == 7);
}

TEST_CASE("conv2d: what does not fit is named") {
  CHECK(conv_error({8, 3, 32, 32}, {32, 16, 3, 3}) ==
        "conv2d: input has 3 channels, weight expects 16\n"
        "  input   f32[8,3,32,32]  cpu\n"
        "  weight  f32[32,16,3,3]  cpu   layout [out, in, kh, kw]");
  CHECK(conv_error({8, 6, 5, 5}, {4, 2, 3, 3}, {.groups = 2}) ==
        "conv2d: input has 6 channels, weight expects 4\n"
        "  input   f32[8,6,5,5]  cpu\n"
        "  weight  f32[4,2,3,3]  cpu   layout [out, in, kh, kw]");
  CHECK(conv_error({8, 3, 32}, {32, 3, 3, 3}) ==
        "conv2d: input has 3 axes, needs 4\n"
        "  input  f32[8,3,32]  cpu");
  CHECK(conv_error({8, 3, 32, 32}, {32, 27}) ==
        "conv2d: weight has 2 axes, needs 4\n"
        "  weight  f32[32,27]  cpu");
  CHECK(conv_error({8, 6, 5, 5}, {5, 2, 3, 3}, {.groups = 3}) ==
        "conv2d: 3 groups do not divide 6 input channels and 5 output channels\n"
        "  input   f32[8,6,5,5]  cpu\n"
        "  weight  f32[5,2,3,3]  cpu   layout [out, in, kh, kw]");
  CHECK(conv_error({1, 2, 3, 9}, {4, 2, 5, 7}) ==
        "conv2d: kernel 5x7 is larger than the padded input 3x9\n"
        "  input   f32[1,2,3,9]  cpu\n"
        "  weight  f32[4,2,5,7]  cpu   layout [out, in, kh, kw]");
  CHECK(conv_error({1, 2, 5, 5}, {4, 2, 3, 3}, {.padding = {0, 1}, .dilation = {3, 1}}) ==
        "conv2d: dilated kernel 7x3 is larger than the padded input 5x7\n"
        "  input   f32[1,2,5,5]  cpu\n"
        "  weight  f32[4,2,3,3]  cpu   layout [out, in, kh, kw]");
  CHECK(conv_error({1, 2, 5, 5}, {0, 2, 3, 3}) ==
        "conv2d: weight has no elements\n"
        "  input   f32[1,2,5,5]  cpu\n"
        "  weight  f32[0,2,3,3]  cpu   layout [out, in, kh, kw]");
}

TEST_CASE("conv2d: options out of range") {
  const std::string fields =
      "\n  input   f32[1,2,5,5]  cpu"
      "\n  weight  f32[4,2,3,3]  cpu   layout [out, in, kh, kw]";
  const auto error = [](const Conv2dOptions& o) {
    return conv_error<ValueError>({1, 2, 5, 5}, {4, 2, 3, 3}, o);
  };
  CHECK(error({.stride = {1, 0}}) == "conv2d: stride is 1x0, needs 1 or more" + fields);
  CHECK(error({.padding = {-1, 0}}) == "conv2d: padding is -1x0, needs 0 or more" + fields);
  CHECK(error({.dilation = {0, 1}}) == "conv2d: dilation is 0x1, needs 1 or more" + fields);
  CHECK(error({.groups = 0}) == "conv2d: groups is 0, needs 1 or more" + fields);
}

TEST_CASE("conv2d: element types differ; the caller's place is told") {
  const Tensor x = make({1, 2, 5, 5}), w = make({4, 2, 3, 3}, DType::f64);
  CHECK(thrown<DTypeError>([&] {
          ConvGeometry::make(x, w, {}, Loc{"net.cpp", 41});
        }) ==
        "conv2d: input is f32, weight is f64\n"
        "  input   f32[1,2,5,5]  cpu\n"
        "  weight  f64[4,2,3,3]  cpu\n"
        "  called at net.cpp:41");
}

TEST_CASE("conv2d: devices differ") {
  float value = 0;
  const Tensor x = make({1, 1, 1, 1});
  const Tensor w = Tensor::borrow(&value, {1, 1, 1, 1}, Device{DeviceType::cuda, 0});
  CHECK(thrown<DeviceError>([&] { ConvGeometry::make(x, w, {}); }) ==
        "conv2d: input is on cpu, weight on cuda:0\n"
        "  input   f32[1,1,1,1]  cpu\n"
        "  weight  f32[1,1,1,1]  cuda:0");
}

TEST_CASE("linear: leading axes are folded; features must agree") {
  const LinearGeometry g = LinearGeometry::make(make({2, 3, 5}), make({7, 5}));
  CHECK(g.n == 6);
  CHECK(g.in == 5);
  CHECK(g.out == 7);
  CHECK(LinearGeometry::make(make({5}), make({7, 5})).n == 1);
  CHECK(thrown<ShapeError>([] {
          LinearGeometry::make(make({2, 6}), make({7, 5}));
        }) ==
        "linear: input has 6 features, weight expects 5\n"
        "  input   f32[2,6]  cpu\n"
        "  weight  f32[7,5]  cpu   layout [out, in]");
  CHECK(thrown<ShapeError>([] {
          LinearGeometry::make(make({2, 6}), make({6}));
        }) ==
        "linear: weight has 1 axes, needs 2\n"
        "  weight  f32[6]  cpu");
  CHECK(thrown<ShapeError>([] {
          LinearGeometry::make(make({}), make({7, 5}));
        }) ==
        "linear: input has 0 axes, needs 1 or more\n"
        "  input  f32[]  cpu");
  CHECK(thrown<DTypeError>([] {
          LinearGeometry::make(make({5}, DType::f64), make({7, 5}));
        }) ==
        "linear: input is f64, weight is f32\n"
        "  input   f64[5]  cpu\n"
        "  weight  f32[7,5]  cpu");
}

TEST_CASE("pooling: sizes and errors") {
  const PoolGeometry g = PoolGeometry::make(
      "max_pool2d", make({2, 3, 11, 8}), {.kernel = {3, 2}, .stride = {2, 0}, .padding = {1, 0}});
  CHECK(g.planes == 6);
  CHECK(g.p == 6);
  CHECK(g.q == 4);
  CHECK(g.stride_w == 2);
  CHECK(g.with_planes(5).planes == 5);
  CHECK(PoolGeometry::make("max_pool2d", make({3, 4, 4}), {}).planes == 3);

  CHECK(pool_error({4, 4}, {}) ==
        "max_pool2d: input has 2 axes, needs 3 or 4\n  input  f32[4,4]  cpu");
  CHECK(pool_error({1, 2, 4}, {.kernel = {3, 3}}) ==
        "max_pool2d: kernel 3x3 is larger than the padded input 2x4\n  input  f32[1,2,4]  cpu");
  CHECK(pool_error<ValueError>({1, 4, 4}, {.kernel = {0, 2}}) ==
        "max_pool2d: kernel is 0x2, needs 1 or more\n  input  f32[1,4,4]  cpu");
  CHECK(pool_error<ValueError>({1, 4, 4}, {.stride = {-1, 2}}) ==
        "max_pool2d: stride is -1x2, needs 0 or more\n  input  f32[1,4,4]  cpu");
  CHECK(pool_error<ValueError>({1, 4, 4}, {.padding = {0, -2}}) ==
        "max_pool2d: padding is 0x-2, needs 0 or more\n  input  f32[1,4,4]  cpu");
  CHECK(pool_error<ValueError>({1, 4, 4}, {.kernel = {3, 2}, .padding = {2, 1}}) ==
        "max_pool2d: padding 2x1 is more than half of the kernel 3x2\n  input  f32[1,4,4]  cpu");
  float value = 0;
  const Tensor large = Tensor::borrow(&value, {1, 65536, 65536});
  CHECK(thrown<ShapeError>([&] { PoolGeometry::make("avg_pool2d", large, {}); }) ==
        "avg_pool2d: a plane has 65536x65536 elements, at most 2^31 - 1 are possible\n"
        "  input  f32[1,65536,65536]  cpu");
}

TEST_CASE("adaptive pooling") {
  const PoolGeometry g =
      PoolGeometry::make_adaptive("adaptive_avg_pool2d", make({2, 3, 7, 5}), 3, 2);
  CHECK(g.adaptive);
  CHECK(g.p == 3);
  CHECK(g.q == 2);
  CHECK(g.planes == 6);
  CHECK(thrown<ValueError>([] {
          PoolGeometry::make_adaptive("adaptive_avg_pool2d", make({1, 4, 4}), 0, 2);
        }) == "adaptive_avg_pool2d: output is 0x2, needs 1 or more\n  input  f32[1,4,4]  cpu");
  CHECK(thrown<ShapeError>([] {
          PoolGeometry::make_adaptive("adaptive_avg_pool2d", make({1, 0, 4}), 1, 2);
        }) ==
        "adaptive_avg_pool2d: input planes are 0x4, need 1 or more\n  input  f32[1,0,4]  cpu");
}

TEST_CASE("batch norm: channels are axis 1") {
  const BatchNormGeometry g = BatchNormGeometry::make(make({2, 3, 5, 7}), 3);
  CHECK(g.inner == 35);
  CHECK(BatchNormGeometry::make(make({2, 3}), 3).inner == 1);
  CHECK(thrown<ShapeError>([] {
          BatchNormGeometry::make(make({2, 3, 5}), 16);
        }) == "batch_norm: input has 3 channels, the layer has 16\n  input  f32[2,3,5]  cpu");
  CHECK(thrown<ShapeError>([] { BatchNormGeometry::make(make({3}), 3); }) ==
        "batch_norm: input has 1 axes, needs 2 or more\n  input  f32[3]  cpu");
}

TEST_CASE("one axis, or a run of axes") {
  const AxisGeometry one = AxisGeometry::make(Shape{2, 3, 5, 7}, -2);
  CHECK(one.outer == 6);
  CHECK(one.length == 5);
  CHECK(one.inner == 7);
  const AxisGeometry run = AxisGeometry::make(Shape{2, 3, 5, 7}, 1, -2);
  CHECK(run.outer == 2);
  CHECK(run.length == 15);
  CHECK(run.inner == 7);
  CHECK(thrown<ShapeError>([] {
          AxisGeometry::make(Shape{2, 3, 5}, 2, 1);
        }) == "axes: first axis 2 comes after last axis 1\n  shape  [2,3,5]");
  CHECK(thrown<ShapeError>([] {
          AxisGeometry::make(Shape{2, 3}, 2);
        }) == "shape: axis 2 of a tensor with 2 axes\n  shape  [2,3]");
}

TEST_CASE("broadcasting: merged loops") {
  const auto geometry = [](const Shape& a, const Shape& b) {
    return BroadcastGeometry::make("add", make(a), make(b));
  };
  const BroadcastGeometry equal = geometry({2, 3, 5}, {2, 3, 5});
  CHECK(equal.rank == 1);
  CHECK(equal.extent[0] == 30);
  const BroadcastGeometry bias = geometry({2, 3, 5, 7}, {3, 1, 1});
  CHECK(bias.out == Shape{2, 3, 5, 7});
  CHECK(bias.rank == 3);
  CHECK(bias.extent[2] == 35);
  CHECK(bias.b_stride[0] == 0);
  CHECK(bias.b_stride[1] == 1);
  CHECK(bias.b_stride[2] == 0);
  CHECK(bias.b_numel == 3);
  const BroadcastGeometry scalar = geometry({}, {4, 5});
  CHECK(scalar.out == Shape{4, 5});
  CHECK(scalar.rank == 1);
  CHECK(scalar.a_stride[0] == 0);
  CHECK(scalar.b_stride[0] == 1);
  const BroadcastGeometry outer = geometry({4, 1}, {1, 5});
  CHECK(outer.out == Shape{4, 5});
  CHECK(outer.rank == 2);
  const BroadcastGeometry one = geometry({1, 1}, {1});
  CHECK(one.out == Shape{1, 1});
  CHECK(one.rank == 1);
  CHECK(one.extent[0] == 1);
  CHECK(geometry({0, 3}, {1, 3}).out == Shape{0, 3});
}

TEST_CASE("broadcasting: shapes that do not fit") {
  CHECK(thrown<ShapeError>([] {
          BroadcastGeometry::make("add", make({2, 3}), make({2, 4}));
        }) ==
        "add: shapes do not broadcast: axis 1 is 3 and 4\n"
        "  a  f32[2,3]  cpu\n"
        "  b  f32[2,4]  cpu");
  CHECK(thrown<ShapeError>([] {
          BroadcastGeometry::make("mul", make({5, 2, 3}), make({4, 3}));
        }) ==
        "mul: shapes do not broadcast: axis 1 is 2 and 4\n"
        "  a  f32[5,2,3]  cpu\n"
        "  b  f32[4,3]  cpu");
  CHECK(thrown<DTypeError>(
            [] { BroadcastGeometry::make("div", make({2}), make({2}, DType::f64)); }) ==
        "div: a is f32, b is f64\n"
        "  a  f32[2]  cpu\n"
        "  b  f64[2]  cpu");
}
