#include <concord/optim/average.h>
#include <concord/tensor/kernels/kernels.h>

namespace concord::optim {

MovingAverage::MovingAverage(const Theta& theta, double momentum)
    : average_(theta.clone()), momentum_(momentum) {
  if (!(momentum >= 0 && momentum < 1))
    throw ValueError("moving average: momentum must be in [0, 1)");
}

void MovingAverage::update(const Theta& theta) {
  kernels::on(theta.values(), [&]<class T>(const kernels::Kernels<T>& k) {
    k.lerp(theta.values().numel(), 1 - momentum_, theta.values().data<T>(),
           average_.values().data<T>());
    k.lerp(theta.buffers().numel(), 1 - momentum_, theta.buffers().data<T>(),
           average_.buffers().data<T>());
  });
}

}  // namespace concord::optim
