#include <concord/tensor/tensor.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <vector>

using namespace concord;
using concord::testing::error_text;

TEST_CASE("tensor: views and rows share memory, clones do not") {
  const Tensor t = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  const Tensor v = t.view({3, -1});
  CHECK(v.shape() == Shape{3, 2});
  v.data<float>()[5] = 60;
  CHECK(t.at({1, 2}) == 60);
  CHECK(t.rows(1, 2).at({0, 0}) == 4);
  CHECK(t.rows(1, 2).shape() == Shape{1, 3});
  CHECK(t[1].shape() == Shape{3});
  CHECK(t[1].at({1}) == 5);
  CHECK(t[1][2].item() == 60);
  CHECK(t.rows(2, 2).numel() == 0);
  CHECK(t.rows(1, 2).shares_memory_with(t));
  const Tensor c = t.clone();
  CHECK_FALSE(c.shares_memory_with(t));
  c.fill(0);
  CHECK(t.at({0, 0}) == 1);
  const Tensor row = t[1].clone();
  CHECK(row.at({0}) == 4);
}

TEST_CASE("tensor: makers") {
  const Tensor z = Tensor::zeros({2, 5}, DType::i64);
  CHECK(z.dtype() == DType::i64);
  CHECK(z.bytes() == 80);
  for (const auto v : z.values<std::int64_t>()) CHECK(v == 0);
  CHECK(Tensor::full({3}, 2.5, DType::f64).at({2}) == 2.5);
  CHECK(Tensor::empty_like(z).shape() == z.shape());
  CHECK(Tensor::zeros_like(z).dtype() == DType::i64);
  CHECK(Tensor::full({}, 7).item() == 7);
  CHECK_FALSE(Tensor().defined());
  CHECK(Tensor::zeros({0, 4}).clone().numel() == 0);

  double mine[3] = {1, 2, 3};
  {
    const Tensor b = Tensor::borrow(mine, {3});
    b.data<double>()[1] = 20;
  }
  CHECK(mine[1] == 20);
}

TEST_CASE("tensor: conversions saturate for u8 and truncate for i64") {
  const Tensor t = Tensor::from<double>({-3.7, 0.2, 254.9, 300}, {2, 2});
  const Tensor u = t.to(DType::u8);
  CHECK(u.at({0, 0}) == 0);
  CHECK(u.at({1, 0}) == 254);
  CHECK(u.at({1, 1}) == 255);
  const Tensor i = t.to(DType::i64);
  CHECK(i.at({0, 0}) == -3);
  CHECK(i.at({1, 1}) == 300);
  CHECK(t.to(DType::f32).at({0, 0}) == static_cast<double>(-3.7f));
  const Tensor same = t.to(DType::f64);
  CHECK_FALSE(same.shares_memory_with(t));
  CHECK(same.at({0, 0}) == -3.7);
  const Tensor half = t.to(DType::bf16);  // 8 bits: -3.7 lies between -3.703125 and -3.6875
  CHECK(half.bytes() == 8);
  CHECK(half.at({0, 0}) == -3.703125);
  CHECK(half.to(DType::f32).at({1, 1}) == 300);
}

TEST_CASE("tensor: copy_from and one open extent") {
  const Tensor t = Tensor::zeros({3, 4});
  t.rows(1, 2).copy_from(Tensor::from<float>({1, 2, 3, 4}, {2, 2}));
  CHECK(t.at({1, 3}) == 4);
  CHECK(t.at({2, 0}) == 0);
  CHECK(t.view({-1}).shape() == Shape{12});
  CHECK(t.view({2, -1, 3}).shape() == Shape{2, 2, 3});
}

TEST_CASE("tensor: errors by exact text") {
  const Tensor t = Tensor::zeros({2, 3});
  CHECK(error_text<DTypeError>([&] { t.data<double>(); }) ==
        "tensor: elements are f32, accessed as f64\n"
        "  tensor  f32[2,3]  cpu");
  CHECK(error_text<UsageError>([] { Tensor().data<float>(); }) ==
        "tensor: no values (default-constructed tensor)");
  CHECK(error_text<UsageError>([] { Tensor().item(); }) ==
        "tensor: no values (default-constructed tensor)");
  CHECK(error_text<ShapeError>([&] { t.item(); }) ==
        "item: needs one element, has 6\n"
        "  tensor  f32[2,3]  cpu");
  CHECK(error_text<ShapeError>([&] {
          t.at({1, 3});
        }) ==
        "at: index [1,3] is outside\n"
        "  tensor  f32[2,3]  cpu");
  CHECK(error_text<ShapeError>([&] { t.at({1}); }) ==
        "at: index [1] is outside\n"
        "  tensor  f32[2,3]  cpu");
  CHECK(error_text<ShapeError>([&] {
          t.view({4, 2});
        }) ==
        "view: 6 elements cannot be seen as [4,2]\n"
        "  tensor  f32[2,3]  cpu");
  CHECK(error_text<ShapeError>([&] {
          t.view({4, -1});
        }) ==
        "view: 6 elements cannot be seen as [4,1]\n"
        "  tensor  f32[2,3]  cpu");
  CHECK(error_text<ShapeError>([&] { t.rows(1, 3); }) ==
        "rows: [1, 3) is outside\n"
        "  tensor  f32[2,3]  cpu");
  CHECK(error_text<ShapeError>([&] { t.copy_from(Tensor::zeros({5})); }) ==
        "copy_from: size or element type differs\n"
        "  to    f32[2,3]  cpu\n"
        "  from  f32[5]  cpu");
  CHECK(error_text<ShapeError>([] {
          Tensor::from<float>({1, 2, 3}, {2, 2});
        }) ==
        "tensor: 3 values given, the shape has 4\n"
        "  shape  [2,2]");
}

TEST_CASE("tensor: checks that ops share") {
  const Tensor x = Tensor::zeros({2, 3});
  const Tensor y = Tensor::zeros({2, 3}, DType::f64);
  CHECK(error_text<ShapeError>([&] { check_rank("conv2d", "input", x, 4); }) ==
        "conv2d: input has 2 axes, needs 4\n"
        "  input  f32[2,3]  cpu");
  CHECK(error_text<DTypeError>([&] { check_dtype("nll", "target", x, DType::i64); }) ==
        "nll: target has elements of type f32, needs i64\n"
        "  target  f32[2,3]  cpu");
  CHECK(error_text<ShapeError>([&] {
          check_shape("linear", "bias", x, {3}, {"net.cpp", 5});
        }) ==
        "linear: bias has shape [2,3], needs [3]\n"
        "  bias  f32[2,3]  cpu\n"
        "  called at net.cpp:5");
  CHECK(error_text<DTypeError>([&] { check_same_kind("add", "a", x, "b", y); }) ==
        "add: a is f32, b is f64\n"
        "  a  f32[2,3]  cpu\n"
        "  b  f64[2,3]  cpu");
}

TEST_CASE("tensor: printed, long axes shortened") {
  CHECK(to_string(Tensor::from<float>({1, 2.5, -3, 4}, {2, 2})) ==
        "f32[2,2]  cpu\n"
        "[[1, 2.5],\n"
        " [-3, 4]]");
  CHECK(to_string(Tensor::full({11}, 1, DType::i64)) ==
        "i64[11]  cpu\n"
        "[1, 1, 1, 1, ..., 1, 1, 1, 1]");
  CHECK(to_string(Tensor()) == "undefined");
  CHECK(describe(Tensor::zeros({})) == "f32[]  cpu");
}
