// Convolution.
#include <concord/autograd/ops/common.h>

namespace concord {

using namespace ops;
using kernels::ConvGeometry;

Var conv2d(const Var& x, const Var& weight, const Var& bias, const Conv2dOptions& o, Loc at) {
  const Tensor &xv = x.value(), &wv = weight.value(), &bv = bias.value();
  check_float("conv2d", "input", xv, at);
  const ConvGeometry g = ConvGeometry::make(xv, wv, o, at);
  check_optional("conv2d", "bias", bv, xv, {g.k}, at);
  Tensor y = Tensor::empty({g.n, g.k, g.p, g.q}, xv.dtype(), xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.conv2d_forward(g, xv.data<T>(), wv.data<T>(), data_or_null<T>(bv), y.data<T>());
  });
  // x serves the gradient of the weight, the weight that of x.
  return record(
      {"conv2d", first_if(true), g.flops()}, {x, weight, bias}, std::move(y),
      [g, x = weight.recorded() ? xv : Tensor(), w = x.recorded() ? wv : Tensor()](
          const Cotangent& gy, Sink& sink) {
        on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
          if (const auto gx = sink.slot<T>(0)) {
            k.conv2d_grad_input(g, w.data<T>(), gy.rows<T>(), gx);
          }
          const index_t n = gy.batch(g.n);
          if (const auto gw = sink.slot<T>(1)) {
            k.conv2d_grad_weight(g.with_batch(n), gy.operand<T>(x), gy.per_task<T>(), gw);
          }
          if (const auto gb = sink.slot<T>(2)) {  // first over each plane, then over the batch
            const Tensor planes =
                Tensor::empty({gy.count(), n, g.k}, gy.holder().dtype(), gy.holder().device());
            k.sum({n * g.k, g.p * g.q, 1}, 1, gy.per_task<T>(), rows_of<T>(planes));
            k.sum({1, n, g.k}, 1, rows_of<T>(planes), gb);
          }
        });
      });
}

}  // namespace concord
