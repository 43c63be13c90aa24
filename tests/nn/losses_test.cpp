#include <concord/nn/losses.h>
#include <concord/tests/nn/harness.h>

#include <doctest/doctest.h>

#include <functional>

using namespace concord;
using namespace concord::testing;
namespace nn = concord::nn;

namespace {

const Golden& losses() {
  static const Golden golden("losses");
  return golden;
}

/// `f(x, dtype, reduction)` against value and gradient for each reduction.
void check_loss(const std::string& name, const Tensor& x64,
                const std::function<Var(const Var&, DType, Reduction)>& f) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
      const std::string text = reduction == Reduction::none   ? "none"
                               : reduction == Reduction::mean ? "mean"
                                                              : "sum";
      CAPTURE(name);
      CAPTURE(text);
      CAPTURE(static_cast<int>(dtype));
      Tape tape;
      const Var x = tape.leaf(x64.to(dtype));
      const Var loss = f(x, dtype, reduction);
      const std::string key = name + "/" + text;
      CHECK(relative_error(loss.value(), losses()[key]) < tolerance(dtype));
      const Tensor gy = reduction == Reduction::none
                            ? named_uniform(name + "/gy", loss.shape(), -1, 1, dtype)
                            : Tensor::full({}, 1, dtype);
      CHECK(relative_error(sweep(tape, loss, gy, x, nullptr), losses()[key + ".grad"]) <
            tolerance(dtype));
    }
  }
}

const Tensor kLogits = named_uniform("logits", {5, 7}, -3, 3);
const Tensor kTarget = named_classes("target", {5}, 7);
const Tensor kImages = named_uniform("images", {2, 5, 3, 4}, -3, 3);
const Tensor kPixels = named_classes("pixels", {2, 3, 4}, 5);
const Tensor kYes = named_uniform("yes", {5, 7}, 0, 1);
const Tensor kWanted = named_uniform("wanted", {5, 7}, -3, 3);

Tensor with_holes() {
  const Tensor t = kTarget.clone();
  t.data<std::int64_t>()[1] = t.data<std::int64_t>()[4] = -100;
  return t;
}

/// kYes with rows that sum to 1 and one zero.
Tensor probabilities() {
  const Tensor p = kYes.clone();
  for (index_t i = 0; i < 5; ++i) {
    double sum = 0;
    for (const double v : p[i].values<double>()) sum += v;
    for (double& v : p[i].values<double>()) v /= sum;
  }
  p.data<double>()[2] = 0;
  return p;
}

}  // namespace

TEST_CASE("losses agree with PyTorch: classification") {
  check_loss("cross_entropy", kLogits, [](const Var& x, DType, Reduction r) {
    return cross_entropy(x, kTarget, {.reduction = r});
  });
  check_loss("cross_entropy_smooth", kLogits, [](const Var& x, DType, Reduction r) {
    return cross_entropy(x, kTarget, {.label_smoothing = 0.1, .reduction = r});
  });
  check_loss("cross_entropy_ignore", kLogits, [](const Var& x, DType, Reduction r) {
    return cross_entropy(x, with_holes(), {.label_smoothing = 0.1, .reduction = r});
  });
  check_loss("cross_entropy_pixels", kImages, [](const Var& x, DType, Reduction r) {
    return cross_entropy(x, kPixels, {.reduction = r});
  });
  check_loss("nll", kLogits, [](const Var& x, DType, Reduction r) {
    return nn::nll_loss(log_softmax(x, 1), kTarget, {.reduction = r});
  });
  check_loss("nll_ignore", kLogits, [](const Var& x, DType, Reduction r) {
    return nn::nll_loss(log_softmax(x, 1), with_holes(), {.reduction = r});
  });
  check_loss("nll_pixels", kImages, [](const Var& x, DType, Reduction r) {
    return nn::nll_loss(log_softmax(x, 1), kPixels, {.reduction = r});
  });
  check_loss("bce", kLogits, [](const Var& x, DType t, Reduction r) {
    return nn::bce_with_logits(x, kYes.to(t), r);
  });
}

TEST_CASE("losses agree with PyTorch: regression and divergence") {
  check_loss("mse", kLogits,
             [](const Var& x, DType t, Reduction r) { return nn::mse_loss(x, kWanted.to(t), r); });
  check_loss("l1", kLogits,
             [](const Var& x, DType t, Reduction r) { return nn::l1_loss(x, kWanted.to(t), r); });
  check_loss("huber", kLogits, [](const Var& x, DType t, Reduction r) {
    return nn::huber_loss(x, kWanted.to(t), 1.3, r);
  });
  check_loss("kl", kLogits, [](const Var& x, DType t, Reduction r) {
    return nn::kl_div(log_softmax(x, 1), probabilities().to(t), {.reduction = r});
  });
  check_loss("kl_log_target", kLogits, [](const Var& x, DType t, Reduction r) {
    return nn::kl_div(log_softmax(x, 1), log_softmax(kWanted.to(t), 1),
                      {.log_target = true, .reduction = r});
  });
  CHECK(relative_error(
            nn::kl_div(log_softmax(kLogits, 1), probabilities(), {.batch_mean = true}).value(),
            losses()["kl_batch_mean"]) < 1e-12);
}

TEST_CASE("bce keeps its digits far from zero on both sides") {
  const Tensor x = Tensor::from<float>({30, -30, 200, -200}, {4});
  const Tensor t = Tensor::from<float>({1, 0, 0, 1}, {4});
  const Tensor loss = nn::bce_with_logits(x, t, Reduction::none).value();
  CHECK(loss.at({0}) == doctest::Approx(std::exp(-30.0)));
  CHECK(loss.at({1}) == doctest::Approx(std::exp(-30.0)));
  CHECK(loss.at({2}) == 200);
  CHECK(loss.at({3}) == 200);
}

TEST_CASE("losses: errors") {
  const Tensor x = Tensor::zeros({4, 3});
  CHECK(error_text<ShapeError>([&] {
          nn::mse_loss(x, Tensor::zeros({4, 1}), Reduction::mean, {"a.cpp", 7});
        }) ==
        "mse_loss: input is [4,3], target is [4,1]\n"
        "  input   f32[4,3]  cpu\n"
        "  target  f32[4,1]  cpu\n"
        "  called at a.cpp:7");
  CHECK(error_text<DTypeError>([&] {
          nn::l1_loss(x, Tensor::zeros({4, 3}, DType::f64), Reduction::mean, {});
        }) ==
        "l1_loss: input is f32, target is f64\n"
        "  input   f32[4,3]  cpu\n"
        "  target  f64[4,3]  cpu");
  CHECK(error_text<ValueError>([&] { nn::huber_loss(x, x, 0, Reduction::mean, {}); }) ==
        "huber_loss: delta is 0, expected delta > 0");
  CHECK(error_text<ValueError>([&] {
          nn::nll_loss(x, Tensor::from<std::int64_t>({0, 2, 3, 1}, {4}), {}, {});
        }) ==
        "nll_loss: target 3 at element 2, expected 0 to 2 or -100\n"
        "  input   f32[4,3]  cpu\n"
        "  target  i64[4]  cpu");
  CHECK(error_text<ShapeError>([&] { nn::nll_loss(x, Tensor::zeros({3}, DType::i64), {}, {}); }) ==
        "nll_loss: target has shape [3], needs [4]\n"
        "  target  i64[3]  cpu");
}
