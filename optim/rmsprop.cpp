#include <concord/optim/rmsprop.h>
#include <concord/tensor/kernels/kernels.h>

namespace concord::optim {

Rmsprop::Rmsprop(const Theta& theta, const RmspropOptions& o)
    : Optimizer(theta.store(), o.rate, o.decay),
      options_(o),
      v_(Tensor::zeros_like(theta.values())) {
  if (o.rate < 0 || o.momentum < 0 || o.decay < 0 || o.eps < 0) {
    throw ValueError("rmsprop: rate, momentum, decay and eps must not be negative");
  }
  if (o.alpha < 0 || o.alpha >= 1) throw ValueError("rmsprop: alpha must be in [0, 1)");
  if (o.momentum > 0) momentum_ = Tensor::zeros_like(theta.values());
  if (o.centered) mean_ = Tensor::zeros_like(theta.values());
}

std::map<std::string, Tensor> Rmsprop::state() const {
  std::map<std::string, Tensor> s{{"v", v_}};
  if (momentum_.defined()) s.emplace("momentum", momentum_);
  if (mean_.defined()) s.emplace("mean", mean_);
  return s;
}

template <class T>
void Rmsprop::apply(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                    kernels::WeightedRows<T> d) {
  const auto at = [offset](const Tensor& t) {
    return t.defined() ? t.data<T>() + offset : nullptr;
  };
  s.beta2 = options_.alpha;
  s.eps = options_.eps;
  s.momentum = options_.momentum;
  s.centered = options_.centered;
  kernels::table<T>(theta.values().device())
      .rmsprop_step(size, s, d, at(theta.values()), at(v_), at(momentum_), at(mean_));
}

void Rmsprop::update(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                     kernels::WeightedRows<float> d) {
  apply(theta, offset, size, s, d);
}
void Rmsprop::update(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                     kernels::WeightedRows<double> d) {
  apply(theta, offset, size, s, d);
}

}  // namespace concord::optim
