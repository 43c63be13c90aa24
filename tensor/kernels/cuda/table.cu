// A device's table of kernels.
#include <concord/tensor/kernels/cuda/launch.h>
#include <concord/tensor/kernels/cuda/table.h>

namespace concord::cuda {

template <class T>
const kernels::Kernels<T>& table(int device) {
  static const kernels::Kernels<T> kTable = [] {
    kernels::Kernels<T> k{};
    kernels::cuda::set_gemm(k);
    kernels::cuda::set_conv(k);
    kernels::cuda::set_pool(k);
    kernels::cuda::set_norm(k);
    kernels::cuda::set_optim(k);
    kernels::cuda::set_gram(k);
    kernels::cuda::set_elementwise(k);
    kernels::cuda::set_reduce(k);
    kernels::cuda::set_softmax(k);
    kernels::cuda::set_index(k);
    return k;
  }();
  kernels::cuda::run_on(device);
  return kTable;
}

template const kernels::Kernels<float>& table<float>(int);
template const kernels::Kernels<double>& table<double>(int);

}  // namespace concord::cuda
