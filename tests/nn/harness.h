// One recorded forward and backward pass of a module or function, for comparison with goldens.
#pragma once

#include <concord/autograd/ops.h>
#include <concord/autograd/tape.h>
#include <concord/nn/module.h>
#include <concord/tests/golden.h>

#include <memory>
#include <vector>

namespace concord::testing {

/// Errors allowed against PyTorch in f64, relative to the largest value: f64 differs by the order
/// of sums only; f32 is the engine's promise.
inline double tolerance(DType dtype) { return dtype == DType::f64 ? 1e-12 : 1e-5; }

/// A store with one network, filled by name, one tape, one ordinary gradient row over everything.
template <class Net>
struct Rig {
  template <class Make>
  Rig(DType dtype, Make&& make)
      : net(make(Scope(store))), theta(store, dtype), gradient(store, 1, dtype, Columns::all) {
    fill_by_name(theta);
  }

  Context context(bool training) {
    return {.theta = &theta, .tape = &tape, .training = training, .rng = Rng(1)};
  }
  Tensor gradient_of(const std::string& name) const { return gradient.slice(store.find(name), 0); }

  ParameterStore store;
  std::unique_ptr<Net> net;
  Theta theta;
  GradientMatrix gradient;
  Tape tape;
};

/// Sweeps back from y with this cotangent into `gradient` and to x; returns x's gradient.
inline Tensor sweep(Tape& tape, const Var& y, const Tensor& gy, const Var& x,
                    GradientMatrix* gradient) {
  const Seed seed{y, 0, 1, gy};
  std::vector<Tensor> gx;
  tape.backward(std::span(&seed, 1), 1, gradient, {.wanted = std::span(&x, 1), .gradients = &gx});
  return gx[0].view(x.shape());
}

}  // namespace concord::testing
