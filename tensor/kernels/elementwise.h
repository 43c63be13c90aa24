// The list of element-wise operations: one line each. The CPU kernel, the CUDA kernel, the Var
// function of autograd/ops.h, its op-case test and its row in the table of ops follow from the
// list.
//
//   UNARY(name, parameters, f, df)   f(x) with x, p, q; df(x, y) = dy/dx with x, y, p, q
//   BINARY(name, f, da, db)          f(a, b) with a, b; the partial derivatives with a, b, y
//
// All expressions are of type T and use only the functions defined below, so that both compilers
// take them. At a kink the derivative is PyTorch's: relu'(0) = 0, abs'(0) = 0; a tie of min or max
// gives each side half. NaN in, NaN out (a != a), so that the watch finds it.
#pragma once

#include <cmath>

#if defined(__CUDACC__)
#define CONCORD_HD __host__ __device__
#else
#define CONCORD_HD
#endif

// Kept as tables:
// clang-format off
#define CONCORD_UNARY_OPS(UNARY) \
  UNARY(neg,        0, -x,                        T(-1)) \
  UNARY(abs,        0, x < T(0) ? -x : x,         x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0)) \
  UNARY(square,     0, x * x,                     T(2) * x) \
  UNARY(sqrt,       0, std::sqrt(x),              T(0.5) / y) \
  UNARY(exp,        0, std::exp(x),               y) \
  UNARY(log,        0, std::log(x),               T(1) / x) \
  UNARY(tanh,       0, std::tanh(x),              T(1) - y * y) \
  UNARY(sigmoid,    0, sigmoid_value(x),          y * (T(1) - y)) \
  UNARY(relu,       0, x < T(0) ? T(0) : x,       y > T(0) ? T(1) : T(0)) \
  UNARY(leaky_relu, 1, x > T(0) ? x : p * x,      x > T(0) ? T(1) : p) \
  UNARY(elu,        1, x > T(0) ? x : p * std::expm1(x), x > T(0) ? T(1) : y + p) \
  UNARY(gelu,       0, x * normal_cdf(x),         normal_cdf(x) + x * normal_pdf(x)) \
  UNARY(silu,       0, x * sigmoid_value(x),      sigmoid_value(x) * (T(1) + x - y)) \
  UNARY(softplus,   0, softplus_value(x),         sigmoid_value(x)) \
  UNARY(add_scalar, 1, x + p,                     T(1)) \
  UNARY(mul_scalar, 1, x * p,                     p) \
  UNARY(pow_scalar, 1, std::pow(x, p),            p == T(0) ? T(0) : p * std::pow(x, p - T(1))) \
  UNARY(clamp,      2, x < p ? p : x > q ? q : x, x < p || x > q ? T(0) : T(1))

#define CONCORD_BINARY_OPS(BINARY) \
  BINARY(add, a + b, T(1),     T(1)) \
  BINARY(sub, a - b, T(1),     T(-1)) \
  BINARY(mul, a * b, b,        a) \
  BINARY(div, a / b, T(1) / b, -y / b) \
  BINARY(minimum, a < b || a != a ? a : b, a < b ? T(1) : a > b ? T(0) : T(0.5), b < a ? T(1) : b > a ? T(0) : T(0.5)) \
  BINARY(maximum, a > b || a != a ? a : b, a > b ? T(1) : a < b ? T(0) : T(0.5), b > a ? T(1) : b < a ? T(0) : T(0.5))
// clang-format on

namespace concord::kernels {

/// 1 / (1 + e^-x) without overflow for either sign.
template <class T>
CONCORD_HD inline T sigmoid_value(T x) {
  return x >= T(0) ? T(1) / (T(1) + std::exp(-x)) : std::exp(x) / (T(1) + std::exp(x));
}

/// Distribution function and density of the standard normal distribution.
template <class T>
CONCORD_HD inline T normal_cdf(T x) {
  return T(0.5) * (T(1) + std::erf(x * T(0.70710678118654752440)));
}
template <class T>
CONCORD_HD inline T normal_pdf(T x) {
  return T(0.39894228040143267794) * std::exp(T(-0.5) * x * x);
}

/// log(1 + e^x) = max(x, 0) + log1p(e^-|x|).
template <class T>
CONCORD_HD inline T softplus_value(T x) {
  return (x > T(0) ? x : T(0)) + std::log1p(std::exp(x > T(0) ? -x : x));
}

enum class UnaryOp {
#define CONCORD_ENUM(name, parameters, f, df) name,
  CONCORD_UNARY_OPS(CONCORD_ENUM)
#undef CONCORD_ENUM
      count_
};

enum class BinaryOp {
#define CONCORD_ENUM(name, f, da, db) name,
  CONCORD_BINARY_OPS(CONCORD_ENUM)
#undef CONCORD_ENUM
      count_
};

}  // namespace concord::kernels
