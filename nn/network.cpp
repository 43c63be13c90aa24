#include <concord/nn/lenet.h>
#include <concord/nn/mlp.h>
#include <concord/nn/network.h>
#include <concord/nn/resnet.h>

#include <fmt/format.h>

#include <array>

namespace concord::nn {

Network::Network(const Scope& scope, std::unique_ptr<Trunk> trunk, std::span<const index_t> outputs)
    : trunk_(std::move(trunk)) {
  if (outputs.empty()) throw ValueError("network: no task given, expected at least one");
  for (std::size_t t = 0; t < outputs.size(); ++t) {
    const std::string name = outputs.size() == 1 ? "fc" : fmt::format("heads.{}", t);
    heads_.push_back(std::make_unique<Linear>((scope / name).task(static_cast<int>(t)),
                                              trunk_->features(), outputs[t]));
  }
}

void Network::forward(const Context& ctx, const Var& x, std::vector<Var>& outputs, Loc at) const {
  const Var shared = features(ctx, x, at);
  outputs.resize(heads_.size());
  for (int t = 0; t < tasks(); ++t) outputs[static_cast<std::size_t>(t)] = head(ctx, t, shared, at);
}

std::vector<Var> Network::operator()(const Context& ctx, const Var& x, Loc at) const {
  std::vector<Var> outputs;
  forward(ctx, x, outputs, at);
  return outputs;
}

namespace {

void check_image(std::string_view net, const Shape& input) {
  if (input.rank() == 3) return;
  throw ShapeError(
      fmt::format("{}: input has {} axes, needs [channels, height, width]", net, input.rank()),
      {{"input", to_string(input)}});
}

template <class T, ResNetOptions options>
std::unique_ptr<Trunk> make_resnet(const Scope& scope, const NetworkOptions& o) {
  check_image("resnet", o.input);
  ResNetOptions r = options;
  r.channels = o.input[0];
  return std::make_unique<T>(scope, r);
}

constexpr ResNetOptions resnet(int depth, bool small_images) {
  return {.depth = depth, .small_images = small_images};
}

}  // namespace

std::span<const NetworkEntry> networks() {
  constexpr std::string_view kResNet = "He et al., CVPR 2016; structure and names of torchvision";
  constexpr std::string_view kResNetV2 = "He et al., ECCV 2016 (pre-activation)";
  static const std::array kAll{
      NetworkEntry{"lenet",
                   "two convolutions (10, 20), one hidden layer of 50",
                   "LeCun et al. 1998, as in Sener and Koltun, NeurIPS 2018",
                   {1, 36, 36},
                   [](const Scope& scope, const NetworkOptions& o) -> std::unique_ptr<Trunk> {
                     check_image("lenet", o.input);
                     return std::make_unique<LeNet>(scope, o.input);
                   }},
      NetworkEntry{"mlp",
                   "fully connected layers (hidden sizes and activation by setting)",
                   "",
                   {1, 28, 28},
                   [](const Scope& scope, const NetworkOptions& o) -> std::unique_ptr<Trunk> {
                     return std::make_unique<Mlp>(scope, o.input.numel(), o.hidden, o.activation);
                   }},
      NetworkEntry{"resnet18",
                   "ResNet-18, ImageNet stem",
                   kResNet,
                   {3, 224, 224},
                   make_resnet<ResNet, resnet(18, false)>},
      NetworkEntry{"resnet34",
                   "ResNet-34, ImageNet stem",
                   kResNet,
                   {3, 224, 224},
                   make_resnet<ResNet, resnet(34, false)>},
      NetworkEntry{"resnet50",
                   "ResNet-50, ImageNet stem",
                   kResNet,
                   {3, 224, 224},
                   make_resnet<ResNet, resnet(50, false)>},
      NetworkEntry{"resnet18-32",
                   "ResNet-18, stem for 32x32 images",
                   kResNet,
                   {3, 32, 32},
                   make_resnet<ResNet, resnet(18, true)>},
      NetworkEntry{"resnet34-32",
                   "ResNet-34, stem for 32x32 images",
                   kResNet,
                   {3, 32, 32},
                   make_resnet<ResNet, resnet(34, true)>},
      NetworkEntry{"resnet50-32",
                   "ResNet-50, stem for 32x32 images",
                   kResNet,
                   {3, 32, 32},
                   make_resnet<ResNet, resnet(50, true)>},
      NetworkEntry{"resnetv2-18",
                   "ResNetV2-18, ImageNet stem",
                   kResNetV2,
                   {3, 224, 224},
                   make_resnet<ResNetV2, resnet(18, false)>},
      NetworkEntry{"resnetv2-18-32",
                   "ResNetV2-18, stem for 32x32 images",
                   kResNetV2,
                   {3, 32, 32},
                   make_resnet<ResNetV2, resnet(18, true)>},
  };
  return kAll;
}

const NetworkEntry& find_network(std::string_view name) {
  std::vector<std::string> names;
  for (const NetworkEntry& e : networks()) {
    if (e.name == name) return e;
    names.emplace_back(e.name);
  }
  throw_unknown("network", name, names);
}

std::unique_ptr<Network> make_network(std::string_view name, const Scope& scope,
                                      const NetworkOptions& options) {
  return std::make_unique<Network>(scope, find_network(name).make(scope, options), options.outputs);
}

}  // namespace concord::nn
