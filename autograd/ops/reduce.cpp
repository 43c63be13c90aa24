// Sums, means and maxima.
#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

namespace concord {
namespace {

using namespace ops;

/// y = scale * sum over the middle of [outer, length, inner].
Var scaled_sum(const char* name, const Var& x, const AxisGeometry& g, const Shape& out,
               double scale, bool sample_wise) {
  const Tensor& xv = x.value();
  Tensor y = Tensor::empty(out, xv.dtype(), xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.sum(g, scale, one_row<const T>(xv.data<T>()), one_row(y.data<T>()));
  });
  return record({name, first_if(sample_wise), xv.numel()}, {x}, std::move(y),
                [g, scale](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) k.spread(g, scale, gy.rows<T>(), gx);
                  });
                });
}

Var of_all(const char* name, const Var& x, bool average, Loc at) {
  check_float(name, "input", x.value(), at);
  const index_t n = x.value().numel();
  return scaled_sum(name, x, {1, n, 1}, {}, average ? 1.0 / static_cast<double>(n) : 1.0, false);
}

Shape reduced(const Tensor& x, int axis, bool keep) {
  return keep ? x.shape().with(axis, 1) : x.shape().without(axis);
}

Var along(const char* name, const Var& x, int axis, bool keep, bool average, Loc at) {
  const Tensor& xv = x.value();
  check_float(name, "input", xv, at);
  const int a = check_axis(name, xv, axis, at);
  const double scale = average ? 1.0 / static_cast<double>(xv.dim(a)) : 1.0;
  return scaled_sum(name, x, AxisGeometry::make(xv.shape(), a), reduced(xv, a, keep), scale, a > 0);
}

}  // namespace

Var sum(const Var& x, Loc at) { return of_all("sum", x, false, at); }
Var mean(const Var& x, Loc at) { return of_all("mean", x, true, at); }
Var sum(const Var& x, int axis, bool keep, Loc at) {
  return along("sum", x, axis, keep, false, at);
}
Var mean(const Var& x, int axis, bool keep, Loc at) {
  return along("mean", x, axis, keep, true, at);
}

Var max(const Var& x, int axis, bool keep, Loc at) {
  const Tensor& xv = x.value();
  check_float("max", "input", xv, at);
  const int a = check_axis("max", xv, axis, at);
  const AxisGeometry g = AxisGeometry::make(xv.shape(), a);
  if (g.length == 0) {
    throw ShapeError(fmt::format("max: axis {} has no elements", axis), {{"input", describe(xv)}},
                     at);
  }
  Tensor y = Tensor::empty(reduced(xv, a, keep), xv.dtype(), xv.device());
  const Tensor argmax = Tensor::empty(y.shape(), DType::i64, xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.max(g, xv.data<T>(), y.data<T>(), argmax.data<std::int64_t>());
  });
  // One pick per line: the gradient is that of a gather.
  return record({"max", first_if(a > 0), xv.numel()}, {x}, std::move(y),
                [g, argmax](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.gather_backward(g, 1, argmax.data<std::int64_t>(), gy.rows<T>(), gx);
                    }
                  });
                });
}

}  // namespace concord
