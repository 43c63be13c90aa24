// All shape arithmetic of the structural kernels, checked once, on the host. A kernel gets a
// geometry that is known to be right and never checks again. Every `make` throws with the op's
// name, the shapes and what was expected: ShapeError where shapes do not fit, ValueError for an
// option out of its range, DTypeError and DeviceError where operands differ in kind.
#pragma once

#include <concord/tensor/tensor.h>

#include <array>

namespace concord::kernels {

struct Conv2dOptions {
  std::array<index_t, 2> stride{1, 1};
  std::array<index_t, 2> padding{0, 0};
  std::array<index_t, 2> dilation{1, 1};
  index_t groups = 1;
};

/// x [n, c, h, w] * weight [k, c/groups, r, s] -> y [n, k, p, q], as PyTorch's conv2d (a
/// correlation).
struct ConvGeometry {
  index_t n, c, h, w;  // input
  index_t k, r, s;     // output channels, kernel height and width
  index_t p, q;        // output height and width
  index_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;

  static ConvGeometry make(const Tensor& x, const Tensor& weight, const Conv2dOptions& o,
                           Loc at = {});

  index_t x_size() const { return c * h * w; }  ///< elements of one sample
  index_t y_size() const { return k * p * q; }
  index_t weight_size() const { return k * (c / groups) * r * s; }
  index_t flops() const { return 2 * n * k * p * q * (c / groups) * r * s; }
  ConvGeometry with_batch(index_t batch) const {
    ConvGeometry g = *this;
    g.n = batch;
    return g;
  }
};

/// y [n, out] = x [n, in] weightᵀ [in, out]; leading axes of x are folded into n.
struct LinearGeometry {
  index_t n, in, out;
  static LinearGeometry make(const Tensor& x, const Tensor& weight, Loc at = {});
  index_t flops() const { return 2 * n * in * out; }
  LinearGeometry with_batch(index_t batch) const { return {batch, in, out}; }
};

struct Pool2dOptions {
  std::array<index_t, 2> kernel{2, 2};
  std::array<index_t, 2> stride{0, 0};  ///< 0: the kernel's size
  std::array<index_t, 2> padding{0, 0};
  bool count_include_pad = true;  ///< average pooling: do padded zeros count?
};

/// x [planes, h, w] -> y [planes, p, q]. Adaptive pooling (adaptive = true) splits rows as PyTorch:
/// output i covers [floor(i h / p), ceil((i+1) h / p)).
struct PoolGeometry {
  index_t planes, h, w, p, q;
  index_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  bool count_include_pad, adaptive;

  static PoolGeometry make(std::string_view op, const Tensor& x, const Pool2dOptions& o,
                           Loc at = {});
  static PoolGeometry make_adaptive(std::string_view op, const Tensor& x, index_t p, index_t q,
                                    Loc at = {});
  PoolGeometry with_planes(index_t count) const {
    PoolGeometry g = *this;
    g.planes = count;
    return g;
  }
};

/// Statistics over n and inner for each of c channels: x [n, c, inner].
struct BatchNormGeometry {
  index_t n, c, inner;
  static BatchNormGeometry make(const Tensor& x, index_t channels, Loc at = {});
  BatchNormGeometry with_batch(index_t batch) const { return {batch, c, inner}; }
};

/// Contiguous [outer, length, inner]: softmax, reductions and gather along one axis (or a run of
/// axes).
struct AxisGeometry {
  index_t outer, length, inner;
  static AxisGeometry make(const Shape& x, int axis);
  static AxisGeometry make(const Shape& x, int first_axis,
                           int last_axis);  ///< axes first..last inclusive
};

/// Element-wise a ∘ b under NumPy broadcasting. Strides are 0 along broadcast axes; neighbouring
/// axes with equal behaviour are merged, so that most cases have rank 1 to 3.
struct BroadcastGeometry {
  Shape out;  ///< full output shape
  int rank;   ///< of the merged loop
  std::array<index_t, kMaxRank> extent, a_stride, b_stride;
  index_t a_numel, b_numel;
  static BroadcastGeometry make(std::string_view op, const Tensor& a, const Tensor& b, Loc at = {});
};

/// Copies a box: extent[i] elements along axis i, with strides on both sides. Serves transpose,
/// slice, pad, concat and flip (negative strides).
struct CopyGeometry {
  int rank = 0;
  std::array<index_t, kMaxRank> extent{}, from_stride{}, to_stride{};
  index_t from_offset = 0, to_offset = 0;
  CopyGeometry reversed() const {  ///< the vector-Jacobian product of a copy
    CopyGeometry g = *this;
    std::swap(g.from_stride, g.to_stride);
    std::swap(g.from_offset, g.to_offset);
    return g;
  }
};

}  // namespace concord::kernels
