// Residual networks, as trunks: [n, channels, h, w] -> [n, features].
#pragma once

#include <concord/nn/network.h>

namespace concord::nn {

struct ResNetOptions {
  int depth = 18;  ///< 18, 34 or 50
  bool small_images =
      false;  ///< stem: 3x3 convolution, no pooling, instead of 7x7 by 2 and pooling
  bool zero_init_residual = false;  ///< each block starts as the identity: its last gamma is 0
  index_t channels = 3;             ///< of the input
};

/// ResNet-18, 34, 50 (He et al., "Deep residual learning for image recognition", CVPR 2016) with
/// torchvision's structure (the stride of a bottleneck is in its 3x3 convolution), its parameter
/// names and its initialisation; its state dicts load unchanged. 512 features, 2048 for depth 50.
class ResNet : public Trunk {
 public:
  /// Throws ValueError for another depth.
  ResNet(const Scope& scope, const ResNetOptions& options);

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  bool pool_;
  std::vector<std::unique_ptr<Sequential>> layers_;  // "layer1" to "layer4"
};

/// ResNetV2-18 with pre-activation (He et al., "Identity mappings in deep residual networks", ECCV
/// 2016, figure 4e): batch norm and ReLU stand before each convolution, a projection shortcut sees
/// the pre-activated input, and a last batch norm "bn" and ReLU follow the blocks. 512 features.
class ResNetV2 : public Trunk {
 public:
  /// Throws ValueError for a depth other than 18.
  ResNetV2(const Scope& scope, const ResNetOptions& options);

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  Conv2d conv1_;
  bool pool_;
  std::vector<std::unique_ptr<Sequential>> layers_;
  BatchNorm2d bn_;
};

}  // namespace concord::nn
