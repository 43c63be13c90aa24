// The element-wise list as types, and the counting of broadcast axes: what the element-wise kernels
// of the CPU and of CUDA share.
#pragma once

#include <concord/tensor/kernels/elementwise.h>
#include <concord/tensor/kernels/geometry.h>

namespace concord::kernels {

// One functor per op: unary_ops::relu{}.f(x, p, q), binary_ops::mul{}.da(a, b, y).
namespace unary_ops {
#define CONCORD_FUNCTOR(name, parameters, value, derivative)                          \
  struct name {                                                                       \
    template <class T>                                                                \
    CONCORD_HD T f(T x, [[maybe_unused]] T p, [[maybe_unused]] T q) const {           \
      return value;                                                                   \
    }                                                                                 \
    template <class T>                                                                \
    CONCORD_HD T df([[maybe_unused]] T x, [[maybe_unused]] T y, [[maybe_unused]] T p, \
                    [[maybe_unused]] T q) const {                                     \
      return derivative;                                                              \
    }                                                                                 \
  };
CONCORD_UNARY_OPS(CONCORD_FUNCTOR)
#undef CONCORD_FUNCTOR
}  // namespace unary_ops

namespace binary_ops {
#define CONCORD_FUNCTOR(name, value, derivative_a, derivative_b)                              \
  struct name {                                                                               \
    template <class T>                                                                        \
    CONCORD_HD T f(T a, T b) const {                                                          \
      return value;                                                                           \
    }                                                                                         \
    template <class T>                                                                        \
    CONCORD_HD T da([[maybe_unused]] T a, [[maybe_unused]] T b, [[maybe_unused]] T y) const { \
      return derivative_a;                                                                    \
    }                                                                                         \
    template <class T>                                                                        \
    CONCORD_HD T db([[maybe_unused]] T a, [[maybe_unused]] T b, [[maybe_unused]] T y) const { \
      return derivative_b;                                                                    \
    }                                                                                         \
  };
CONCORD_BINARY_OPS(CONCORD_FUNCTOR)
#undef CONCORD_FUNCTOR
}  // namespace binary_ops

/// Calls f with the functor of `op`.
template <class F>
void with_op(UnaryOp op, F&& f) {
  switch (op) {
#define CONCORD_CASE(name, parameters, value, derivative) \
  case UnaryOp::name:                                     \
    return f(unary_ops::name{});
    CONCORD_UNARY_OPS(CONCORD_CASE)
#undef CONCORD_CASE
    case UnaryOp::count_:
      break;
  }
  throw UsageError("unary: no such operation");
}

template <class F>
void with_op(BinaryOp op, F&& f) {
  switch (op) {
#define CONCORD_CASE(name, value, derivative_a, derivative_b) \
  case BinaryOp::name:                                        \
    return f(binary_ops::name{});
    CONCORD_BINARY_OPS(CONCORD_CASE)
#undef CONCORD_CASE
    case BinaryOp::count_:
      break;
  }
  throw UsageError("binary: no such operation");
}

/// Some axes of a loop over out, a and b, in order, with the strides of the three along them.
struct Odometer {
  int rank = 0;
  index_t extent[kMaxRank]{}, out_stride[kMaxRank]{}, a_stride[kMaxRank]{}, b_stride[kMaxRank]{};

  void add(index_t e, index_t out, index_t a, index_t b) {
    extent[rank] = e;
    out_stride[rank] = out;
    a_stride[rank] = a;
    b_stride[rank++] = b;
  }
  CONCORD_HD index_t places() const {
    index_t n = 1;
    for (int axis = 0; axis < rank; ++axis) n *= extent[axis];
    return n;
  }

  struct Offsets {
    index_t out = 0, a = 0, b = 0;
    CONCORD_HD friend Offsets operator+(Offsets x, Offsets y) {
      return {x.out + y.out, x.a + y.a, x.b + y.b};
    }
  };
  CONCORD_HD Offsets at(index_t place) const {
    Offsets o;
    for (int axis = rank - 1; axis >= 0; --axis) {
      const index_t i = axis > 0 ? place % extent[axis] : place;
      if (axis > 0) place /= extent[axis];
      o = o + Offsets{i * out_stride[axis], i * a_stride[axis], i * b_stride[axis]};
    }
    return o;
  }
};

/// The axes among the first `axes` of the merged loop that `keep(axis)` selects.
template <class Keep>
Odometer odometer(const BroadcastGeometry& g, int axes, Keep keep) {
  Odometer odometer;
  index_t out_stride = g.out.numel();
  for (int axis = 0; axis < axes; ++axis) {
    out_stride = g.extent[axis] ? out_stride / g.extent[axis] : 0;
    if (keep(axis)) odometer.add(g.extent[axis], out_stride, g.a_stride[axis], g.b_stride[axis]);
  }
  return odometer;
}

}  // namespace concord::kernels
