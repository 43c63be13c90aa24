// Each .cu file fills its members of the table; its kernels and host functions stay private to it.
#pragma once

#include <concord/tensor/kernels/kernels.h>

namespace concord::kernels::cuda {

template <class T>
void set_gemm(Kernels<T>&);
template <class T>
void set_conv(Kernels<T>&);
template <class T>
void set_pool(Kernels<T>&);
template <class T>
void set_norm(Kernels<T>&);
template <class T>
void set_elementwise(Kernels<T>&);
template <class T>
void set_reduce(Kernels<T>&);
template <class T>
void set_softmax(Kernels<T>&);
template <class T>
void set_index(Kernels<T>&);
template <class T>
void set_optim(Kernels<T>&);
template <class T>
void set_gram(Kernels<T>&);

}  // namespace concord::kernels::cuda

/// At the end of x.cu: CONCORD_CUDA_PART(x) instantiates set_x for f32 and f64.
#define CONCORD_CUDA_PART(part)               \
  namespace concord::kernels::cuda {          \
  template void set_##part(Kernels<float>&);  \
  template void set_##part(Kernels<double>&); \
  }
