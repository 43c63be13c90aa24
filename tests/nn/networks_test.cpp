#include <concord/nn/network.h>
#include <concord/nn/state.h>
#include <concord/nn/summary.h>
#include <concord/tests/nn/harness.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace concord;
using namespace concord::testing;
namespace nn = concord::nn;

namespace {

using NetworkRig = Rig<nn::Network>;

std::unique_ptr<NetworkRig> rig_of(const std::string& net, const Shape& input,
                                   std::vector<index_t> outputs, DType dtype) {
  return std::make_unique<NetworkRig>(dtype, [&](const Scope& scope) {
    return nn::make_network(net, scope, {.input = input, .outputs = std::move(outputs)});
  });
}

double norm(const Tensor& t) {
  double sum = 0;
  const Tensor x = t.to(DType::f64);
  for (const double v : x.values<double>()) sum += v * v;
  return std::sqrt(sum);
}

/// "name[shape]" lines, sorted, as generate.py writes them.
std::string names_of(const Theta& theta) {
  std::string text;
  for (const auto& [name, t] : theta.state())
    text += (text.empty() ? "" : "\n") + name + to_string(t.shape());
  return text;
}

std::string text_of(const Tensor& bytes) {
  return {reinterpret_cast<const char*>(bytes.raw()), bytes.bytes()};
}

struct Tolerances {
  double eval, train, gradient;
};

const Golden& networks() {
  static const Golden golden("networks");
  return golden;
}

void check_evaluation(const NetworkRig& rig, const std::string& net, const Shape& x_shape,
                      double most) {
  const Tensor x = named_uniform(net + "/x", x_shape, -1, 1, rig.theta.dtype());
  CHECK(relative_error((*rig.net)({.theta = &rig.theta}, x)[0].value(), networks()[net + "/eval"]) <
        most);
}

/// Evaluation, one training pass with its gradients, and the running statistics it leaves.
void check_network(const std::string& net, const Shape& x_shape, DType dtype,
                   const Tolerances& most) {
  CAPTURE(net);
  CAPTURE(static_cast<int>(dtype));
  const Golden& golden = networks();
  const auto rig = rig_of(net, Shape(std::span(x_shape.begin() + 1, 3)), {7}, dtype);
  CHECK(names_of(rig->theta) == text_of(golden[net + "/state"]));

  check_evaluation(*rig, net, x_shape, most.eval);

  const Tensor x = named_uniform(net + "/x", x_shape, -1, 1, dtype);
  const Tensor target = named_classes(net + "/target", {x_shape[0]}, 7);
  const Var y = (*rig->net)(rig->context(true), x)[0];
  CHECK(relative_error(y.value(), golden[net + "/train"]) < most.train);
  const Var loss = cross_entropy(y, target);
  CHECK(relative_error(loss.value(), golden[net + "/loss"]) < most.train);
  rig->tape.backward({loss}, rig->gradient);

  std::vector<double> norms, buffer_norms;
  for (const auto& entry : rig->theta.state()) {
    const std::string& name = entry.first;
    const Tensor& t = entry.second;
    const SliceId id = rig->store.find(name);
    if (id < 0) {
      buffer_norms.push_back(norm(t));
      continue;
    }
    const Tensor g = rig->gradient.slice(id, 0);
    norms.push_back(norm(g));
    CAPTURE(name);
    if (golden.has(net + "/" + name + ".grad")) {
      CHECK(relative_error(g, golden[net + "/" + name + ".grad"]) < most.gradient);
    }
  }
  const auto as_tensor = [](const std::vector<double>& v) {
    return Tensor::from(std::span<const double>(v), {static_cast<index_t>(v.size())});
  };
  CHECK(relative_error(as_tensor(norms), golden[net + "/grad_norms"]) < most.gradient);
  CHECK(relative_error(as_tensor(buffer_norms), golden[net + "/buffer_norms"]) < most.train);
}

}  // namespace

// The largest value is the unit of error.
TEST_CASE("networks agree with torchvision in f64") {
  const Tolerances most{1e-12, 1e-11, 1e-9};
  check_network("resnet18", {4, 3, 39, 35}, DType::f64, most);
  check_network("resnet34", {4, 3, 39, 35}, DType::f64, most);
  check_network("resnet50", {4, 3, 39, 35}, DType::f64, most);
  check_network("resnet18-32", {3, 3, 19, 17}, DType::f64, most);
  check_network("resnetv2-18-32", {3, 3, 19, 17}, DType::f64, most);
}

// 1e-5 for outputs is the engine's promise. Gradients in training mode are worse conditioned, since
// ReLUs near zero switch and batch norm divides by the deviation of a few values. On this input
// PyTorch's own f32 differs from its f64 by (output, gradient of conv1) 1e-6 and 3e-6 for
// ResNet-18, but by 6e-5 and 1e-2 for ResNet-50: there f32 is held to PyTorch in evaluation only.
// 2e-2 for gradients, not 1e-4: builds without fused multiply-add (x86-64-v2) round otherwise, and
// one ReLU that switches moves conv1's gradient of resnet18-32 by 8e-3. The f64 test holds them to
// 1e-9.
TEST_CASE("networks agree with torchvision in f32") {
  check_network("resnet18", {4, 3, 39, 35}, DType::f32, {1e-5, 1e-5, 2e-2});
  check_network("resnet18-32", {3, 3, 19, 17}, DType::f32, {1e-5, 1e-5, 2e-2});
  check_evaluation(*rig_of("resnet50", {3, 39, 35}, {7}, DType::f32), "resnet50", {4, 3, 39, 35},
                   1e-5);
}

TEST_CASE("lenet with two tasks: each row is its task's gradient, heads have their own") {
  const Golden golden("lenet");
  for (const DType dtype : {DType::f64, DType::f32}) {
    ParameterStore store;
    const auto net =
        nn::make_network("lenet", Scope(store), {.input = {1, 36, 36}, .outputs = {10, 10}});
    const Theta theta(store, dtype);
    fill_by_name(theta);
    GradientMatrix g(store, 2, dtype);
    Tape tape;
    const auto outputs = (*net)({.theta = &theta, .tape = &tape, .training = true},
                                named_uniform("lenet/x", {6, 1, 36, 36}, 0, 1, dtype));
    std::vector<Var> losses;
    for (int t = 0; t < 2; ++t) {
      losses.push_back(
          cross_entropy(outputs[t], named_classes("lenet/target" + std::to_string(t), {6}, 10)));
    }
    tape.backward(losses, g);
    const double most = tolerance(dtype);
    for (int t = 0; t < 2; ++t) {
      const std::string n = std::to_string(t);
      CAPTURE(t);
      CHECK(relative_error(outputs[t].value(), golden["output" + n]) < most);
      CHECK(relative_error(losses[t].value(), golden["loss" + n]) < most);
      for (const char* name :
           {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.bias"}) {
        CAPTURE(name);
        CHECK(relative_error(g.slice(store.find(name), t),
                             golden[std::string(name) + ".grad" + n]) < most);
      }
      for (const std::string part : {".weight", ".bias"}) {
        const std::string name = "heads." + n + part;
        CHECK(relative_error(g.slice(store.find(name), t), golden[name + ".grad"]) < most);
      }
    }
    const Tensor gram = Tensor::zeros({2, 2}, DType::f64);
    const Tensor a = g.row(0).to(DType::f64), b = g.row(1).to(DType::f64);
    for (index_t i = 0; i < a.numel(); ++i) {
      const double u = a.data<double>()[i], v = b.data<double>()[i];
      gram.data<double>()[0] += u * u;
      gram.data<double>()[1] += u * v;
      gram.data<double>()[2] += u * v;
      gram.data<double>()[3] += v * v;
    }
    CHECK(relative_error(gram, golden["gram"]) < most);
  }
}

TEST_CASE("network: heads stand in task groups, the trunk is shared") {
  ParameterStore store;
  const auto net =
      nn::make_network("mlp", Scope(store), {.input = {2, 3}, .outputs = {4, 5, 3}, .hidden = {7}});
  CHECK(net->tasks() == 3);
  CHECK(net->trunk().features() == 7);
  CHECK(store.head_groups() == 3);
  CHECK(store.slice(store.find("layers.0.weight")).group == kShared);
  CHECK(store.slice(store.find("heads.1.bias")).group == 1);
  CHECK(store.slice(store.find("heads.1.bias")).shape == Shape{5});
  const Theta theta(store);
  theta.initialize(Rng(5));
  const Context ctx{.theta = &theta};
  const Tensor x = named_uniform("x", {6, 2, 3}, -1, 1, DType::f32);
  std::vector<Var> outputs;
  net->forward(ctx, x, outputs);
  REQUIRE(outputs.size() == 3);
  CHECK(outputs[1].shape() == Shape{6, 5});
  CHECK(relative_error(net->head(ctx, 1, net->features(ctx, x)).value(), outputs[1].value()) == 0);
}

TEST_CASE("networks: every one of the list runs and has help") {
  for (const nn::NetworkEntry& e : nn::networks()) {
    CAPTURE(std::string(e.name));
    CHECK_FALSE(e.help.empty());
    ParameterStore store;
    const bool mlp = e.name == "mlp";
    const Shape input = mlp ? Shape{3, 5} : Shape{2, 19, 17};
    const auto net = nn::make_network(e.name, Scope(store), {.input = input, .outputs = {3, 4}});
    const Theta theta(store);
    const auto y =
        (*net)({.theta = &theta}, named_uniform("x", input.insert(0, 2), -1, 1, DType::f32));
    CHECK(y[1].shape() == Shape{2, 4});
  }
  CHECK(
      error_text<ValueError>([] { nn::find_network("resnet81"); }) ==
      "unknown network 'resnet81'\n"
      "  nearest  resnet18, resnet34, resnet50\n"
      "  valid    lenet, mlp, resnet18, resnet34, resnet50, resnet18-32, resnet34-32, resnet50-32, "
      "resnetv2-18, resnetv2-18-32");
  ParameterStore store;
  CHECK(error_text<ShapeError>([&] {
          nn::make_network("lenet", Scope(store), {.input = {1, 36, 15}, .outputs = {3}});
        }) ==
        "lenet: images of 36x15, needs at least 16x16\n"
        "  input  [1,36,15]");
  CHECK(error_text<ShapeError>(
            [&] { nn::make_network("resnet18", Scope(store), {.input = {9}, .outputs = {3}}); }) ==
        "resnet: input has 1 axes, needs [channels, height, width]\n"
        "  input  [9]");
  CHECK(error_text<ValueError>([&] {
          nn::make_network("mlp", Scope(store, "x"), {.input = {9}});
        }) == "network: no task given, expected at least one");
}

TEST_CASE("resnet starts as torchvision's: norms at one and zero, convolutions from fan_out") {
  ParameterStore store;
  const auto net =
      nn::make_network("resnet18", Scope(store), {.input = {3, 32, 32}, .outputs = {10}});
  const Theta theta(store);
  theta.initialize(Rng(8));
  const auto state = theta.state();
  for (const float v : state.at("layer2.0.bn2.weight").values<float>()) CHECK(v == 1);
  for (const float v : state.at("layer2.0.bn2.bias").values<float>()) CHECK(v == 0);
  for (const float v : state.at("layer2.0.bn2.running_var").values<float>()) CHECK(v == 1);
  const Tensor w = state.at("layer3.1.conv2.weight");  // [256, 256, 3, 3]: deviation sqrt(2 / 2304)
  CHECK(norm(w) / std::sqrt(static_cast<double>(w.numel())) ==
        doctest::Approx(std::sqrt(2.0 / 2304)).epsilon(0.01));
  CHECK(store.parameters() == 11'181'642);  // torchvision's resnet18(num_classes=10)
}

TEST_CASE("summary: parameters and operations from a recorded pass") {
  ParameterStore store;
  const auto net =
      nn::make_network("resnet18", Scope(store), {.input = {3, 224, 224}, .outputs = {1000}});
  const Theta theta(store);
  theta.initialize(Rng(8));
  Tape tape;
  (*net)({.theta = &theta, .tape = &tape}, Tensor::zeros({1, 3, 224, 224}));
  const nn::Summary s = nn::summarize(store, tape);
  CHECK(s.parameters == 11'689'512);
  CHECK(s.parameters == store.parameters());
  CHECK(s.rows.front().module == "conv1");
  CHECK(s.rows.front().op == "conv2d");
  CHECK(s.rows.front().output == Shape{1, 64, 112, 112});
  CHECK(s.rows.front().parameters == 64 * 3 * 49);
  CHECK(s.rows.front().flops == index_t{2} * 112 * 112 * 64 * 3 * 49);
  CHECK(s.rows.back().module == "fc");
  CHECK(s.rows.back().parameters == 513'000);
  // torchvision states 1.814 G multiply-adds for convolutions and the linear layer.
  CHECK(static_cast<double>(s.flops) == doctest::Approx(2 * 1.814e9).epsilon(0.01));
}

TEST_CASE("load_state: by name, all or nothing") {
  ParameterStore store;
  const auto net =
      nn::make_network("resnet18-32", Scope(store), {.input = {3, 32, 32}, .outputs = {4}});
  const Theta from(store, DType::f64), to(store);
  fill_by_name(from);
  auto state = from.state();
  state.emplace("bn1.num_batches_tracked", Tensor::full({}, 3, DType::i64));
  nn::load_state(to, state);
  CHECK(relative_error(to.values(), from.values()) < 1e-7);
  CHECK(relative_error(to.buffers(), from.buffers()) < 1e-7);

  to.values().fill(7);
  auto damaged = state;
  damaged.erase("bn1.running_mean");
  damaged.erase("fc.bias");
  damaged.emplace("head.bias", Tensor::zeros({4}));
  damaged["conv1.weight"] = Tensor::zeros({64, 1, 3, 3});
  damaged["fc.weight"] = Tensor::zeros({4, 512}, DType::i64);
  CHECK(error_text<ValueError>([&] { nn::load_state(to, damaged); }) ==
        "load_state: 2 names missing, 1 unexpected, 2 of another shape or type\n"
        "  missing     bn1.running_mean, fc.bias\n"
        "  unexpected  head.bias\n"
        "  misfits     conv1.weight is f32[64,1,3,3], the network has [64,3,3,3], "
        "fc.weight is i64[4,512], the network has [4,512]");
  CHECK(to[store.find("layer1.0.conv1.weight")].at({0, 0, 0, 0}) == 7);

  // Another number of classes: only the trunk.
  state["fc.weight"] = Tensor::zeros({1000, 512});
  state["fc.bias"] = Tensor::zeros({1000});
  nn::load_state(to, state, {.except = {"fc."}});
  CHECK(to[store.find("fc.bias")].at({2}) == 7);
  CHECK(relative_error(to[store.find("conv1.weight")], from[store.find("conv1.weight")]) < 1e-7);
}
