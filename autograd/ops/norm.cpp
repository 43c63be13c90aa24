// Batch and layer normalisation.
#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

namespace concord {
namespace {

using namespace ops;
using kernels::BatchNormGeometry;
using kernels::UnaryOp;

/// With the batch's statistics: samples mix, so the batch-diagonal form does not exist here.
Var train(const BatchNormGeometry& g, const Var& x, const Var& weight, const Var& bias,
          const Tensor& running_mean, const Tensor& running_var, const BatchNormOptions& o) {
  const Tensor &xv = x.value(), &wv = weight.value(), &bv = bias.value();
  Tensor y = Tensor::empty_like(xv);
  const Tensor mean = Tensor::empty({g.c}, xv.dtype(), xv.device());
  const Tensor inv_std = Tensor::empty_like(mean);
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.batch_norm_train(g, xv.data<T>(), data_or_null<T>(wv), data_or_null<T>(bv), o.eps, o.momentum,
                       data_or_null<T>(running_mean), data_or_null<T>(running_var), y.data<T>(),
                       mean.data<T>(), inv_std.data<T>());
  });
  return record({"batch_norm", 0, 4 * xv.numel()}, {x, weight, bias}, std::move(y),
                [g, xv, mean, inv_std, wv](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    const auto gx = sink.slot<T>(0), gw = sink.slot<T>(1), gb = sink.slot<T>(2);
                    k.batch_norm_train_backward(g, xv.data<T>(), mean.data<T>(), inv_std.data<T>(),
                                                data_or_null<T>(wv), gy.rows<T>(), gx, gw, gb);
                  });
                });
}

/// With the running statistics, which are constants: samples do not mix.
Var evaluate(const BatchNormGeometry& g, const Var& x, const Var& weight, const Var& bias,
             const Tensor& running_mean, const Tensor& running_var, const BatchNormOptions& o) {
  const Tensor &xv = x.value(), &wv = weight.value(), &bv = bias.value();
  const bool affine_recorded = weight.recorded() || bias.recorded();
  Tensor y = Tensor::empty_like(xv);
  Tensor mean, inv_std;
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.batch_norm_eval(g, xv.data<T>(), data_or_null<T>(wv), data_or_null<T>(bv),
                      running_mean.data<T>(), running_var.data<T>(), o.eps, y.data<T>());
    if (!x.recorded() && !affine_recorded) return;
    // Copies: a training step may move the running statistics before the backward pass.
    mean = running_mean.clone();
    inv_std = Tensor::empty_like(running_var);
    T* s = inv_std.data<T>();
    k.unary_forward(UnaryOp::add_scalar, {o.eps}, g.c, running_var.data<T>(), s);
    k.unary_forward(UnaryOp::pow_scalar, {-0.5}, g.c, s, s);
  });
  return record(
      {"batch_norm", first_if(true), 2 * xv.numel()}, {x, weight, bias}, std::move(y),
      [g, mean, inv_std, wv, x = affine_recorded ? xv : Tensor()](const Cotangent& gy, Sink& sink) {
        on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
          if (const auto gx = sink.slot<T>(0)) {
            k.batch_norm_eval_grad_input(g, inv_std.data<T>(), data_or_null<T>(wv), gy.rows<T>(),
                                         gx);
          }
          const auto gw = sink.slot<T>(1), gb = sink.slot<T>(2);
          if (!gw && !gb) return;
          k.batch_norm_eval_grad_affine(g.with_batch(gy.batch(g.n)), gy.operand<T>(x),
                                        mean.data<T>(), inv_std.data<T>(), gy.per_task<T>(), gw,
                                        gb);
        });
      });
}

}  // namespace

Var batch_norm(const Var& x, const Var& weight, const Var& bias, const Tensor& running_mean,
               const Tensor& running_var, bool training, const BatchNormOptions& o, Loc at) {
  constexpr const char* op = "batch_norm";
  const Tensor& xv = x.value();
  check_float(op, "input", xv, at);
  const index_t channels = weight.value().defined() ? weight.value().numel()
                           : running_mean.defined() ? running_mean.numel()
                           : xv.rank() >= 2         ? xv.dim(1)
                                                    : 0;
  const BatchNormGeometry g = BatchNormGeometry::make(xv, channels, at);
  check_optional(op, "weight", weight.value(), xv, {g.c}, at);
  check_optional(op, "bias", bias.value(), xv, {g.c}, at);
  check_optional(op, "running_mean", running_mean, xv, {g.c}, at);
  check_optional(op, "running_var", running_var, xv, {g.c}, at);
  if (running_mean.defined() != running_var.defined()) {
    throw UsageError(
        "batch_norm: running_mean and running_var are needed both, or neither",
        {{"running_mean", describe(running_mean)}, {"running_var", describe(running_var)}}, at);
  }
  if (!training) {
    if (!running_mean.defined()) {
      throw UsageError("batch_norm: evaluation needs the running statistics",
                       {{"input", describe(xv)}}, at);
    }
    return evaluate(g, x, weight, bias, running_mean, running_var, o);
  }
  if (g.n * g.inner < 2) {
    throw ShapeError(
        fmt::format("batch_norm: {} value(s) per channel, training needs 2 or more", g.n * g.inner),
        {{"input", describe(xv)}}, at);
  }
  return train(g, x, weight, bias, running_mean, running_var, o);
}

Var layer_norm(const Var& x, const Var& weight, const Var& bias, int axes, double eps, Loc at) {
  constexpr const char* op = "layer_norm";
  const Tensor &xv = x.value(), &wv = weight.value(), &bv = bias.value();
  check_float(op, "input", xv, at);
  if (wv.defined()) axes = wv.rank();
  if (axes < 1 || axes > xv.rank()) {
    throw ShapeError(
        fmt::format("layer_norm: over the last {} axes, input has {}", axes, xv.rank()),
        {{"input", describe(xv)}}, at);
  }
  const int leading = xv.rank() - axes;
  const Shape outer_shape(std::span<const index_t>(xv.shape().begin(), leading));
  const Shape normalised(std::span<const index_t>(xv.shape().begin() + leading, axes));
  check_optional(op, "weight", wv, xv, normalised, at);
  check_optional(op, "bias", bv, xv, normalised, at);
  const index_t outer = outer_shape.numel(), length = normalised.numel();

  Tensor y = Tensor::empty_like(xv);
  const Tensor mean = Tensor::empty(outer_shape, xv.dtype(), xv.device());
  const Tensor inv_std = Tensor::empty_like(mean);
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.layer_norm_forward(outer, length, xv.data<T>(), data_or_null<T>(wv), data_or_null<T>(bv), eps,
                         y.data<T>(), mean.data<T>(), inv_std.data<T>());
  });
  const index_t per_sample = leading > 0 ? outer_shape.span(1, leading) : outer;
  return record(
      {op, first_if(leading > 0), 4 * xv.numel()}, {x, weight, bias}, std::move(y),
      [outer, length, per_sample, xv, mean, inv_std, wv](const Cotangent& gy, Sink& sink) {
        on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
          if (const auto gx = sink.slot<T>(0)) {
            k.layer_norm_grad_input(outer, length, xv.data<T>(), mean.data<T>(), inv_std.data<T>(),
                                    data_or_null<T>(wv), gy.rows<T>(), gx);
          }
          const auto gw = sink.slot<T>(1), gb = sink.slot<T>(2);
          if (!gw && !gb) return;
          k.layer_norm_grad_affine(gy.diagonal() ? per_sample : outer, length, gy.operand<T>(xv),
                                   gy.operand<T>(mean), gy.operand<T>(inv_std), gy.per_task<T>(),
                                   gw, gb);
        });
      });
}

}  // namespace concord
