#include <concord/nn/mlp.h>

#include <fmt/format.h>

namespace concord::nn {

Mlp::Mlp(const Scope& scope, index_t inputs, std::span<const index_t> hidden,
         std::string_view activation)
    : Trunk(scope, hidden.empty() ? inputs : hidden.back()),
      activation_(nn::activation(activation)) {
  index_t width = inputs;
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    layers_.push_back(
        std::make_unique<Linear>(scope / fmt::format("layers.{}", i), width, hidden[i]));
    width = hidden[i];
  }
}

Var Mlp::forward(const Context& ctx, const Var& x) const {
  Var y = x.rank() == 2 ? x : flatten(x);
  for (const auto& layer : layers_) y = activation_((*layer)(ctx, y));
  return y;
}

}  // namespace concord::nn
