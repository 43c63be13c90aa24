// A plain multi-layer perceptron.
#pragma once

#include <concord/nn/network.h>

namespace concord::nn {

/// Flattens each sample to `inputs` values, then for each hidden size a linear layer "layers.i" and
/// the activation (names of nn::activation).
class Mlp : public Trunk {
 public:
  Mlp(const Scope& scope, index_t inputs, std::span<const index_t> hidden,
      std::string_view activation = "relu");

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  std::vector<std::unique_ptr<Linear>> layers_;
  Activation::Function activation_;
};

}  // namespace concord::nn
