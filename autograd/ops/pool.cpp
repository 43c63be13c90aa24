// Pooling. Each sample stands for itself, so the batch-diagonal form needs nothing special.
#include <concord/autograd/ops/common.h>

namespace concord {
namespace {

using namespace ops;
using kernels::PoolGeometry;

Shape pooled(const Tensor& x, const PoolGeometry& g) {
  return x.shape().with(-2, g.p).with(-1, g.q);
}

Var average(const char* name, const Var& x, const PoolGeometry& g) {
  const Tensor& xv = x.value();
  Tensor y = Tensor::empty(pooled(xv, g), xv.dtype(), xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) { k.avg_pool2d_forward(g, xv.data<T>(), y.data<T>()); });
  return record({name, first_if(true), xv.numel()}, {x}, std::move(y),
                [g](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.avg_pool2d_backward(g, gy.rows<T>(), gx);
                    }
                  });
                });
}

}  // namespace

Var max_pool2d(const Var& x, const Pool2dOptions& o, Loc at) {
  const Tensor& xv = x.value();
  check_float("max_pool2d", "input", xv, at);
  const PoolGeometry g = PoolGeometry::make("max_pool2d", xv, o, at);
  Tensor y = Tensor::empty(pooled(xv, g), xv.dtype(), xv.device());
  // There is no i32 tensor; argmax is bytes.
  const auto size = static_cast<index_t>(sizeof(std::int32_t));
  const Tensor argmax = Tensor::empty({y.numel() * size}, DType::u8, xv.device());
  const auto places = [](const Tensor& t) { return reinterpret_cast<std::int32_t*>(t.raw()); };
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.max_pool2d_forward(g, xv.data<T>(), y.data<T>(), places(argmax));
  });
  return record({"max_pool2d", first_if(true), y.numel() * g.kernel_h * g.kernel_w}, {x},
                std::move(y), [g, argmax, places](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.max_pool2d_backward(g, places(argmax), gy.rows<T>(), gx);
                    }
                  });
                });
}

Var avg_pool2d(const Var& x, const Pool2dOptions& o, Loc at) {
  check_float("avg_pool2d", "input", x.value(), at);
  return average("avg_pool2d", x, PoolGeometry::make("avg_pool2d", x.value(), o, at));
}

Var adaptive_avg_pool2d(const Var& x, index_t p, index_t q, Loc at) {
  constexpr const char* op = "adaptive_avg_pool2d";
  check_float(op, "input", x.value(), at);
  return average(op, x, PoolGeometry::make_adaptive(op, x.value(), p, q, at));
}

}  // namespace concord
