// Element-wise ops: the functions follow from the list in tensor/kernels/elementwise.h.
#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

#include <string_view>

namespace concord {
namespace {

using namespace ops;
using kernels::BinaryOp;
using kernels::BroadcastGeometry;
using kernels::Scalars;
using kernels::UnaryOp;

/// Whether an expression of the list reads a variable (x, y, a or b). An op keeps for its backward
/// pass what its derivative reads, and nothing else: this is where that is found out.
constexpr bool reads(std::string_view expression, char variable) {
  const auto in_name = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const bool alone = (i == 0 || !in_name(expression[i - 1])) &&
                       (i + 1 == expression.size() || !in_name(expression[i + 1]));
    if (expression[i] == variable && alone) return true;
  }
  return false;
}
static_assert(reads("x > T(0) ? T(1) : p", 'x') && !reads("p * std::exp(y)", 'x'));

struct Unary {
  UnaryOp op;
  const char* name;
  bool df_reads_x, df_reads_y;
};

Var apply(const Unary& u, const Var& x, Scalars s, Loc at) {
  const Tensor& xv = x.value();
  check_float(u.name, "input", xv, at);
  const index_t n = xv.numel();
  Tensor y = Tensor::empty_like(xv);
  on(xv,
     [&]<class T>(const Kernels<T>& k) { k.unary_forward(u.op, s, n, xv.data<T>(), y.data<T>()); });
  const Tensor kept_x = u.df_reads_x ? xv : Tensor(), kept_y = u.df_reads_y ? y : Tensor();
  return record({u.name, first_if(xv.rank() > 0), n}, {x}, std::move(y),
                [op = u.op, s, n, kept_x, kept_y](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    const auto gx = sink.slot<T>(0);
                    if (!gx) return;
                    // What was not kept is not read; the kernel is given some values all the same.
                    const T* any = gy.rows<T>()[0];
                    k.unary_backward(op, s, n, kept_x.defined() ? kept_x.data<T>() : any,
                                     kept_y.defined() ? kept_y.data<T>() : any, gy.rows<T>(), gx);
                  });
                });
}

struct Binary {
  BinaryOp op;
  const char* name;
  const char *da, *db;
};

/// Whether axis 0 of the operand is axis 0 of the output. If not, the operand is broadcast along
/// it.
bool carries_batch(const Tensor& t, const Shape& out) {
  return out.rank() > 0 && t.rank() == out.rank() && t.dim(0) == out[0];
}

Var apply(const Binary& f, const Var& a, const Var& b, Loc at) {
  const Tensor &av = a.value(), &bv = b.value();
  check_float(f.name, "a", av, at);
  check_float(f.name, "b", bv, at);
  const BroadcastGeometry g = BroadcastGeometry::make(f.name, av, bv, at);
  Tensor y = Tensor::empty(g.out, av.dtype(), av.device());
  on(av, [&]<class T>(const Kernels<T>& k) {
    k.binary_forward(f.op, g, av.data<T>(), bv.data<T>(), y.data<T>());
  });
  if (!a.recorded() && !b.recorded()) return y;

  const std::array<bool, 2> carries{carries_batch(av, g.out), carries_batch(bv, g.out)};
  // The same for one sample: an operand that all samples share gets a gradient per task.
  BroadcastGeometry of_sample = g;
  if (carries[0] != carries[1] && g.out[0] > 0) {
    of_sample = BroadcastGeometry::make(f.name, carries[0] ? av.rows(0, 1) : av,
                                        carries[1] ? bv.rows(0, 1) : bv, at);
  }
  const auto kept = [&](const Tensor& t, char variable) {
    const bool read =
        (a.recorded() && reads(f.da, variable)) || (b.recorded() && reads(f.db, variable));
    return read ? t : Tensor();
  };
  const std::uint32_t samples = (carries[0] ? 1u : 0u) | (carries[1] ? 2u : 0u);
  return record({f.name, samples, y.numel()}, {a, b}, y,
                [op = f.op, g, of_sample, carries, a = kept(av, 'a'), b = kept(bv, 'b'),
                 y = kept(y, 'y')](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    const auto rows = gy.rows<T>(), per_task = gy.per_task<T>();
                    // What was not kept is not read; the kernel is given some values all the same.
                    const auto whole = [&](const Tensor& t) {
                      return t.defined() ? shared_by_all<T>(t, rows.count) : rows;
                    };
                    const auto sample = [&](const Tensor& t, bool carried) {
                      if (!t.defined()) return per_task;
                      return carried ? gy.operand<T>(t) : shared_by_all<T>(t, per_task.count);
                    };
                    for (int side = 0; side < 2; ++side) {
                      const auto out = sink.slot<T>(side);
                      if (!out) continue;
                      if (!gy.diagonal() || carries[side]) {
                        k.binary_backward(op, side, g, whole(a), whole(b), whole(y), rows, out);
                      } else {
                        k.binary_backward(op, side, of_sample, sample(a, carries[0]),
                                          sample(b, carries[1]), sample(y, true), per_task, out);
                      }
                    }
                  });
                });
}

}  // namespace

#define CONCORD_SCALARS_0 \
  {}
#define CONCORD_SCALARS_1 \
  { p }
#define CONCORD_SCALARS_2 \
  { p, q }
#define CONCORD_ARGUMENTS_0
#define CONCORD_ARGUMENTS_1 double p,
#define CONCORD_ARGUMENTS_2 double p, double q,
#define CONCORD_DEFINE(f, parameters, value, df)                         \
  Var f(const Var& x, CONCORD_ARGUMENTS_##parameters Loc at) {           \
    constexpr Unary u{UnaryOp::f, #f, reads(#df, 'x'), reads(#df, 'y')}; \
    return apply(u, x, CONCORD_SCALARS_##parameters, at);                \
  }
CONCORD_UNARY_OPS(CONCORD_DEFINE)
#undef CONCORD_DEFINE
#undef CONCORD_ARGUMENTS_2
#undef CONCORD_ARGUMENTS_1
#undef CONCORD_ARGUMENTS_0
#undef CONCORD_SCALARS_2
#undef CONCORD_SCALARS_1
#undef CONCORD_SCALARS_0

#define CONCORD_DEFINE(f, value, da, db)                       \
  Var f(const Var& a, const Var& b, Loc at) {                  \
    return apply(Binary{BinaryOp::f, #f, #da, #db}, a, b, at); \
  }
CONCORD_BINARY_OPS(CONCORD_DEFINE)
#undef CONCORD_DEFINE

Var dropout(const Var& x, double p, const Rng& rng, Loc at) {
  const Tensor& xv = x.value();
  check_float("dropout", "input", xv, at);
  if (!(p >= 0 && p < 1)) {
    throw ValueError(fmt::format("dropout: p is {}, needs 0 <= p < 1", p),
                     {{"input", describe(xv)}}, at);
  }
  const index_t n = xv.numel();
  const Tensor mask = Tensor::empty_like(xv);
  Tensor y = Tensor::empty_like(xv);
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.dropout_mask(n, p, rng, mask.data<T>());
    k.multiply_rows(n, one_row<const T>(xv.data<T>()), mask.data<T>(), one_row(y.data<T>()));
  });
  return record({"dropout", first_if(xv.rank() > 0), n}, {x}, std::move(y),
                [n, mask](const Cotangent& gy, Sink& sink) {
                  on(mask, [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.multiply_rows(n, gy.rows<T>(), mask.data<T>(), gx);
                    }
                  });
                });
}

}  // namespace concord
