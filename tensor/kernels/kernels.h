// Kernels<T>: one function pointer per kernel. This struct is the whole contract of a device.
//
// Kernels know pointers, geometry and rows, never the graph. Arguments are in the order: geometry
// or sizes, inputs, outputs. `*_backward` and `*_grad_*` take R cotangent rows of the output and
// write (or, with Rows::accumulate, add to) R rows of an input's gradient. Operands of type
// Rows<const T> named x or so have stride 0 when all rows share them, and one sample per row when
// the cotangent is batch-diagonal (autograd/cotangent.h).
//
// Arrays lie in the memory of the table's device, results of reductions (`double* gram`, `result`)
// too; geometry, Rows::map and WeightedRows::weight are read on the host during the call. On a
// device other than the CPU a call only queues the work (kernels/cuda/cuda.h).
//
// Determinism: a row's result never depends on R, on the other rows or on the number of threads;
// sums run in a fixed order; no float atomics.
#pragma once

#include <concord/tensor/kernels/elementwise.h>
#include <concord/tensor/kernels/geometry.h>
#include <concord/tensor/kernels/rows.h>
#include <concord/tensor/kernels/step.h>
#include <concord/tensor/random.h>

namespace concord::kernels {

template <class T>
using In = Rows<const T>;
template <class T>
using Out = Rows<T>;

/// Parameters of an element-wise op: p and q of elementwise.h.
struct Scalars {
  double p = 0, q = 0;
};

template <class T>
struct Kernels {
  // --- gemm.cpp: C = alpha op(A) op(B) + beta C, row-major, leading dimensions in elements.
  void (*gemm)(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, T alpha,
               const T* a, index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc);
  // bias may be null. grad_bias: sum over n.
  void (*linear_forward)(const LinearGeometry&, const T* x, const T* weight, const T* bias, T* y);
  void (*linear_grad_input)(const LinearGeometry&, const T* weight, In<T> gy, Out<T> gx);
  void (*linear_grad_weight)(const LinearGeometry&, In<T> x, In<T> gy, Out<T> gw);

  // --- conv.cpp. bias [k] may be null.
  void (*conv2d_forward)(const ConvGeometry&, const T* x, const T* weight, const T* bias, T* y);
  void (*conv2d_grad_input)(const ConvGeometry&, const T* weight, In<T> gy, Out<T> gx);
  void (*conv2d_grad_weight)(const ConvGeometry&, In<T> x, In<T> gy, Out<T> gw);

  // --- pool.cpp. argmax [planes, p, q]: flat index h * w of the first maximum in scan order.
  void (*max_pool2d_forward)(const PoolGeometry&, const T* x, T* y, std::int32_t* argmax);
  void (*max_pool2d_backward)(const PoolGeometry&, const std::int32_t* argmax, In<T> gy, Out<T> gx);
  void (*avg_pool2d_forward)(const PoolGeometry&, const T* x, T* y);
  void (*avg_pool2d_backward)(const PoolGeometry&, In<T> gy, Out<T> gx);

  // --- norm.cpp. Train: normalises with the batch's mean and biased variance, writes mean and
  // inverse standard deviation [c], and moves the running statistics (may be null) by `momentum`
  // towards the batch's mean and unbiased variance. weight and bias may be null.
  void (*batch_norm_train)(const BatchNormGeometry&, const T* x, const T* weight, const T* bias,
                           double eps, double momentum, T* running_mean, T* running_var, T* y,
                           T* mean, T* inv_std);
  void (*batch_norm_eval)(const BatchNormGeometry&, const T* x, const T* weight, const T* bias,
                          const T* running_mean, const T* running_var, double eps, T* y);
  // Any of gx, gw, gb may be absent. x-hat is formed once for all rows.
  void (*batch_norm_train_backward)(const BatchNormGeometry&, const T* x, const T* mean,
                                    const T* inv_std, const T* weight, In<T> gy, Out<T> gx,
                                    Out<T> gw, Out<T> gb);
  // Eval: samples do not mix. gx: gy * weight * inv_std. gw, gb: sums over n and inner, x per row.
  void (*batch_norm_eval_grad_input)(const BatchNormGeometry&, const T* inv_std, const T* weight,
                                     In<T> gy, Out<T> gx);
  void (*batch_norm_eval_grad_affine)(const BatchNormGeometry&, In<T> x, const T* mean,
                                      const T* inv_std, In<T> gy, Out<T> gw, Out<T> gb);
  // Layer norm over the last `length` elements of each of `outer` vectors; weight, bias [length] or
  // null.
  void (*layer_norm_forward)(index_t outer, index_t length, const T* x, const T* weight,
                             const T* bias, double eps, T* y, T* mean, T* inv_std);
  void (*layer_norm_grad_input)(index_t outer, index_t length, const T* x, const T* mean,
                                const T* inv_std, const T* weight, In<T> gy, Out<T> gx);
  // x, mean, inv_std per row (mean and inv_std have one value for each of the row's `outer`
  // vectors).
  void (*layer_norm_grad_affine)(index_t outer, index_t length, In<T> x, In<T> mean, In<T> inv_std,
                                 In<T> gy, Out<T> gw, Out<T> gb);

  // --- elementwise.cpp
  void (*unary_forward)(UnaryOp, Scalars, index_t n, const T* x, T* y);
  void (*unary_backward)(UnaryOp, Scalars, index_t n, const T* x, const T* y, In<T> gy, Out<T> gx);
  void (*binary_forward)(BinaryOp, const BroadcastGeometry&, const T* a, const T* b, T* y);
  // Gradient with respect to a (side = 0) or b (side = 1), summed over that side's broadcast axes.
  // a, b, y per row: shared (stride 0) or one sample each.
  void (*binary_backward)(BinaryOp, int side, const BroadcastGeometry&, In<T> a, In<T> b, In<T> y,
                          In<T> gy, Out<T> g);
  // y[i] = mask: keep with probability 1-p and scale by 1/(1-p). Element i uses rng.uniform(i).
  void (*dropout_mask)(index_t n, double p, Rng rng, T* mask);
  // out row = a row * b (b shared by all rows): dropout's and every other linear mask's backward.
  void (*multiply_rows)(index_t n, In<T> a, const T* b, Out<T> out);
  void (*copy_box)(const CopyGeometry&, In<T> from, Out<T> to);

  // --- reduce.cpp
  void (*sum)(const AxisGeometry&, double scale, In<T> x,
              Out<T> y);  // y[o,i] = scale * sum_l x[o,l,i]
  void (*spread)(const AxisGeometry&, double scale, In<T> gy,
                 Out<T> gx);  // gx[o,l,i] = scale * gy[o,i]
  void (*max)(const AxisGeometry&, const T* x, T* y, std::int64_t* argmax);  // first maximum
  void (*norm_squared)(index_t n, const T* x, double* result);
  void (*count_nonfinite)(index_t n, const T* x, index_t* result);

  // --- softmax.cpp
  void (*softmax_forward)(const AxisGeometry&, const T* x, T* y);
  void (*softmax_backward)(const AxisGeometry&, const T* y, In<T> gy, Out<T> gx);
  void (*log_softmax_forward)(const AxisGeometry&, const T* x, T* y);
  void (*log_softmax_backward)(const AxisGeometry&, const T* y, In<T> gy, Out<T> gx);
  // Fused cross-entropy. logits [outer, length, inner], target [outer, inner]; loss [outer, inner]
  // is 0 where target == ignore_index; log_p keeps log-softmax. loss_i = -(1-s) log_p[t] - s/length
  // sum_j log_p[j].
  void (*cross_entropy_forward)(const AxisGeometry&, const T* logits, const std::int64_t* target,
                                std::int64_t ignore_index, double smoothing, T* loss, T* log_p);
  // gy [outer, inner] per row -> gx [outer, length, inner]: gy * (softmax - smoothed one-hot).
  void (*cross_entropy_backward)(const AxisGeometry&, const T* log_p, const std::int64_t* target,
                                 std::int64_t ignore_index, double smoothing, In<T> gy, Out<T> gx);

  // --- index.cpp
  // Embedding: y [n, width] = table[index[n]]. Gradient: rows of the table that no index names get
  // 0.
  void (*embedding_forward)(index_t n, index_t entries, index_t width, const T* table,
                            const std::int64_t* index, T* y);
  void (*embedding_backward)(index_t n, index_t entries, index_t width,
                             Rows<const std::int64_t> index, In<T> gy, Out<T> gtable);
  // y[o,m,i] = x[o, index[o,m,i], i] for m < picks.
  void (*gather_forward)(const AxisGeometry&, index_t picks, const T* x, const std::int64_t* index,
                         T* y);
  void (*gather_backward)(const AxisGeometry&, index_t picks, const std::int64_t* index, In<T> gy,
                          Out<T> gx);

  // --- optim.cpp: theta, and the state beside it, over `size` elements; d is never stored.
  void (*sgd_step)(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* momentum);
  void (*adam_step)(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* m,
                    T* v);  // coupled decay
  void (*adamw_step)(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* m,
                     T* v);  // decoupled decay
  void (*rmsprop_step)(index_t size, const StepScalars&, WeightedRows<T> d, T* theta, T* v,
                       T* momentum, T* mean);
  void (*lerp)(index_t n, double weight, const T* x, T* y);  // y += weight * (x - y)
  void (*combine)(index_t n, WeightedRows<T> rows, T* out);  // out = the direction

  // --- gram.cpp: gradient rows, each `n` long.
  // gram[i * count + j] = <row_i, row_j>, both halves, in one blocked pass; products of T summed to
  // double.
  void (*gram)(index_t n, In<T> rows, double* gram);
  void (*gram_bf16)(index_t n, In<BFloat16> rows, double* gram);
  // The same for the weight gradients gyᵀ x of a linear layer, without forming them.
  void (*linear_gram)(const LinearGeometry&, const T* x, In<T> gy, double* gram);
  // Rows kept as bf16: rounded to the nearest, ties to even; and back, exactly (no accumulation).
  void (*round_rows)(index_t n, In<T> from, Rows<BFloat16> to);
  void (*widen_rows)(index_t n, In<BFloat16> from, Out<T> to);
};

/// The table of a device; every member is set. Throws DeviceError when the build lacks the device.
template <class T>
const Kernels<T>& table(Device device);

/// The CPU's table.
template <class T>
const Kernels<T>& cpu_table();

/// on(x, [&]<class T>(const Kernels<T>& k) { ... x.data<T>() ... }): calls f with the table for the
/// element type and device of x. Throws DTypeError for i64 and u8.
template <class F>
void on(const Tensor& x, F&& f) {
  switch (x.dtype()) {
    case DType::f32:
      f(table<float>(x.device()));
      return;
    case DType::f64:
      f(table<double>(x.device()));
      return;
    default:
      throw DTypeError("kernels: only f32 and f64 tensors can be computed with",
                       {{"tensor", describe(x)}});
  }
}

}  // namespace concord::kernels
