// The operations on Vars. Each one's forward and vector-Jacobian product stand in one function of
// autograd/ops/*.cpp. Every op throws ShapeError / DTypeError / DeviceError naming itself when its
// arguments do not fit; `at` is where the caller stands. Float means f32 or f64.
#pragma once

#include <concord/autograd/var.h>
#include <concord/tensor/kernels/elementwise.h>
#include <concord/tensor/kernels/geometry.h>
#include <concord/tensor/random.h>

#include <initializer_list>
#include <span>

namespace concord {

using kernels::Conv2dOptions;
using kernels::Pool2dOptions;

/// What a loss makes of its elements' losses.
enum class Reduction { none, mean, sum };

// --- Element by element (ops/elementwise.cpp). One function per line of kernels/elementwise.h:
// neg abs square sqrt exp log tanh sigmoid relu leaky_relu(p) elu(p) gelu silu softplus
// add_scalar(p) mul_scalar(p) pow_scalar(p) clamp(p, q);
// add sub mul div minimum maximum, with NumPy broadcasting.
#define CONCORD_DECLARE_UNARY_0(name) Var name(const Var& x, Loc at = Loc::current());
#define CONCORD_DECLARE_UNARY_1(name) Var name(const Var& x, double p, Loc at = Loc::current());
#define CONCORD_DECLARE_UNARY_2(name) \
  Var name(const Var& x, double p, double q, Loc at = Loc::current());
#define CONCORD_DECLARE(name, parameters, f, df) CONCORD_DECLARE_UNARY_##parameters(name)
CONCORD_UNARY_OPS(CONCORD_DECLARE)
#undef CONCORD_DECLARE
#undef CONCORD_DECLARE_UNARY_0
#undef CONCORD_DECLARE_UNARY_1
#undef CONCORD_DECLARE_UNARY_2
#define CONCORD_DECLARE(name, f, da, db) \
  Var name(const Var& a, const Var& b, Loc at = Loc::current());
CONCORD_BINARY_OPS(CONCORD_DECLARE)
#undef CONCORD_DECLARE

inline Var operator+(const Var& a, const Var& b) { return add(a, b); }
inline Var operator-(const Var& a, const Var& b) { return sub(a, b); }
inline Var operator*(const Var& a, const Var& b) { return mul(a, b); }
inline Var operator/(const Var& a, const Var& b) { return div(a, b); }
inline Var operator-(const Var& a) { return neg(a); }
inline Var operator+(const Var& a, double b) { return add_scalar(a, b); }
inline Var operator-(const Var& a, double b) { return add_scalar(a, -b); }
inline Var operator*(const Var& a, double b) { return mul_scalar(a, b); }
inline Var operator*(double a, const Var& b) { return mul_scalar(b, a); }

/// Each element kept with probability 1-p and scaled by 1/(1-p); element i looks at rng.uniform(i).
/// p in [0, 1).
Var dropout(const Var& x, double p, const Rng& rng, Loc at = Loc::current());

// --- Matrices and convolutions (ops/linear.cpp, ops/conv.cpp)
/// [.., in] x [out, in] (+ bias [out]) -> [.., out]: y = x weightᵀ + bias. An undefined bias is
/// none.
Var linear(const Var& x, const Var& weight, const Var& bias = {}, Loc at = Loc::current());
/// [m, k] x [k, n] -> [m, n].
Var matmul(const Var& a, const Var& b, Loc at = Loc::current());
/// [n, c, h, w], weight [k, c/groups, r, s] (+ bias [k]) -> [n, k, p, q].
Var conv2d(const Var& x, const Var& weight, const Var& bias = {}, const Conv2dOptions& o = {},
           Loc at = Loc::current());

// --- Pooling (ops/pool.cpp): [n, c, h, w] -> [n, c, p, q]
Var max_pool2d(const Var& x, const Pool2dOptions& o, Loc at = Loc::current());
Var avg_pool2d(const Var& x, const Pool2dOptions& o, Loc at = Loc::current());
Var adaptive_avg_pool2d(const Var& x, index_t p, index_t q, Loc at = Loc::current());

// --- Normalisation (ops/norm.cpp)
struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  ///< running = (1 - momentum) running + momentum batch
};
/// [n, c] or [n, c, h, w]. Training: batch statistics, and running_mean / running_var [c] are moved
/// (both may be undefined). Evaluation: running statistics. weight, bias [c], or undefined.
/// Throws ShapeError in training when there is one value per channel.
Var batch_norm(const Var& x, const Var& weight, const Var& bias, const Tensor& running_mean,
               const Tensor& running_var, bool training, const BatchNormOptions& o = {},
               Loc at = Loc::current());
/// Over the last axes, as many as weight (or `axes`, when weight is undefined) has.
Var layer_norm(const Var& x, const Var& weight, const Var& bias, int axes = 1, double eps = 1e-5,
               Loc at = Loc::current());

// --- Reductions (ops/reduce.cpp)
Var sum(const Var& x, Loc at = Loc::current());   ///< of all elements -> []
Var mean(const Var& x, Loc at = Loc::current());  ///< of all elements -> []
Var sum(const Var& x, int axis, bool keep = false, Loc at = Loc::current());
Var mean(const Var& x, int axis, bool keep = false, Loc at = Loc::current());
/// Largest value along an axis; the gradient goes to the first maximum.
Var max(const Var& x, int axis, bool keep = false, Loc at = Loc::current());

// --- Softmax and classification (ops/softmax.cpp)
Var softmax(const Var& x, int axis = -1, Loc at = Loc::current());
Var log_softmax(const Var& x, int axis = -1, Loc at = Loc::current());
struct CrossEntropyOptions {
  double label_smoothing = 0;
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;  ///< mean: over the targets that are not ignored
};
/// logits [n, classes] or [n, classes, ...]; target i64 [n] or [n, ...] in [0, classes) or
/// ignore_index (others throw ValueError). One fused kernel; none -> [n, ...], else [].
/// Targets on a device are not looked at, since the host would have to wait for them: the loss of
/// one that is neither is NaN.
Var cross_entropy(const Var& logits, const Tensor& target, const CrossEntropyOptions& o = {},
                  Loc at = Loc::current());

// --- Shape (ops/shape.cpp). These copy unless said otherwise.
Var view(const Var& x, const Shape& shape, Loc at = Loc::current());  ///< shares memory
Var view(const Var& x, std::initializer_list<index_t> extents_or_minus_one,
         Loc at = Loc::current());                                       ///< shares memory
Var flatten(const Var& x, int first_axis = 1, Loc at = Loc::current());  ///< shares memory
Var transpose(const Var& x, int axis_a, int axis_b, Loc at = Loc::current());
Var permute(const Var& x, std::initializer_list<int> axes, Loc at = Loc::current());
Var slice(const Var& x, int axis, index_t first, index_t last,
          Loc at = Loc::current());  ///< [first, last)
Var concat(std::span<const Var> parts, int axis, Loc at = Loc::current());
Var concat(std::initializer_list<Var> parts, int axis, Loc at = Loc::current());
/// `before[i]`, `after[i]` zeros (or `value`) around axis i.
Var pad(const Var& x, std::span<const index_t> before, std::span<const index_t> after,
        double value = 0, Loc at = Loc::current());
Var broadcast_to(const Var& x, const Shape& shape, Loc at = Loc::current());

// --- Indexing (ops/index.cpp). Indices outside throw ValueError; those on a device are not looked
// at, and what they name is NaN.
/// Rows of table [entries, width] named by index i64 [...] -> [..., width].
Var embedding(const Var& table, const Tensor& index, Loc at = Loc::current());
/// y[.., m, ..] = x[.., index[.., m, ..], ..] along `axis`; index i64 with x's other extents.
Var gather(const Var& x, int axis, const Tensor& index, Loc at = Loc::current());

}  // namespace concord
