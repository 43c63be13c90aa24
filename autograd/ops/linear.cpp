// Matrix products.
#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

namespace concord {

using namespace ops;
using kernels::LinearGeometry;

namespace {

/// Of the weight. Per-sample losses: the gradient of a sample is one outer product, and
/// <a_i b_iᵀ, a_j b_jᵀ> = <a_i, a_j> <b_i, b_j>; with several vectors per sample there is no such
/// way. Else see the kernel linear_gram.
GramCosts gram_costs(const LinearGeometry& g, bool per_sample) {
  const auto n = static_cast<double>(g.n), in = static_cast<double>(g.in),
             out = static_cast<double>(g.out);
  GramCosts costs{.gradient = 2 * n * in * out};
  if (per_sample) {
    if (g.n == 1) costs.columns = in + out;
  } else {
    costs.once = 2 * n * n * in;
    costs.each = 2 * n * n * out;
    costs.columns = n * out;
  }
  return costs;
}

template <class T>
void sample_products(const LinearGeometry& g, const Cotangent& gy, const Tensor& x, double* out) {
  const auto& k = kernels::table<T>(x.device());
  const Tensor other = Tensor::empty({gy.count(), gy.count()}, DType::f64, x.device());
  k.gram(g.in, gy.operand<T>(x), out);
  k.gram(g.out, gy.per_task<T>(), other.data<double>());
  kernels::table<double>(x.device())
      .multiply_rows(other.numel(), one_row<const double>(other.data<double>()), out, one_row(out));
}

}  // namespace

Var linear(const Var& x, const Var& weight, const Var& bias, Loc at) {
  const Tensor &xv = x.value(), &wv = weight.value(), &bv = bias.value();
  check_float("linear", "input", xv, at);
  const LinearGeometry g = LinearGeometry::make(xv, wv, at);
  check_optional("linear", "bias", bv, xv, {g.out}, at);
  Tensor y = Tensor::empty(xv.shape().with(-1, g.out), xv.dtype(), xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.linear_forward(g, xv.data<T>(), wv.data<T>(), data_or_null<T>(bv), y.data<T>());
  });
  const bool batched = xv.rank() >= 2;
  // x serves the gradient of the weight, the weight that of x.
  return record({"linear", first_if(batched), g.flops()}, {x, weight, bias}, std::move(y),
                [g, x = weight.recorded() ? xv : Tensor(), w = x.recorded() ? wv : Tensor(),
                 per_sample = batched && xv.dim(0) > 0 ? g.n / xv.dim(0) : g.n](const Cotangent& gy,
                                                                                Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.linear_grad_input(g, w.data<T>(), gy.rows<T>(), gx);
                    }
                    const index_t n = gy.diagonal() ? per_sample : g.n;
                    if (double* const products =
                            sink.products(1, gram_costs(g.with_batch(n), gy.diagonal()))) {
                      if (gy.diagonal())
                        sample_products<T>(g, gy, x, products);
                      else
                        k.linear_gram(g, x.data<T>(), gy.rows<T>(), products);
                    } else if (const auto gw = sink.slot<T>(1)) {
                      k.linear_grad_weight(g.with_batch(n), gy.operand<T>(x), gy.per_task<T>(), gw);
                    }
                    if (const auto gb = sink.slot<T>(2)) {
                      k.sum({1, n, g.out}, 1, gy.per_task<T>(), gb);
                    }
                  });
                });
}

Var matmul(const Var& a, const Var& b, Loc at) {
  const Tensor &av = a.value(), &bv = b.value();
  check_float("matmul", "a", av, at);
  check_rank("matmul", "a", av, 2, at);
  check_rank("matmul", "b", bv, 2, at);
  check_same_kind("matmul", "a", av, "b", bv, at);
  const index_t m = av.dim(0), inner = av.dim(1), n = bv.dim(1);
  if (bv.dim(0) != inner) {
    throw ShapeError(fmt::format("matmul: a has {} columns, b has {} rows", inner, bv.dim(0)),
                     {{"a", describe(av)}, {"b", describe(bv)}}, at);
  }
  Tensor y = Tensor::empty({m, n}, av.dtype(), av.device());
  on(av, [&]<class T>(const Kernels<T>& k) {
    k.gemm(false, false, m, n, inner, T(1), av.data<T>(), inner, bv.data<T>(), n, T(0), y.data<T>(),
           n);
  });
  return record({"matmul", first_if(true), 2 * m * n * inner}, {a, b}, std::move(y),
                [m, n, inner, a = b.recorded() ? av : Tensor(), b = a.recorded() ? bv : Tensor()](
                    const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto ga = sink.slot<T>(0)) {  // gy bᵀ
                      const auto rows = gy.rows<T>();
                      for (std::int32_t r = 0; r < rows.count; ++r) {
                        k.gemm(false, true, m, inner, n, T(1), rows[r], n, b.data<T>(), n,
                               T(ga.accumulate), ga[r], inner);
                      }
                    }
                    if (const auto gb = sink.slot<T>(1)) {  // aᵀ gy
                      const auto rows = gy.per_task<T>(), left = gy.operand<T>(a);
                      for (std::int32_t r = 0; r < rows.count; ++r) {
                        k.gemm(true, false, inner, n, gy.batch(m), T(1), left[r], inner, rows[r], n,
                               T(gb.accumulate), gb[r], n);
                      }
                    }
                  });
                });
}

}  // namespace concord
