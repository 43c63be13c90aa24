// What a user reads after the usual mistakes, word for word.
#include <concord/autograd/ops.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

using namespace concord;
using concord::testing::error_text;

namespace {

Tensor of(const Shape& shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); }

const Loc kHere{"experiments/cifar.cpp", 41};
const std::string kCalled = "\n  called at experiments/cifar.cpp:41";

}  // namespace

TEST_CASE("errors: conv2d and linear") {
  CHECK(error_text<ShapeError>([] {
          conv2d(of({8, 3, 32, 32}), of({32, 16, 3, 3}), {}, {}, kHere);
        }) ==
        "conv2d: input has 3 channels, weight expects 16\n"
        "  input   f32[8,3,32,32]  cpu\n"
        "  weight  f32[32,16,3,3]  cpu   layout [out, in, kh, kw]" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          conv2d(of({8, 3, 9, 9}), of({5, 3, 3, 3}), of({3}), {}, kHere);
        }) ==
        "conv2d: bias has shape [3], needs [5]\n"
        "  bias  f32[3]  cpu" +
            kCalled);
  CHECK(error_text<DTypeError>([] {
          conv2d(of({8, 3, 9, 9}, DType::u8), of({5, 3, 3, 3}), {}, {}, kHere);
        }) ==
        "conv2d: input has elements of type u8, needs f32 or f64\n"
        "  input  u8[8,3,9,9]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          linear(of({4, 7}), of({5, 6}), {}, kHere);
        }) ==
        "linear: input has 7 features, weight expects 6\n"
        "  input   f32[4,7]  cpu\n"
        "  weight  f32[5,6]  cpu   layout [out, in]" +
            kCalled);
  CHECK(error_text<DTypeError>([] {
          linear(of({4, 7}), of({5, 7}, DType::f64), {}, kHere);
        }) ==
        "linear: input is f32, weight is f64\n"
        "  input   f32[4,7]  cpu\n"
        "  weight  f64[5,7]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          matmul(of({4, 7}), of({5, 3}), kHere);
        }) ==
        "matmul: a has 7 columns, b has 5 rows\n"
        "  a  f32[4,7]  cpu\n"
        "  b  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<UsageError>([] {
          linear(Var(), of({5, 6}), {}, kHere);
        }) == "linear: input has no values" + kCalled);
}

TEST_CASE("errors: element by element") {
  CHECK(error_text<ShapeError>([] {
          add(of({5, 3}), of({4}), kHere);
        }) ==
        "add: shapes do not broadcast: axis 1 is 3 and 4\n"
        "  a  f32[5,3]  cpu\n"
        "  b  f32[4]  cpu" +
            kCalled);
  CHECK(error_text<DTypeError>([] { relu(of({5}, DType::i64), kHere); }) ==
        "relu: input has elements of type i64, needs f32 or f64\n"
        "  input  i64[5]  cpu" +
            kCalled);
  CHECK(error_text<ValueError>([] { dropout(of({5}), 1, Rng(), kHere); }) ==
        "dropout: p is 1, needs 0 <= p < 1\n"
        "  input  f32[5]  cpu" +
            kCalled);
}

TEST_CASE("errors: normalisation and pooling") {
  const Tensor stat = of({3});
  CHECK(error_text<ShapeError>([&] {
          batch_norm(of({4, 5}), stat, stat, stat, stat, true, {}, kHere);
        }) ==
        "batch_norm: input has 5 channels, the layer has 3\n"
        "  input  f32[4,5]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([&] {
          batch_norm(of({1, 3}), stat, stat, stat, stat, true, {}, kHere);
        }) ==
        "batch_norm: 1 value(s) per channel, training needs 2 or more\n"
        "  input  f32[1,3]  cpu" +
            kCalled);
  CHECK(error_text<UsageError>([&] {
          batch_norm(of({4, 3}), stat, stat, {}, {}, false, {}, kHere);
        }) ==
        "batch_norm: evaluation needs the running statistics\n"
        "  input  f32[4,3]  cpu" +
            kCalled);
  CHECK(error_text<UsageError>([&] {
          batch_norm(of({4, 3}), stat, stat, stat, {}, true, {}, kHere);
        }) ==
        "batch_norm: running_mean and running_var are needed both, or neither\n"
        "  running_mean  f32[3]  cpu\n"
        "  running_var   undefined" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          layer_norm(of({4, 5}), of({4}), {}, 1, 1e-5, kHere);
        }) ==
        "layer_norm: weight has shape [4], needs [5]\n"
        "  weight  f32[4]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          layer_norm(of({4, 5}), {}, {}, 3, 1e-5, kHere);
        }) ==
        "layer_norm: over the last 3 axes, input has 2\n"
        "  input  f32[4,5]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          max_pool2d(of({4, 5}), {}, kHere);
        }) ==
        "max_pool2d: input has 2 axes, needs 3 or 4\n"
        "  input  f32[4,5]  cpu" +
            kCalled);
}

TEST_CASE("errors: axes, reductions and classification") {
  CHECK(error_text<ShapeError>([] {
          sum(of({5, 3}), 2, false, kHere);
        }) ==
        "sum: axis is 2, input has 2 axes\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          softmax(of({5, 3}), -3, kHere);
        }) ==
        "softmax: axis is -3, input has 2 axes\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          max(of({5, 0}), 1, false, kHere);
        }) ==
        "max: axis 1 has no elements\n"
        "  input  f32[5,0]  cpu" +
            kCalled);
  CHECK(error_text<ValueError>([] {
          cross_entropy(of({3, 10}), Tensor::from<std::int64_t>({4, -100, 10}, {3}), {}, kHere);
        }) ==
        "cross_entropy: target 10 at position 2 is neither in 0 to 9 nor the ignore_index -100\n"
        "  logits  f32[3,10]  cpu\n"
        "  target  i64[3]  cpu" +
            kCalled);
  CHECK(error_text<DTypeError>([] {
          cross_entropy(of({3, 10}), of({3}), {}, kHere);
        }) ==
        "cross_entropy: target has elements of type f32, needs i64\n"
        "  target  f32[3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          cross_entropy(of({3, 10}), of({4}, DType::i64), {}, kHere);
        }) ==
        "cross_entropy: target has shape [4], needs [3]\n"
        "  target  i64[4]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] { cross_entropy(of({10}), of({}, DType::i64), {}, kHere); }) ==
        "cross_entropy: logits has 1 axes, needs 2 or more\n"
        "  logits  f32[10]  cpu" +
            kCalled);
  CHECK(error_text<ValueError>([] {
          cross_entropy(of({3, 10}), of({3}, DType::i64), {1.5}, kHere);
        }) ==
        "cross_entropy: label_smoothing is 1.5, needs 0 to 1\n"
        "  logits  f32[3,10]  cpu" +
            kCalled);
}

TEST_CASE("errors: shape") {
  CHECK(error_text<ShapeError>([] {
          view(of({5, 3}), {4, -1}, kHere);
        }) ==
        "view: 15 elements cannot be seen as [4,3]\n"
        "  tensor  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          concat({of({5, 3}), of({5, 2}), of({4, 3})}, 1, kHere);
        }) ==
        "concat: parts 0 and 2 differ outside axis 1\n"
        "  part 0  f32[5,3]  cpu\n"
        "  part 2  f32[4,3]  cpu" +
            kCalled);
  CHECK(error_text<DTypeError>([] {
          concat({of({5, 3}), of({5, 3}, DType::f64)}, 1, kHere);
        }) ==
        "concat: part 0 is f32, part 1 is f64\n"
        "  part 0  f32[5,3]  cpu\n"
        "  part 1  f64[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] { concat(std::span<const Var>(), 1, kHere); }) ==
        "concat: no parts given" + kCalled);
  CHECK(error_text<ShapeError>([] {
          slice(of({5, 3}), 1, 2, 4, kHere);
        }) ==
        "slice: [2, 4) is outside axis 1 of 3\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          permute(of({5, 3}), {0, 0}, kHere);
        }) ==
        "permute: axis 0 is given twice\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          permute(of({5, 3}), {0}, kHere);
        }) ==
        "permute: 1 axes given, input has 2\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
  const index_t one[] = {1}, two[] = {1, -1};
  CHECK(error_text<ShapeError>([&] {
          pad(of({5, 3}), one, two, 0, kHere);
        }) ==
        "pad: 1 and 2 widths given, input has 2 axes\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ValueError>([&] {
          pad(of({5, 3}), two, two, 0, kHere);
        }) ==
        "pad: widths -1 and -1 of axis 1, need 0 or more\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          broadcast_to(of({5, 3}), {3}, kHere);
        }) ==
        "broadcast_to: [5,3] does not broadcast to [3]\n"
        "  input  f32[5,3]  cpu" +
            kCalled);
}

TEST_CASE("errors: indexing") {
  CHECK(error_text<ValueError>([] {
          embedding(of({7, 3}), Tensor::from<std::int64_t>({6, 7}, {2}), kHere);
        }) ==
        "embedding: index 7 at position 1 is outside 0 to 6\n"
        "  index  i64[2]  cpu" +
            kCalled);
  CHECK(error_text<ShapeError>([] {
          gather(of({5, 3}), 1, of({4, 2}, DType::i64), kHere);
        }) ==
        "gather: index has shape [4,2], needs [5,2]\n"
        "  index  i64[4,2]  cpu" +
            kCalled);
  CHECK(error_text<ValueError>([] {
          gather(of({2, 3}), 1, Tensor::from<std::int64_t>({0, -1}, {2, 1}), kHere);
        }) ==
        "gather: index -1 at position 1 is outside 0 to 2\n"
        "  index  i64[2,1]  cpu" +
            kCalled);
}
