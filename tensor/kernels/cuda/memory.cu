// Values of any element type: filling, and conversion from one type to another.
#include <concord/tensor/kernels/cuda/launch.h>

namespace concord::cuda {
namespace {

using kernels::cuda::blocks_for;
using kernels::cuda::launch;
using kernels::cuda::run_on;

constexpr int kThreads = 256;

/// As Tensor::to: saturating to 0..255 for u8, truncating for i64.
template <class To>
__host__ __device__ To converted(double v) {
  if constexpr (std::is_same_v<To, std::uint8_t>)
    return static_cast<To>(v < 0 ? 0.0 : v > 255 ? 255.0 : v);
  else
    return static_cast<To>(v);
}

template <class T>
__global__ void fill_kernel(index_t n, T value, T* to) {
  const index_t i = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
  if (i < n) to[i] = value;
}

template <class From, class To>
__global__ void convert_kernel(index_t n, const From* from, To* to) {
  const index_t i = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
  if (i < n) to[i] = converted<To>(static_cast<double>(from[i]));
}

/// f<T>() for the element type.
template <class F>
void with_type(DType type, F&& f) {
  switch (type) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::u8:
      return f.template operator()<std::uint8_t>();
    case DType::bf16:
      return f.template operator()<BFloat16>();
  }
}

}  // namespace

void fill(int device, DType type, index_t n, double value, void* to) {
  run_on(device);
  with_type(type, [&]<class T>() {
    launch("fill", fill_kernel<T>, blocks_for(n, kThreads), kThreads, 0, n, converted<T>(value),
           static_cast<T*>(to));
  });
}

void convert(int device, index_t n, DType from_type, const void* from, DType to_type, void* to) {
  run_on(device);
  with_type(from_type, [&]<class From>() {
    with_type(to_type, [&]<class To>() {
      launch("convert", convert_kernel<From, To>, blocks_for(n, kThreads), kThreads, 0, n,
             static_cast<const From*>(from), static_cast<To*>(to));
    });
  });
}

}  // namespace concord::cuda
