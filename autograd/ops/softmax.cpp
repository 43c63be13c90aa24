// Softmax and classification.
#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

namespace concord {

using namespace ops;

Var softmax(const Var& x, int axis, Loc at) {
  const Tensor& xv = x.value();
  check_float("softmax", "input", xv, at);
  const int a = check_axis("softmax", xv, axis, at);
  const AxisGeometry g = AxisGeometry::make(xv.shape(), a);
  Tensor y = Tensor::empty_like(xv);
  on(xv, [&]<class T>(const Kernels<T>& k) { k.softmax_forward(g, xv.data<T>(), y.data<T>()); });
  return record({"softmax", first_if(a > 0), 4 * xv.numel()}, {x}, y,
                [g, y](const Cotangent& gy, Sink& sink) {
                  on(y, [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.softmax_backward(g, y.data<T>(), gy.rows<T>(), gx);
                    }
                  });
                });
}

Var log_softmax(const Var& x, int axis, Loc at) {
  const Tensor& xv = x.value();
  check_float("log_softmax", "input", xv, at);
  const int a = check_axis("log_softmax", xv, axis, at);
  const AxisGeometry g = AxisGeometry::make(xv.shape(), a);
  Tensor y = Tensor::empty_like(xv);
  on(xv,
     [&]<class T>(const Kernels<T>& k) { k.log_softmax_forward(g, xv.data<T>(), y.data<T>()); });
  return record({"log_softmax", first_if(a > 0), 4 * xv.numel()}, {x}, y,
                [g, y](const Cotangent& gy, Sink& sink) {
                  on(y, [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.log_softmax_backward(g, y.data<T>(), gy.rows<T>(), gx);
                    }
                  });
                });
}

namespace {

/// Checks the targets (on the CPU) and counts those that are not ignored.
index_t count_targets(const Tensor& logits, const Tensor& target, std::int64_t ignore_index,
                      Loc at) {
  const index_t classes = logits.dim(1);
  const std::int64_t* t = target.data<std::int64_t>();
  index_t counted = 0;
  for (index_t i = 0; i < target.numel(); ++i) {
    if (t[i] == ignore_index) continue;
    ++counted;
    if (t[i] >= 0 && t[i] < classes) continue;
    throw ValueError(
        fmt::format("cross_entropy: target {} at position {} is neither in 0 to {} nor the "
                    "ignore_index {}",
                    t[i], i, classes - 1, ignore_index),
        {{"logits", describe(logits)}, {"target", describe(target)}}, at);
  }
  return counted;
}

/// The mean where the host does not see the targets: their number stays on the device, too.
Var mean_on_device(const Var& logits, const Tensor& target, CrossEntropyOptions o, Loc at) {
  o.reduction = Reduction::sum;
  const Var total = cross_entropy(logits, target, o, at);
  // Targets are whole numbers: |t - ignore_index| is 0, or 1 and more.
  const Var apart =
      abs(add_scalar(target.to(logits.dtype()), -static_cast<double>(o.ignore_index)));
  return div(total, sum(clamp(apart, 0, 1)), at);
}

}  // namespace

Var cross_entropy(const Var& logits, const Tensor& target, const CrossEntropyOptions& o, Loc at) {
  constexpr const char* op = "cross_entropy";
  const Tensor& xv = logits.value();
  check_float(op, "logits", xv, at);
  if (xv.rank() < 2) {
    throw ShapeError(fmt::format("{}: logits has {} axes, needs 2 or more", op, xv.rank()),
                     {{"logits", describe(xv)}}, at);
  }
  check_dtype(op, "target", target, DType::i64, at);
  check_shape(op, "target", target, xv.shape().without(1), at);
  if (!(o.label_smoothing >= 0 && o.label_smoothing <= 1)) {
    throw ValueError(fmt::format("{}: label_smoothing is {}, needs 0 to 1", op, o.label_smoothing),
                     {{"logits", describe(xv)}}, at);
  }
  check_same_device(op, "logits", xv, "target", target, at);
  const bool on_cpu = target.device() == kCpu;
  if (!on_cpu && o.reduction == Reduction::mean) return mean_on_device(logits, target, o, at);
  const index_t counted = on_cpu ? count_targets(xv, target, o.ignore_index, at) : 0;
  const AxisGeometry g = AxisGeometry::make(xv.shape(), 1);
  const index_t n = target.numel();
  const bool reduce = o.reduction != Reduction::none;
  // The mean over no targets is 0 / 0, a NaN, as in PyTorch.
  const double scale = o.reduction == Reduction::mean ? 1.0 / static_cast<double>(counted) : 1.0;

  const Tensor log_p = Tensor::empty_like(xv);
  Tensor loss = Tensor::empty(target.shape(), xv.dtype(), xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.cross_entropy_forward(g, xv.data<T>(), target.data<std::int64_t>(), o.ignore_index,
                            o.label_smoothing, loss.data<T>(), log_p.data<T>());
    if (!reduce) return;
    const Tensor total = Tensor::empty({}, xv.dtype(), xv.device());
    k.sum({1, n, 1}, scale, one_row<const T>(loss.data<T>()), one_row(total.data<T>()));
    loss = total;
  });
  return record({op, first_if(!reduce), 5 * xv.numel()}, {logits}, std::move(loss),
                [g, n, log_p, target, reduce, scale, ignore = o.ignore_index,
                 smoothing = o.label_smoothing](const Cotangent& gy, Sink& sink) {
                  on(log_p, [&]<class T>(const Kernels<T>& k) {
                    const auto gx = sink.slot<T>(0);
                    if (!gx) return;
                    Rows<const T> per_target = gy.rows<T>();
                    Tensor spread;
                    if (reduce) {  // each target's loss has the cotangent scale * gy
                      spread = Tensor::empty({gy.count(), n}, log_p.dtype(), log_p.device());
                      k.spread({1, n, 1}, scale, gy.rows<T>(), rows_of<T>(spread));
                      per_target = rows_of<T>(spread);
                    }
                    k.cross_entropy_backward(g, log_p.data<T>(), target.data<std::int64_t>(),
                                             ignore, smoothing, per_target, gx);
                  });
                });
}

}  // namespace concord
