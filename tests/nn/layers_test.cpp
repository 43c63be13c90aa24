#include <concord/nn/layers.h>
#include <concord/tests/nn/harness.h>

#include <doctest/doctest.h>

#include <functional>
#include <string>

using namespace concord;
using namespace concord::testing;
namespace nn = concord::nn;

namespace {

const Golden& layers() {
  static const Golden golden("layers");
  return golden;
}

/// Output, gradients and buffers of the module that `make` builds at the scope `name`.
template <class M>
void check_layer(const std::string& name, const Shape& x_shape, bool training,
                 const std::function<std::unique_ptr<M>(const Scope&)>& make) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    CAPTURE(name);
    CAPTURE(static_cast<int>(dtype));
    Rig<M> rig(dtype, [&](const Scope& scope) { return make(scope / name); });
    const Var x = rig.tape.leaf(named_uniform(name + "/x", x_shape, -2, 2, dtype));
    const Var y = (*rig.net)(rig.context(training), x);
    CHECK(relative_error(y.value(), layers()[name + "/y"]) < tolerance(dtype));
    const Tensor gy = named_uniform(name + "/gy", y.shape(), -1, 1, dtype);
    CHECK(relative_error(sweep(rig.tape, y, gy, x, &rig.gradient), layers()[name + "/gx"]) <
          tolerance(dtype));
    for (SliceId id = 0; id < rig.store.slices(); ++id) {
      const std::string& slice = rig.store.slice(id).name;
      const std::string wanted = name + "/" + slice.substr(name.size() + 1) + ".grad";
      CAPTURE(wanted);
      CHECK(relative_error(rig.gradient.slice(id, 0), layers()[wanted]) < tolerance(dtype));
    }
    for (BufferId id = 0; id < rig.store.buffers(); ++id) {
      const std::string wanted = name + "/" + rig.store.buffer(id).name.substr(name.size() + 1);
      CAPTURE(wanted);
      CHECK(relative_error(rig.theta.buffer(id), layers()[wanted]) < tolerance(dtype));
    }
  }
}

template <class M, class... Args>
void check_layer(const std::string& name, const Shape& x_shape, bool training, Args... args) {
  check_layer<M>(name, x_shape, training,
                 std::function<std::unique_ptr<M>(const Scope&)>(
                     [=](const Scope& scope) { return std::make_unique<M>(scope, args...); }));
}

using Two = std::array<index_t, 2>;

}  // namespace

TEST_CASE("layers agree with PyTorch: linear and convolution") {
  check_layer<nn::Linear>("linear", {3, 7}, true, 7, 5);
  check_layer<nn::Linear>("linear_no_bias", {3, 4, 7}, true, 7, 5, false);
  check_layer<nn::Conv2d>("conv_plain", {2, 3, 7, 6}, true, 3, 5, Two{3, 3});
  check_layer<nn::Conv2d>("conv_stride_pad", {2, 3, 9, 8}, true, 3, 5, Two{3, 2},
                          Conv2dOptions{.stride = {2, 3}, .padding = {1, 2}});
  check_layer<nn::Conv2d>("conv_dilated", {3, 2, 9, 7}, true, 2, 3, Two{3, 3},
                          Conv2dOptions{.padding = {2, 2}, .dilation = {2, 2}}, false);
  check_layer<nn::Conv2d>("conv_groups", {3, 4, 7, 9}, true, 4, 6, Two{3, 3},
                          Conv2dOptions{.stride = {2, 2}, .padding = {1, 1}, .groups = 2});
}

TEST_CASE("layers agree with PyTorch: normalisation") {
  check_layer<nn::BatchNorm1d>("batch_norm1d_train", {7, 5}, true, 5);
  check_layer<nn::BatchNorm1d>("batch_norm1d_eval", {7, 5}, false, 5);
  check_layer<nn::BatchNorm2d>("batch_norm2d_train", {4, 3, 5, 2}, true, 3);
  check_layer<nn::BatchNorm2d>("batch_norm2d_eval", {4, 3, 5, 2}, false, 3);
  check_layer<nn::LayerNorm>("layer_norm", {3, 5, 9}, true, Shape{9});
  check_layer<nn::LayerNorm>("layer_norm_two_axes", {5, 4, 3}, true, Shape{4, 3});
}

TEST_CASE("layers agree with PyTorch: pooling") {
  const Shape x{2, 3, 8, 5};
  check_layer<nn::MaxPool2d>("max_pool", x, true,
                             Pool2dOptions{.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 0}});
  Pool2dOptions average{.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 1}};
  check_layer<nn::AvgPool2d>("avg_pool", x, true, average);
  average.count_include_pad = false;
  check_layer<nn::AvgPool2d>("avg_pool_no_pad", x, true, average);
  check_layer<nn::AdaptiveAvgPool2d>("adaptive_avg_pool", x, true, 3, 2);
}

TEST_CASE("layers agree with PyTorch: activations by name") {
  for (const char* name : {"relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus"}) {
    check_layer<nn::Activation>(name, {3, 7}, true, std::string(name));
  }
  check_layer<nn::Activation>(
      "leaky_relu", {3, 7}, true,
      nn::Activation::Function([](const Var& x) { return leaky_relu(x, 0.1); }));
  CHECK(nn::activation("leaky_relu")(Tensor::full({1}, -3, DType::f64)).item() ==
        doctest::Approx(-0.03));
  CHECK(error_text<ValueError>([] { nn::activation("rellu"); }) ==
        "unknown activation 'rellu'\n"
        "  nearest  relu, elu, gelu\n"
        "  valid    relu, leaky_relu, elu, gelu, silu, tanh, sigmoid, softplus");
}

TEST_CASE("layers agree with PyTorch: embedding") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    Rig<nn::Embedding> rig(dtype, [](const Scope& s) {
      return std::make_unique<nn::Embedding>(s / "embedding", 6, 4);
    });
    // generate.py's table has its own bound, that of a weight [6, 4].
    const Var y = (*rig.net)(rig.context(true), named_classes("embedding/x", {3, 5}, 6));
    CHECK(relative_error(y.value(), layers()["embedding/y"]) < tolerance(dtype));
    const Seed seed{y, 0, 1, named_uniform("embedding/gy", y.shape(), -1, 1, dtype)};
    rig.tape.backward(std::span(&seed, 1), 1, &rig.gradient);
    CHECK(relative_error(rig.gradient_of("embedding.weight"), layers()["embedding/weight.grad"]) <
          tolerance(dtype));
  }
}

TEST_CASE("sequential, flatten and dropout") {
  ParameterStore store;
  nn::Sequential net(Scope(store, "net"));
  net.add<nn::Flatten>("0");
  net.add<nn::Linear>("1", 6, 5);
  net.add<nn::Dropout>("2", 0.4);
  CHECK(store.find("net.1.weight") == 0);
  CHECK(store.find("net.1.bias") == 1);
  const Theta theta(store);
  theta.initialize(Rng(3));
  const Tensor x = named_uniform("x", {400, 2, 3}, -1, 1, DType::f32);

  const Var eval = net({.theta = &theta}, x);
  CHECK(eval.shape() == Shape{400, 5});
  const Context training{.theta = &theta, .training = true, .rng = Rng(4)};
  const Tensor a = net(training, x).value();
  index_t kept = 0;
  for (index_t i = 0; i < a.numel(); ++i) {
    const float value = a.data<float>()[i], whole = eval.value().data<float>()[i];
    if (value == 0) continue;
    ++kept;
    CHECK(value == doctest::Approx(whole / 0.6));
  }
  // 2000 elements kept with probability 0.6: four standard deviations are 88.
  CHECK(std::abs(static_cast<double>(kept) - 1200) < 88);
  CHECK(relative_error(net(training, x).value(), a) == 0);
  const Context next{.theta = &theta, .training = true, .rng = Rng(4).fork(std::uint64_t{1})};
  CHECK(relative_error(net(next, x).value(), a) > 0.1);
  CHECK(error_text<ValueError>([&] { nn::Dropout(Scope(store, "d"), 1); }) ==
        "dropout: p is 1, expected 0 <= p < 1");
}

TEST_CASE("errors carry the innermost module and the outermost caller") {
  ParameterStore store;
  nn::Sequential net(Scope(store, "net"));
  auto& stage = net.add<nn::Sequential>("layer1");
  stage.add<nn::Conv2d>("conv1", 16, 32, Two{3, 3});
  stage.add<nn::BatchNorm2d>("bn1", 32);
  const Theta theta(store);
  CHECK(error_text<ShapeError>([&] {
          net({.theta = &theta}, Tensor::zeros({8, 3, 31, 30}), {"experiments/cifar.cpp", 41});
        }) ==
        "conv2d: input has 3 channels, weight expects 16\n"
        "  input   f32[8,3,31,30]  cpu\n"
        "  weight  f32[32,16,3,3]  cpu   layout [out, in, kh, kw]\n"
        "  module  net.layer1.conv1   called at experiments/cifar.cpp:41");

  ParameterStore other;
  const nn::BatchNorm2d norm(Scope(other, "norm"), 5);
  const Theta values(other);
  CHECK(error_text<ShapeError>([&] {
          norm({.theta = &values}, Tensor::zeros({4, 5}), {"a.cpp", 2});
        }) ==
        "batch_norm: input has 2 axes, needs 4\n"
        "  input   f32[4,5]  cpu\n"
        "  module  norm   called at a.cpp:2");
  CHECK(error_text<ShapeError>([&] {
          nn::Conv2d(Scope(other, "c"), 5, 4, {3, 3}, {.groups = 2});
        }) ==
        "conv2d: 5 input channels do not split into 2 groups\n"
        "  module  c");
}

TEST_CASE("one network runs on several θ") {
  ParameterStore store;
  const nn::Linear net(Scope(store, "fc"), 3, 2);
  const Theta a(store), b(store);
  a.initialize(Rng(1));
  b.initialize(Rng(2));
  const Tensor x = named_uniform("x", {4, 3}, -1, 1, DType::f32);
  const Tensor from_a = net({.theta = &a}, x).value();
  CHECK(relative_error(net({.theta = &b}, x).value(), from_a) > 0.1);
  b.copy_from(a);
  CHECK(relative_error(net({.theta = &b}, x).value(), from_a) == 0);
}
