// The CPU's table of kernels.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cuda/cuda.h>

namespace concord::kernels {

template <class T>
const Kernels<T>& cpu_table() {
  static constexpr Kernels<T> kTable{
      .gemm = cpu::gemm<T>,
      .linear_forward = cpu::linear_forward<T>,
      .linear_grad_input = cpu::linear_grad_input<T>,
      .linear_grad_weight = cpu::linear_grad_weight<T>,

      .conv2d_forward = cpu::conv2d_forward<T>,
      .conv2d_grad_input = cpu::conv2d_grad_input<T>,
      .conv2d_grad_weight = cpu::conv2d_grad_weight<T>,

      .max_pool2d_forward = cpu::max_pool2d_forward<T>,
      .max_pool2d_backward = cpu::max_pool2d_backward<T>,
      .avg_pool2d_forward = cpu::avg_pool2d_forward<T>,
      .avg_pool2d_backward = cpu::avg_pool2d_backward<T>,

      .batch_norm_train = cpu::batch_norm_train<T>,
      .batch_norm_eval = cpu::batch_norm_eval<T>,
      .batch_norm_train_backward = cpu::batch_norm_train_backward<T>,
      .batch_norm_eval_grad_input = cpu::batch_norm_eval_grad_input<T>,
      .batch_norm_eval_grad_affine = cpu::batch_norm_eval_grad_affine<T>,
      .layer_norm_forward = cpu::layer_norm_forward<T>,
      .layer_norm_grad_input = cpu::layer_norm_grad_input<T>,
      .layer_norm_grad_affine = cpu::layer_norm_grad_affine<T>,

      .unary_forward = cpu::unary_forward<T>,
      .unary_backward = cpu::unary_backward<T>,
      .binary_forward = cpu::binary_forward<T>,
      .binary_backward = cpu::binary_backward<T>,
      .dropout_mask = cpu::dropout_mask<T>,
      .multiply_rows = cpu::multiply_rows<T>,
      .copy_box = cpu::copy_box<T>,

      .sum = cpu::sum<T>,
      .spread = cpu::spread<T>,
      .max = cpu::max<T>,
      .norm_squared = cpu::norm_squared<T>,
      .count_nonfinite = cpu::count_nonfinite<T>,

      .softmax_forward = cpu::softmax_forward<T>,
      .softmax_backward = cpu::softmax_backward<T>,
      .log_softmax_forward = cpu::log_softmax_forward<T>,
      .log_softmax_backward = cpu::log_softmax_backward<T>,
      .cross_entropy_forward = cpu::cross_entropy_forward<T>,
      .cross_entropy_backward = cpu::cross_entropy_backward<T>,

      .embedding_forward = cpu::embedding_forward<T>,
      .embedding_backward = cpu::embedding_backward<T>,
      .gather_forward = cpu::gather_forward<T>,
      .gather_backward = cpu::gather_backward<T>,

      .sgd_step = cpu::sgd_step<T>,
      .adam_step = cpu::adam_step<T>,
      .adamw_step = cpu::adamw_step<T>,
      .rmsprop_step = cpu::rmsprop_step<T>,
      .lerp = cpu::lerp<T>,
      .combine = cpu::combine<T>,

      .gram = cpu::gram<T>,
      .gram_bf16 = cpu::gram<BFloat16>,
      .linear_gram = cpu::linear_gram<T>,
      .round_rows = cpu::round_rows<T>,
      .widen_rows = cpu::widen_rows<T>,
  };
  return kTable;
}

template <class T>
const Kernels<T>& table(Device device) {
  if (device.type == DeviceType::cpu) return cpu_table<T>();
  return cuda::table<T>(device.index);
}

template const Kernels<float>& cpu_table<float>();
template const Kernels<double>& cpu_table<double>();
template const Kernels<float>& table<float>(Device);
template const Kernels<double>& table<double>(Device);

}  // namespace concord::kernels
