// The layers. Each registers its parameters under PyTorch's names in its scope; defaults are
// PyTorch's. Shapes: n batch, c channels, h x w image.
#pragma once

#include <concord/autograd/ops.h>
#include <concord/nn/init.h>
#include <concord/nn/module.h>

#include <array>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace concord::nn {

/// Modules one after the other, named by the caller: add<Linear>("fc1", 720, 50).
class Sequential : public Module {
 public:
  explicit Sequential(const Scope& scope) : Module(scope), scope_(scope) {}

  /// Makes an M in the scope of the child `name`.
  template <class M, class... Args>
  M& add(std::string_view name, Args&&... args) {
    auto module = std::make_unique<M>(scope_ / name, std::forward<Args>(args)...);
    M& reference = *module;
    modules_.push_back(std::move(module));
    return reference;
  }

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  Scope scope_;
  std::vector<std::unique_ptr<Module>> modules_;
};

/// [.., in] -> [.., out]: x weightᵀ + bias; weight [out, in], bias [out].
class Linear : public Module {
 public:
  Linear(const Scope& scope, index_t in, index_t out, bool bias = true,
         Initializer weight = init::default_weight());

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  SliceId weight_, bias_;
};

/// [n, in, h, w] -> [n, out, p, q]; weight [out, in / groups, kh, kw], bias [out].
class Conv2d : public Module {
 public:
  Conv2d(const Scope& scope, index_t in, index_t out, std::array<index_t, 2> kernel,
         const Conv2dOptions& options = {}, bool bias = true,
         Initializer weight = init::default_weight());

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  Conv2dOptions options_;
  SliceId weight_, bias_;
};

/// Normalises each channel; weight and bias [c], running_mean and running_var [c] as buffers. In
/// training the batch's statistics are used and the running ones moved.
class BatchNorm : public Module {
 protected:
  BatchNorm(const Scope& scope, index_t channels, int rank, const BatchNormOptions& options,
            Initializer weight);
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  int rank_;
  BatchNormOptions options_;
  SliceId weight_, bias_;
  BufferId running_mean_, running_var_;
};

/// For [n, c].
class BatchNorm1d : public BatchNorm {
 public:
  BatchNorm1d(const Scope& scope, index_t channels, const BatchNormOptions& options = {},
              Initializer weight = init::ones())
      : BatchNorm(scope, channels, 2, options, std::move(weight)) {}
};

/// For [n, c, h, w].
class BatchNorm2d : public BatchNorm {
 public:
  BatchNorm2d(const Scope& scope, index_t channels, const BatchNormOptions& options = {},
              Initializer weight = init::ones())
      : BatchNorm(scope, channels, 4, options, std::move(weight)) {}
};

/// Normalises over the last axes, which have the shape `over`; weight and bias of that shape.
class LayerNorm : public Module {
 public:
  LayerNorm(const Scope& scope, const Shape& over, double eps = 1e-5);

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  int axes_;
  double eps_;
  SliceId weight_, bias_;
};

/// In training each element is dropped with probability p and the others scaled by 1 / (1 - p). The
/// mask comes from the context's stream forked by this module's path: fork the stream per step.
class Dropout : public Module {
 public:
  /// Throws ValueError unless 0 <= p < 1.
  Dropout(const Scope& scope, double p);

 protected:
  Var forward(const Context& ctx, const Var& x) const override;

 private:
  double p_;
};

/// A function without parameters as a module.
class Activation : public Module {
 public:
  using Function = std::function<Var(const Var&)>;
  Activation(const Scope& scope, Function f) : Module(scope), f_(std::move(f)) {}
  /// By name; see activation().
  Activation(const Scope& scope, std::string_view name);

 protected:
  Var forward(const Context&, const Var& x) const override { return f_(x); }

 private:
  Function f_;
};

/// relu, leaky_relu (slope 0.01), elu (1), gelu, silu, tanh, sigmoid, softplus. Throws ValueError
/// with the nearest valid names.
Activation::Function activation(std::string_view name);

class MaxPool2d : public Module {
 public:
  MaxPool2d(const Scope& scope, const Pool2dOptions& options) : Module(scope), options_(options) {}

 protected:
  Var forward(const Context&, const Var& x) const override { return max_pool2d(x, options_); }

 private:
  Pool2dOptions options_;
};

class AvgPool2d : public Module {
 public:
  AvgPool2d(const Scope& scope, const Pool2dOptions& options) : Module(scope), options_(options) {}

 protected:
  Var forward(const Context&, const Var& x) const override { return avg_pool2d(x, options_); }

 private:
  Pool2dOptions options_;
};

/// [n, c, h, w] -> [n, c, p, q] for any h, w.
class AdaptiveAvgPool2d : public Module {
 public:
  AdaptiveAvgPool2d(const Scope& scope, index_t p, index_t q) : Module(scope), p_(p), q_(q) {}

 protected:
  Var forward(const Context&, const Var& x) const override {
    return adaptive_avg_pool2d(x, p_, q_);
  }

 private:
  index_t p_, q_;
};

/// [n, ...] -> [n, the rest in one axis].
class Flatten : public Module {
 public:
  explicit Flatten(const Scope& scope) : Module(scope) {}

 protected:
  Var forward(const Context&, const Var& x) const override { return flatten(x); }
};

/// i64 [...] in [0, entries) -> [..., width]: rows of the table `weight` [entries, width], N(0, 1)
/// at the start. The indices come as a constant Var.
class Embedding : public Module {
 public:
  Embedding(const Scope& scope, index_t entries, index_t width);

 protected:
  Var forward(const Context& ctx, const Var& index) const override;

 private:
  SliceId weight_;
};

}  // namespace concord::nn
