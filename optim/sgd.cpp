#include <concord/optim/sgd.h>
#include <concord/tensor/kernels/kernels.h>

namespace concord::optim {

Sgd::Sgd(const Theta& theta, const SgdOptions& o)
    : Optimizer(theta.store(), o.rate, o.decay), options_(o) {
  if (o.rate < 0 || o.momentum < 0 || o.decay < 0)
    throw ValueError("sgd: rate, momentum and decay must not be negative");
  if (o.nesterov && (o.momentum <= 0 || o.dampening != 0)) {
    throw ValueError("sgd: Nesterov's form needs a momentum above 0 and no dampening");
  }
  if (o.momentum > 0) momentum_ = Tensor::zeros_like(theta.values());
}

std::map<std::string, Tensor> Sgd::state() const {
  if (!momentum_.defined()) return {};
  return {{"momentum", momentum_}};
}

template <class T>
void Sgd::apply(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                kernels::WeightedRows<T> d) {
  s.momentum = options_.momentum;
  s.dampening = options_.dampening;
  s.nesterov = options_.nesterov;
  kernels::table<T>(theta.values().device())
      .sgd_step(size, s, d, theta.values().data<T>() + offset,
                momentum_.defined() ? momentum_.data<T>() + offset : nullptr);
}

void Sgd::update(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                 kernels::WeightedRows<float> d) {
  apply(theta, offset, size, s, d);
}
void Sgd::update(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                 kernels::WeightedRows<double> d) {
  apply(theta, offset, size, s, d);
}

}  // namespace concord::optim
