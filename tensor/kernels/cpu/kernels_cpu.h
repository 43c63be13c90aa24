// The CPU's kernels, as the table takes their addresses. What each does, and in which shapes,
// stands in kernels/kernels.h; here are only declarations, one section per source file.
//
// A hot kernel has a `_naive` twin: plain loops in the order of the formula, sums in double. The
// twin is the kernel's explanation and its oracle in tests; nothing else calls it.
#pragma once

#include <concord/tensor/kernels/kernels.h>

#include <type_traits>

/// Instantiates `function` for f32 and f64; its signature is that of a member of Kernels<T>.
#define CONCORD_KERNEL_AS(member, function)                                         \
  template std::remove_pointer_t<decltype(Kernels<float>::member)> function<float>; \
  template std::remove_pointer_t<decltype(Kernels<double>::member)> function<double>;
#define CONCORD_KERNEL(name) CONCORD_KERNEL_AS(name, name)
#define CONCORD_KERNEL_AND_NAIVE(name) CONCORD_KERNEL(name) CONCORD_KERNEL_AS(name, name##_naive)

namespace concord::kernels::cpu {

// --- gemm.cpp
template <class T>
void gemm(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, T alpha, const T* a,
          index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc);
template <class T>
void gemm_naive(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, T alpha,
                const T* a, index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc);
template <class T>
void linear_forward(const LinearGeometry&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void linear_forward_naive(const LinearGeometry&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void linear_grad_input(const LinearGeometry&, const T* weight, In<T> gy, Out<T> gx);
template <class T>
void linear_grad_input_naive(const LinearGeometry&, const T* weight, In<T> gy, Out<T> gx);
template <class T>
void linear_grad_weight(const LinearGeometry&, In<T> x, In<T> gy, Out<T> gw);
template <class T>
void linear_grad_weight_naive(const LinearGeometry&, In<T> x, In<T> gy, Out<T> gw);

// --- conv.cpp
template <class T>
void conv2d_forward(const ConvGeometry&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void conv2d_forward_naive(const ConvGeometry&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void conv2d_grad_input(const ConvGeometry&, const T* weight, In<T> gy, Out<T> gx);
template <class T>
void conv2d_grad_input_naive(const ConvGeometry&, const T* weight, In<T> gy, Out<T> gx);
template <class T>
void conv2d_grad_weight(const ConvGeometry&, In<T> x, In<T> gy, Out<T> gw);
template <class T>
void conv2d_grad_weight_naive(const ConvGeometry&, In<T> x, In<T> gy, Out<T> gw);

// --- pool.cpp
template <class T>
void max_pool2d_forward(const PoolGeometry&, const T* x, T* y, std::int32_t* argmax);
template <class T>
void max_pool2d_forward_naive(const PoolGeometry&, const T* x, T* y, std::int32_t* argmax);
template <class T>
void max_pool2d_backward(const PoolGeometry&, const std::int32_t* argmax, In<T> gy, Out<T> gx);
template <class T>
void max_pool2d_backward_naive(const PoolGeometry&, const std::int32_t* argmax, In<T> gy,
                               Out<T> gx);
template <class T>
void avg_pool2d_forward(const PoolGeometry&, const T* x, T* y);
template <class T>
void avg_pool2d_forward_naive(const PoolGeometry&, const T* x, T* y);
template <class T>
void avg_pool2d_backward(const PoolGeometry&, In<T> gy, Out<T> gx);
template <class T>
void avg_pool2d_backward_naive(const PoolGeometry&, In<T> gy, Out<T> gx);

// --- norm.cpp
template <class T>
void batch_norm_train(const BatchNormGeometry&, const T* x, const T* weight, const T* bias,
                      double eps, double momentum, T* running_mean, T* running_var, T* y, T* mean,
                      T* inv_std);
template <class T>
void batch_norm_train_naive(const BatchNormGeometry&, const T* x, const T* weight, const T* bias,
                            double eps, double momentum, T* running_mean, T* running_var, T* y,
                            T* mean, T* inv_std);
template <class T>
void batch_norm_eval(const BatchNormGeometry&, const T* x, const T* weight, const T* bias,
                     const T* running_mean, const T* running_var, double eps, T* y);
template <class T>
void batch_norm_eval_naive(const BatchNormGeometry&, const T* x, const T* weight, const T* bias,
                           const T* running_mean, const T* running_var, double eps, T* y);
template <class T>
void batch_norm_train_backward(const BatchNormGeometry&, const T* x, const T* mean,
                               const T* inv_std, const T* weight, In<T> gy, Out<T> gx, Out<T> gw,
                               Out<T> gb);
template <class T>
void batch_norm_train_backward_naive(const BatchNormGeometry&, const T* x, const T* mean,
                                     const T* inv_std, const T* weight, In<T> gy, Out<T> gx,
                                     Out<T> gw, Out<T> gb);
template <class T>
void batch_norm_eval_grad_input(const BatchNormGeometry&, const T* inv_std, const T* weight,
                                In<T> gy, Out<T> gx);
template <class T>
void batch_norm_eval_grad_input_naive(const BatchNormGeometry&, const T* inv_std, const T* weight,
                                      In<T> gy, Out<T> gx);
template <class T>
void batch_norm_eval_grad_affine(const BatchNormGeometry&, In<T> x, const T* mean, const T* inv_std,
                                 In<T> gy, Out<T> gw, Out<T> gb);
template <class T>
void batch_norm_eval_grad_affine_naive(const BatchNormGeometry&, In<T> x, const T* mean,
                                       const T* inv_std, In<T> gy, Out<T> gw, Out<T> gb);
template <class T>
void layer_norm_forward(index_t outer, index_t length, const T* x, const T* weight, const T* bias,
                        double eps, T* y, T* mean, T* inv_std);
template <class T>
void layer_norm_forward_naive(index_t outer, index_t length, const T* x, const T* weight,
                              const T* bias, double eps, T* y, T* mean, T* inv_std);
template <class T>
void layer_norm_grad_input(index_t outer, index_t length, const T* x, const T* mean,
                           const T* inv_std, const T* weight, In<T> gy, Out<T> gx);
template <class T>
void layer_norm_grad_input_naive(index_t outer, index_t length, const T* x, const T* mean,
                                 const T* inv_std, const T* weight, In<T> gy, Out<T> gx);
template <class T>
void layer_norm_grad_affine(index_t outer, index_t length, In<T> x, In<T> mean, In<T> inv_std,
                            In<T> gy, Out<T> gw, Out<T> gb);
template <class T>
void layer_norm_grad_affine_naive(index_t outer, index_t length, In<T> x, In<T> mean, In<T> inv_std,
                                  In<T> gy, Out<T> gw, Out<T> gb);

// --- elementwise.cpp
template <class T>
void unary_forward(UnaryOp, Scalars, index_t n, const T* x, T* y);
template <class T>
void unary_backward(UnaryOp, Scalars, index_t n, const T* x, const T* y, In<T> gy, Out<T> gx);
template <class T>
void unary_backward_naive(UnaryOp, Scalars, index_t n, const T* x, const T* y, In<T> gy, Out<T> gx);
template <class T>
void binary_forward(BinaryOp, const BroadcastGeometry&, const T* a, const T* b, T* y);
template <class T>
void binary_forward_naive(BinaryOp, const BroadcastGeometry&, const T* a, const T* b, T* y);
template <class T>
void binary_backward(BinaryOp, int side, const BroadcastGeometry&, In<T> a, In<T> b, In<T> y,
                     In<T> gy, Out<T> g);
template <class T>
void binary_backward_naive(BinaryOp, int side, const BroadcastGeometry&, In<T> a, In<T> b, In<T> y,
                           In<T> gy, Out<T> g);
template <class T>
void dropout_mask(index_t n, double p, Rng rng, T* mask);
template <class T>
void dropout_mask_naive(index_t n, double p, Rng rng, T* mask);
template <class T>
void multiply_rows(index_t n, In<T> a, const T* b, Out<T> out);
template <class T>
void copy_box(const CopyGeometry&, In<T> from, Out<T> to);
template <class T>
void copy_box_naive(const CopyGeometry&, In<T> from, Out<T> to);

// --- reduce.cpp
template <class T>
void sum(const AxisGeometry&, double scale, In<T> x, Out<T> y);
template <class T>
void sum_naive(const AxisGeometry&, double scale, In<T> x, Out<T> y);
template <class T>
void spread(const AxisGeometry&, double scale, In<T> gy, Out<T> gx);
template <class T>
void max(const AxisGeometry&, const T* x, T* y, std::int64_t* argmax);
template <class T>
void norm_squared(index_t n, const T* x, double* result);
template <class T>
void norm_squared_naive(index_t n, const T* x, double* result);
template <class T>
void count_nonfinite(index_t n, const T* x, index_t* result);

// --- softmax.cpp
template <class T>
void softmax_forward(const AxisGeometry&, const T* x, T* y);
template <class T>
void softmax_forward_naive(const AxisGeometry&, const T* x, T* y);
template <class T>
void softmax_backward(const AxisGeometry&, const T* y, In<T> gy, Out<T> gx);
template <class T>
void softmax_backward_naive(const AxisGeometry&, const T* y, In<T> gy, Out<T> gx);
template <class T>
void log_softmax_forward(const AxisGeometry&, const T* x, T* y);
template <class T>
void log_softmax_forward_naive(const AxisGeometry&, const T* x, T* y);
template <class T>
void log_softmax_backward(const AxisGeometry&, const T* y, In<T> gy, Out<T> gx);
template <class T>
void log_softmax_backward_naive(const AxisGeometry&, const T* y, In<T> gy, Out<T> gx);
template <class T>
void cross_entropy_forward(const AxisGeometry&, const T* logits, const std::int64_t* target,
                           std::int64_t ignore_index, double smoothing, T* loss, T* log_p);
template <class T>
void cross_entropy_forward_naive(const AxisGeometry&, const T* logits, const std::int64_t* target,
                                 std::int64_t ignore_index, double smoothing, T* loss, T* log_p);
template <class T>
void cross_entropy_backward(const AxisGeometry&, const T* log_p, const std::int64_t* target,
                            std::int64_t ignore_index, double smoothing, In<T> gy, Out<T> gx);
template <class T>
void cross_entropy_backward_naive(const AxisGeometry&, const T* log_p, const std::int64_t* target,
                                  std::int64_t ignore_index, double smoothing, In<T> gy, Out<T> gx);

// --- index.cpp
template <class T>
void embedding_forward(index_t n, index_t entries, index_t width, const T* table,
                       const std::int64_t* index, T* y);
template <class T>
void embedding_backward(index_t n, index_t entries, index_t width, Rows<const std::int64_t> index,
                        In<T> gy, Out<T> gtable);
template <class T>
void embedding_backward_naive(index_t n, index_t entries, index_t width,
                              Rows<const std::int64_t> index, In<T> gy, Out<T> gtable);
template <class T>
void gather_forward(const AxisGeometry&, index_t picks, const T* x, const std::int64_t* index,
                    T* y);
template <class T>
void gather_backward(const AxisGeometry&, index_t picks, const std::int64_t* index, In<T> gy,
                     Out<T> gx);

// --- optim.cpp
template <class T>
void sgd_step(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* momentum);
template <class T>
void sgd_step_naive(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* momentum);
template <class T>
void adam_step(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* m, T* v);
template <class T>
void adam_step_naive(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* m, T* v);
template <class T>
void adamw_step(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* m, T* v);
template <class T>
void adamw_step_naive(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* m, T* v);
template <class T>
void rmsprop_step(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* v, T* momentum,
                  T* mean);
template <class T>
void rmsprop_step_naive(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* v,
                        T* momentum, T* mean);
template <class T>
void lerp(index_t n, double weight, const T* x, T* y);
template <class T>
void combine(index_t n, WeightedRows<T> rows, T* out);
template <class T>
void combine_naive(index_t n, WeightedRows<T> rows, T* out);

// --- gram.cpp
template <class T>
void gram(index_t n, In<T> rows, double* gram);
template <class T>
void gram_naive(index_t n, In<T> rows, double* gram);
template <class T>
void linear_gram(const LinearGeometry&, const T* x, In<T> gy, double* gram);
template <class T>
void linear_gram_naive(const LinearGeometry&, const T* x, In<T> gy, double* gram);
template <class T>
void round_rows(index_t n, In<T> from, Rows<BFloat16> to);
template <class T>
void widen_rows(index_t n, In<BFloat16> from, Out<T> to);

}  // namespace concord::kernels::cpu
