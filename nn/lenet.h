// The LeNet trunk of the multitask literature's MultiMNIST experiments.
#pragma once

#include <concord/nn/network.h>

namespace concord::nn {

/// conv 10 5x5, max pool 2, ReLU, conv 20 5x5, max pool 2, ReLU, linear 50, ReLU. On the 36 x 36
/// canvas the linear layer is 720 -> 50. Structure: Sener and Koltun, "Multi-task learning as
/// multi-objective optimization", NeurIPS 2018, supplement A; torch code of the same:
/// model_lenet.py.
class LeNet : public Trunk {
 public:
  /// `input` [c, h, w] of one sample; throws ShapeError below 16 x 16.
  LeNet(const Scope& scope, const Shape& input);

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  Conv2d conv1_, conv2_;
  Linear fc1_;
};

}  // namespace concord::nn
