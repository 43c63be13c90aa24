#include <concord/tensor/shape.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

using namespace concord;
using concord::testing::error_text;

TEST_CASE("shape: extents, products and edits") {
  const Shape s{2, 3, 5, 7};
  CHECK(s.rank() == 4);
  CHECK(s.numel() == 210);
  CHECK(s[-1] == 7);
  CHECK(s[1] == 3);
  CHECK(s.span(1, 3) == 15);
  CHECK(s.span(2, 2) == 1);
  CHECK(s.with(-2, 11) == Shape{2, 3, 11, 7});
  CHECK(s.with(-2, 11).numel() == 462);
  CHECK(s.without(0) == Shape{3, 5, 7});
  CHECK(s.without(-1) == Shape{2, 3, 5});
  CHECK(s.insert(0, 9) == Shape{9, 2, 3, 5, 7});
  CHECK(s.insert(4, 9) == Shape{2, 3, 5, 7, 9});
  CHECK(to_string(s) == "[2,3,5,7]");
}

TEST_CASE("shape: scalars and empty extents") {
  const Shape scalar;
  CHECK(scalar.rank() == 0);
  CHECK(scalar.numel() == 1);
  CHECK(to_string(scalar) == "[]");
  CHECK(Shape{3, 0, 2}.numel() == 0);
  CHECK_FALSE(Shape{3, 0} == Shape{0, 3});
  CHECK_FALSE(Shape{3} == Shape{3, 1});
}

TEST_CASE("shape: errors") {
  CHECK(error_text<ShapeError>([] { Shape{1, 1, 1, 1, 1, 1, 1}; }) ==
        "shape: 7 axes, at most 6 are possible\n"
        "  shape  [1,1,1,1,1,1,1]");
  CHECK(error_text<ShapeError>([] {
          Shape{2, -3};
        }) ==
        "shape: axis 1 has negative extent -3\n"
        "  shape  [2,-3]");
  CHECK(error_text<ShapeError>([] {
          Shape{index_t{1} << 40, index_t{1} << 23};
        }) ==
        "shape: more than 2^62 elements\n"
        "  shape  [1099511627776,8388608]");
  CHECK(Shape{index_t{1} << 40, index_t{1} << 22}.numel() == index_t{1} << 62);
  CHECK(error_text<ShapeError>([] {
          return Shape{2, 3}[2];
        }) ==
        "shape: axis 2 of a tensor with 2 axes\n"
        "  shape  [2,3]");
  CHECK(error_text<ShapeError>([] {
          return Shape{2, 3}.normalize(-3);
        }) ==
        "shape: axis -3 of a tensor with 2 axes\n"
        "  shape  [2,3]");
  CHECK(error_text<ShapeError>([] {
          Shape{2, 3}.insert(3, 1);
        }) ==
        "shape: no place 3 to insert an axis\n"
        "  shape  [2,3]");
}

TEST_CASE("errors: fields line up, the innermost module and the outermost caller are named") {
  ShapeError e("conv2d: input has 3 channels, weight expects 16",
               {{"input", "f32[8,3,32,32]  cpu"}, {"weight", "f32[32,16,3,3]  cpu"}});
  CHECK(std::string(e.what()) ==
        "conv2d: input has 3 channels, weight expects 16\n"
        "  input   f32[8,3,32,32]  cpu\n"
        "  weight  f32[32,16,3,3]  cpu");
  e.in_module("net.layer1.0.conv1", {"inner.cpp", 7});
  e.in_module("net.layer1", {"experiments/cifar.cpp", 41});
  CHECK(std::string(e.what()) ==
        "conv2d: input has 3 channels, weight expects 16\n"
        "  input   f32[8,3,32,32]  cpu\n"
        "  weight  f32[32,16,3,3]  cpu\n"
        "  module  net.layer1.0.conv1   called at experiments/cifar.cpp:41");
  CHECK(e.headline() == "conv2d: input has 3 channels, weight expects 16");
  CHECK(std::string(UsageError("tape: closed", {}, {"a.cpp", 3}).what()) ==
        "tape: closed\n"
        "  called at a.cpp:3");
}

TEST_CASE("errors: nearest valid names") {
  const std::vector<std::string> names{"pcgrad", "cagrad", "mgda", "equal", "cosine"};
  CHECK(nearest("pcgard", names).front() == "pcgrad");
  CHECK(nearest("PCGrad", names).front() == "pcgrad");
  CHECK(nearest("cos", names) == std::vector<std::string>{"cosine"});
  CHECK(nearest("transformer", {"mgda"}).empty());
  CHECK(error_text<ValueError>([&] { throw_unknown("method", "cagrda", names); }) ==
        "unknown method 'cagrda'\n"
        "  nearest  cagrad, mgda\n"
        "  valid    pcgrad, cagrad, mgda, equal, cosine");
}
