#include <concord/optim/adam.h>
#include <concord/tensor/kernels/kernels.h>

#include <cmath>

namespace concord::optim {

Adam::Adam(const Theta& theta, const AdamOptions& o)
    : Optimizer(theta.store(), o.rate, o.decay),
      options_(o),
      m_(Tensor::zeros_like(theta.values())),
      v_(Tensor::zeros_like(theta.values())) {
  if (o.rate < 0 || o.decay < 0 || o.eps < 0)
    throw ValueError("adam: rate, decay and eps must not be negative");
  if (o.beta1 < 0 || o.beta1 >= 1 || o.beta2 < 0 || o.beta2 >= 1)
    throw ValueError("adam: beta1 and beta2 must be in [0, 1)");
}

template <class T>
void Adam::apply(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                 kernels::WeightedRows<T> d) {
  const double t = static_cast<double>(steps() + 1);
  s.beta1 = options_.beta1;
  s.beta2 = options_.beta2;
  s.eps = options_.eps;
  s.bias1 = 1 - std::pow(options_.beta1, t);
  s.bias2 = 1 - std::pow(options_.beta2, t);
  const auto& k = kernels::table<T>(theta.values().device());
  (options_.form == Decay::coupled ? k.adam_step : k.adamw_step)(
      size, s, d, theta.values().data<T>() + offset, m_.data<T>() + offset, v_.data<T>() + offset);
}

void Adam::update(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                  kernels::WeightedRows<float> d) {
  apply(theta, offset, size, s, d);
}
void Adam::update(const Theta& theta, index_t offset, index_t size, kernels::StepScalars s,
                  kernels::WeightedRows<double> d) {
  apply(theta, offset, size, s, d);
}

}  // namespace concord::optim
