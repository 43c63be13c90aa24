#include <concord/nn/resnet.h>

#include <fmt/format.h>

#include <array>

namespace concord::nn {
namespace {

constexpr index_t kStemPlanes = 64;
constexpr int kStages = 4;

struct Plan {
  std::array<int, kStages> blocks;
  bool bottleneck;
};

Plan plan(int depth) {
  switch (depth) {
    case 18:
      return {{2, 2, 2, 2}, false};
    case 34:
      return {{3, 4, 6, 3}, false};
    case 50:
      return {{3, 4, 6, 3}, true};
    default:
      throw ValueError(fmt::format("resnet: depth {}, expected 18, 34 or 50", depth));
  }
}

constexpr index_t kExpansion = 4;  // output channels of a bottleneck over its inner ones

index_t stage_planes(int stage) { return kStemPlanes << stage; }

/// Convolutions of the ResNets have no bias (a batch norm follows) and start from N(0, 2 /
/// fan_out).
Conv2d conv(const Scope& scope, index_t in, index_t out, index_t kernel, index_t stride = 1) {
  const index_t pad = kernel / 2;
  return {scope,
          in,
          out,
          {kernel, kernel},
          {.stride = {stride, stride}, .padding = {pad, pad}},
          false,
          init::kaiming_normal(0, init::Fan::out)};
}

BatchNorm2d last_norm(const Scope& scope, index_t channels, const ResNetOptions& o) {
  return {scope, channels, {}, o.zero_init_residual ? init::zeros() : init::ones()};
}

/// A 1x1 convolution where the shape changes; null where the input passes as it is.
std::unique_ptr<Sequential> shortcut(const Scope& scope, index_t in, index_t out, index_t stride,
                                     bool norm) {
  if (stride == 1 && in == out) return nullptr;
  auto s = std::make_unique<Sequential>(scope);
  s->add<Conv2d>("0", in, out, std::array<index_t, 2>{1, 1},
                 Conv2dOptions{.stride = {stride, stride}}, false,
                 init::kaiming_normal(0, init::Fan::out));
  if (norm) s->add<BatchNorm2d>("1", out);
  return s;
}

Var through(const std::unique_ptr<Sequential>& shortcut, const Context& ctx, const Var& x) {
  return shortcut ? (*shortcut)(ctx, x) : x;
}

/// Two 3x3 convolutions.
class BasicBlock : public Module {
 public:
  BasicBlock(const Scope& scope, index_t in, index_t planes, index_t stride, const ResNetOptions& o)
      : Module(scope),
        conv1_(conv(scope / "conv1", in, planes, 3, stride)),
        bn1_(scope / "bn1", planes),
        conv2_(conv(scope / "conv2", planes, planes, 3)),
        bn2_(last_norm(scope / "bn2", planes, o)),
        downsample_(shortcut(scope / "downsample", in, planes, stride, true)) {}

 protected:
  Var forward(const Context& ctx, const Var& x) const override {
    const Var a = relu(bn1_(ctx, conv1_(ctx, x)));
    return relu(bn2_(ctx, conv2_(ctx, a)) + through(downsample_, ctx, x));
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  std::unique_ptr<Sequential> downsample_;
};

/// 1x1 down to `planes`, 3x3, 1x1 up to four times as many.
class Bottleneck : public Module {
 public:
  Bottleneck(const Scope& scope, index_t in, index_t planes, index_t stride, const ResNetOptions& o)
      : Module(scope),
        conv1_(conv(scope / "conv1", in, planes, 1)),
        bn1_(scope / "bn1", planes),
        conv2_(conv(scope / "conv2", planes, planes, 3, stride)),
        bn2_(scope / "bn2", planes),
        conv3_(conv(scope / "conv3", planes, planes * kExpansion, 1)),
        bn3_(last_norm(scope / "bn3", planes * kExpansion, o)),
        downsample_(shortcut(scope / "downsample", in, planes * kExpansion, stride, true)) {}

 protected:
  Var forward(const Context& ctx, const Var& x) const override {
    const Var a = relu(bn1_(ctx, conv1_(ctx, x)));
    const Var b = relu(bn2_(ctx, conv2_(ctx, a)));
    return relu(bn3_(ctx, conv3_(ctx, b)) + through(downsample_, ctx, x));
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Conv2d conv3_;
  BatchNorm2d bn3_;
  std::unique_ptr<Sequential> downsample_;
};

/// Pre-activation: norm, ReLU, convolution, twice.
class PreActivationBlock : public Module {
 public:
  PreActivationBlock(const Scope& scope, index_t in, index_t planes, index_t stride,
                     const ResNetOptions&)
      : Module(scope),
        bn1_(scope / "bn1", in),
        conv1_(conv(scope / "conv1", in, planes, 3, stride)),
        bn2_(scope / "bn2", planes),
        conv2_(conv(scope / "conv2", planes, planes, 3)),
        downsample_(shortcut(scope / "downsample", in, planes, stride, false)) {}

 protected:
  Var forward(const Context& ctx, const Var& x) const override {
    const Var a = relu(bn1_(ctx, x));
    const Var b = relu(bn2_(ctx, conv1_(ctx, a)));
    return conv2_(ctx, b) + (downsample_ ? (*downsample_)(ctx, a) : x);
  }

 private:
  BatchNorm2d bn1_;
  Conv2d conv1_;
  BatchNorm2d bn2_;
  Conv2d conv2_;
  std::unique_ptr<Sequential> downsample_;
};

/// "layer1" to "layer4": blocks "0", "1", ...; the first block of stages 2 to 4 halves the image.
template <class Block>
std::vector<std::unique_ptr<Sequential>> stages(const Scope& scope, const ResNetOptions& o,
                                                index_t expansion) {
  const Plan p = plan(o.depth);
  std::vector<std::unique_ptr<Sequential>> result;
  index_t in = kStemPlanes;
  for (int stage = 0; stage < kStages; ++stage) {
    auto layer = std::make_unique<Sequential>(scope / fmt::format("layer{}", stage + 1));
    for (int block = 0; block < p.blocks[stage]; ++block) {
      const index_t stride = stage > 0 && block == 0 ? 2 : 1;
      layer->template add<Block>(std::to_string(block), in, stage_planes(stage), stride, o);
      in = stage_planes(stage) * expansion;
    }
    result.push_back(std::move(layer));
  }
  return result;
}

Conv2d stem(const Scope& scope, const ResNetOptions& o) {
  return o.small_images ? conv(scope, o.channels, kStemPlanes, 3)
                        : conv(scope, o.channels, kStemPlanes, 7, 2);
}

const Pool2dOptions kStemPool{.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}};

Var pooled(const Var& x) { return flatten(adaptive_avg_pool2d(x, 1, 1)); }

index_t expansion(int depth) { return plan(depth).bottleneck ? kExpansion : 1; }

}  // namespace

ResNet::ResNet(const Scope& scope, const ResNetOptions& o)
    : Trunk(scope, stage_planes(kStages - 1) * expansion(o.depth)),
      conv1_(stem(scope / "conv1", o)),
      bn1_(scope / "bn1", kStemPlanes),
      pool_(!o.small_images),
      layers_(plan(o.depth).bottleneck ? stages<Bottleneck>(scope, o, kExpansion)
                                       : stages<BasicBlock>(scope, o, 1)) {}

Var ResNet::forward(const Context& ctx, const Var& x) const {
  Var y = relu(bn1_(ctx, conv1_(ctx, x)));
  if (pool_) y = max_pool2d(y, kStemPool);
  for (const auto& layer : layers_) y = (*layer)(ctx, y);
  return pooled(y);
}

ResNetV2::ResNetV2(const Scope& scope, const ResNetOptions& o)
    : Trunk(scope, stage_planes(kStages - 1)),
      conv1_(stem(scope / "conv1", o)),
      pool_(!o.small_images),
      bn_(scope / "bn", stage_planes(kStages - 1)) {
  if (o.depth != 18) throw ValueError(fmt::format("resnetv2: depth {}, expected 18", o.depth));
  layers_ = stages<PreActivationBlock>(scope, o, 1);
}

Var ResNetV2::forward(const Context& ctx, const Var& x) const {
  Var y = conv1_(ctx, x);
  if (pool_) y = max_pool2d(y, kStemPool);
  for (const auto& layer : layers_) y = (*layer)(ctx, y);
  return pooled(relu(bn_(ctx, y)));
}

}  // namespace concord::nn
