#include <concord/nn/layers.h>

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace concord::nn {
namespace {

constexpr SliceId kNone = -1;

/// A parameter that a layer may do without: an undefined Var then.
Var optional_parameter(const Context& ctx, SliceId id) {
  return id == kNone ? Var() : ctx.parameter(id);
}

}  // namespace

Var Sequential::forward(const Context& ctx, const Var& x) const {
  Var y = x;
  for (const auto& module : modules_) y = (*module)(ctx, y);
  return y;
}

Linear::Linear(const Scope& scope, index_t in, index_t out, bool bias, Initializer weight)
    : Module(scope),
      weight_(scope.parameter("weight", {out, in}, std::move(weight))),
      bias_(bias ? scope.parameter("bias", {out}, init::default_bias(in)) : kNone) {}

Var Linear::forward(const Context& ctx, const Var& x) const {
  return linear(x, ctx.parameter(weight_), optional_parameter(ctx, bias_));
}

Conv2d::Conv2d(const Scope& scope, index_t in, index_t out, std::array<index_t, 2> kernel,
               const Conv2dOptions& options, bool bias, Initializer weight)
    : Module(scope), options_(options), bias_(kNone) {
  if (options.groups < 1 || in % options.groups != 0) {
    throw ShapeError(
        fmt::format("conv2d: {} input channels do not split into {} groups", in, options.groups),
        {{"module", path()}});
  }
  const Shape shape{out, in / options.groups, kernel[0], kernel[1]};
  weight_ = scope.parameter("weight", shape, std::move(weight));
  if (bias) bias_ = scope.parameter("bias", {out}, init::default_bias(shape.span(1, 4)));
}

Var Conv2d::forward(const Context& ctx, const Var& x) const {
  return conv2d(x, ctx.parameter(weight_), optional_parameter(ctx, bias_), options_);
}

BatchNorm::BatchNorm(const Scope& scope, index_t channels, int rank,
                     const BatchNormOptions& options, Initializer weight)
    : Module(scope),
      rank_(rank),
      options_(options),
      weight_(scope.parameter("weight", {channels}, std::move(weight))),
      bias_(scope.parameter("bias", {channels}, init::zeros())),
      running_mean_(scope.buffer("running_mean", {channels}, 0)),
      running_var_(scope.buffer("running_var", {channels}, 1)) {}

Var BatchNorm::forward(const Context& ctx, const Var& x) const {
  check_rank("batch_norm", "input", x.value(), rank_);
  return batch_norm(x, ctx.parameter(weight_), ctx.parameter(bias_), ctx.buffer(running_mean_),
                    ctx.buffer(running_var_), ctx.training, options_);
}

LayerNorm::LayerNorm(const Scope& scope, const Shape& over, double eps)
    : Module(scope),
      axes_(over.rank()),
      eps_(eps),
      weight_(scope.parameter("weight", over, init::ones())),
      bias_(scope.parameter("bias", over, init::zeros())) {}

Var LayerNorm::forward(const Context& ctx, const Var& x) const {
  return layer_norm(x, ctx.parameter(weight_), ctx.parameter(bias_), axes_, eps_);
}

Dropout::Dropout(const Scope& scope, double p) : Module(scope), p_(p) {
  if (!(p >= 0 && p < 1)) throw ValueError(fmt::format("dropout: p is {}, expected 0 <= p < 1", p));
}

Var Dropout::forward(const Context& ctx, const Var& x) const {
  return ctx.training && p_ > 0 ? dropout(x, p_, ctx.rng.fork(path())) : x;
}

Activation::Activation(const Scope& scope, std::string_view name)
    : Activation(scope, activation(name)) {}

Activation::Function activation(std::string_view name) {
  static const std::vector<std::pair<std::string, Activation::Function>> kAll{
      {"relu", [](const Var& x) { return relu(x); }},
      {"leaky_relu", [](const Var& x) { return leaky_relu(x, 0.01); }},
      {"elu", [](const Var& x) { return elu(x, 1); }},
      {"gelu", [](const Var& x) { return gelu(x); }},
      {"silu", [](const Var& x) { return silu(x); }},
      {"tanh", [](const Var& x) { return tanh(x); }},
      {"sigmoid", [](const Var& x) { return sigmoid(x); }},
      {"softplus", [](const Var& x) { return softplus(x); }},
  };
  std::vector<std::string> names;
  for (const auto& [known, f] : kAll) {
    if (known == name) return f;
    names.push_back(known);
  }
  throw_unknown("activation", name, names);
}

Embedding::Embedding(const Scope& scope, index_t entries, index_t width)
    : Module(scope), weight_(scope.parameter("weight", {entries, width}, init::normal())) {}

Var Embedding::forward(const Context& ctx, const Var& index) const {
  return embedding(ctx.parameter(weight_), index.value());
}

}  // namespace concord::nn
