#include <concord/tensor/kernels/geometry.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace concord::kernels {
namespace {

using Pair = std::array<index_t, 2>;

constexpr std::string_view kConvLayout = "   layout [out, in, kh, kw]";
constexpr std::string_view kLinearLayout = "   layout [out, in]";

std::vector<Error::Field> input_field(const Tensor& x) { return {{"input", describe(x)}}; }

std::vector<Error::Field> weight_fields(const Tensor& x, const Tensor& weight,
                                        std::string_view layout) {
  return {{"input", describe(x)}, {"weight", describe(weight) + std::string(layout)}};
}

// `fields` is called only when an error is to be thrown: a check that passes allocates nothing.
template <class Fields>
void check_at_least(std::string_view op, std::string_view option, Pair value, index_t least,
                    const Fields& fields, Loc at) {
  if (value[0] >= least && value[1] >= least) return;
  throw ValueError(
      fmt::format("{}: {} is {}x{}, needs {} or more", op, option, value[0], value[1], least),
      fields(), at);
}

/// Places for a window that covers `reach` elements: floor((size - reach) / stride) + 1.
template <class Fields>
Pair window_places(std::string_view op, Pair reach, Pair padded, Pair stride,
                   std::string_view dilated, const Fields& fields, Loc at) {
  if (reach[0] > padded[0] || reach[1] > padded[1]) {
    throw ShapeError(fmt::format("{}: {}kernel {}x{} is larger than the padded input {}x{}", op,
                                 dilated, reach[0], reach[1], padded[0], padded[1]),
                     fields(), at);
  }
  return {(padded[0] - reach[0]) / stride[0] + 1, (padded[1] - reach[1]) / stride[1] + 1};
}

}  // namespace

ConvGeometry ConvGeometry::make(const Tensor& x, const Tensor& weight, const Conv2dOptions& o,
                                Loc at) {
  constexpr std::string_view op = "conv2d";
  check_rank(op, "input", x, 4, at);
  check_rank(op, "weight", weight, 4, at);
  check_same_kind(op, "input", x, "weight", weight, at);
  const auto fields = [&] { return weight_fields(x, weight, kConvLayout); };
  check_at_least(op, "stride", o.stride, 1, fields, at);
  check_at_least(op, "padding", o.padding, 0, fields, at);
  check_at_least(op, "dilation", o.dilation, 1, fields, at);
  const index_t c = x.dim(1), k = weight.dim(0), r = weight.dim(2), s = weight.dim(3);
  if (o.groups < 1) {
    throw ValueError(fmt::format("{}: groups is {}, needs 1 or more", op, o.groups), fields(), at);
  }
  if (c % o.groups != 0 || k % o.groups != 0) {
    throw ShapeError(
        fmt::format("{}: {} groups do not divide {} input channels and {} output channels", op,
                    o.groups, c, k),
        fields(), at);
  }
  if (c != weight.dim(1) * o.groups) {
    throw ShapeError(fmt::format("{}: input has {} channels, weight expects {}", op, c,
                                 weight.dim(1) * o.groups),
                     fields(), at);
  }
  if (weight.numel() == 0) {
    throw ShapeError(fmt::format("{}: weight has no elements", op), fields(), at);
  }
  const Pair reach{o.dilation[0] * (r - 1) + 1, o.dilation[1] * (s - 1) + 1};
  const Pair padded{x.dim(2) + 2 * o.padding[0], x.dim(3) + 2 * o.padding[1]};
  const bool dilated = o.dilation[0] > 1 || o.dilation[1] > 1;
  const auto [p, q] =
      window_places(op, reach, padded, o.stride, dilated ? "dilated " : "", fields, at);
  return {.n = x.dim(0),
          .c = c,
          .h = x.dim(2),
          .w = x.dim(3),
          .k = k,
          .r = r,
          .s = s,
          .p = p,
          .q = q,
          .stride_h = o.stride[0],
          .stride_w = o.stride[1],
          .pad_h = o.padding[0],
          .pad_w = o.padding[1],
          .dilation_h = o.dilation[0],
          .dilation_w = o.dilation[1],
          .groups = o.groups};
}

LinearGeometry LinearGeometry::make(const Tensor& x, const Tensor& weight, Loc at) {
  constexpr std::string_view op = "linear";
  if (x.rank() < 1) {
    throw ShapeError(fmt::format("{}: input has 0 axes, needs 1 or more", op), input_field(x), at);
  }
  check_rank(op, "weight", weight, 2, at);
  check_same_kind(op, "input", x, "weight", weight, at);
  if (x.dim(-1) != weight.dim(1)) {
    throw ShapeError(
        fmt::format("{}: input has {} features, weight expects {}", op, x.dim(-1), weight.dim(1)),
        weight_fields(x, weight, kLinearLayout), at);
  }
  return {x.shape().span(0, x.rank() - 1), weight.dim(1), weight.dim(0)};
}

namespace {

/// Pooling takes [n, c, h, w] or [c, h, w]; argmax holds h * w in 32 bits.
void check_pool_input(std::string_view op, const Tensor& x, Loc at) {
  if (x.rank() != 3 && x.rank() != 4) {
    throw ShapeError(fmt::format("{}: input has {} axes, needs 3 or 4", op, x.rank()),
                     input_field(x), at);
  }
  if (x.dim(-1) > 0 && x.dim(-2) > std::numeric_limits<std::int32_t>::max() / x.dim(-1)) {
    throw ShapeError(fmt::format("{}: a plane has {}x{} elements, at most 2^31 - 1 are possible",
                                 op, x.dim(-2), x.dim(-1)),
                     input_field(x), at);
  }
}

}  // namespace

PoolGeometry PoolGeometry::make(std::string_view op, const Tensor& x, const Pool2dOptions& o,
                                Loc at) {
  check_pool_input(op, x, at);
  const auto fields = [&] { return input_field(x); };
  check_at_least(op, "kernel", o.kernel, 1, fields, at);
  check_at_least(op, "stride", o.stride, 0, fields, at);
  check_at_least(op, "padding", o.padding, 0, fields, at);
  if (2 * o.padding[0] > o.kernel[0] || 2 * o.padding[1] > o.kernel[1]) {
    // A window could lie in the padding altogether and would have no maximum.
    throw ValueError(fmt::format("{}: padding {}x{} is more than half of the kernel {}x{}", op,
                                 o.padding[0], o.padding[1], o.kernel[0], o.kernel[1]),
                     fields(), at);
  }
  const Pair stride{o.stride[0] ? o.stride[0] : o.kernel[0],
                    o.stride[1] ? o.stride[1] : o.kernel[1]};
  const index_t h = x.dim(-2), w = x.dim(-1);
  const Pair padded{h + 2 * o.padding[0], w + 2 * o.padding[1]};
  const auto [p, q] = window_places(op, o.kernel, padded, stride, "", fields, at);
  return {.planes = x.shape().span(0, x.rank() - 2),
          .h = h,
          .w = w,
          .p = p,
          .q = q,
          .kernel_h = o.kernel[0],
          .kernel_w = o.kernel[1],
          .stride_h = stride[0],
          .stride_w = stride[1],
          .pad_h = o.padding[0],
          .pad_w = o.padding[1],
          .count_include_pad = o.count_include_pad,
          .adaptive = false};
}

PoolGeometry PoolGeometry::make_adaptive(std::string_view op, const Tensor& x, index_t p, index_t q,
                                         Loc at) {
  check_pool_input(op, x, at);
  const auto fields = [&] { return input_field(x); };
  check_at_least(op, "output", {p, q}, 1, fields, at);
  const index_t h = x.dim(-2), w = x.dim(-1);
  if (h < 1 || w < 1) {
    throw ShapeError(fmt::format("{}: input planes are {}x{}, need 1 or more", op, h, w), fields(),
                     at);
  }
  return {.planes = x.shape().span(0, x.rank() - 2),
          .h = h,
          .w = w,
          .p = p,
          .q = q,
          .kernel_h = 0,
          .kernel_w = 0,
          .stride_h = 0,
          .stride_w = 0,
          .pad_h = 0,
          .pad_w = 0,
          .count_include_pad = true,
          .adaptive = true};
}

BatchNormGeometry BatchNormGeometry::make(const Tensor& x, index_t channels, Loc at) {
  constexpr std::string_view op = "batch_norm";
  if (x.rank() < 2) {
    throw ShapeError(fmt::format("{}: input has {} axes, needs 2 or more", op, x.rank()),
                     input_field(x), at);
  }
  if (x.dim(1) != channels) {
    throw ShapeError(
        fmt::format("{}: input has {} channels, the layer has {}", op, x.dim(1), channels),
        input_field(x), at);
  }
  return {x.dim(0), channels, x.shape().span(2, x.rank())};
}

AxisGeometry AxisGeometry::make(const Shape& x, int axis) { return make(x, axis, axis); }

AxisGeometry AxisGeometry::make(const Shape& x, int first_axis, int last_axis) {
  const int first = x.normalize(first_axis), last = x.normalize(last_axis);
  if (first > last) {
    throw ShapeError(fmt::format("axes: first axis {} comes after last axis {}", first, last),
                     {{"shape", to_string(x)}});
  }
  return {x.span(0, first), x.span(first, last + 1), x.span(last + 1, x.rank())};
}

BroadcastGeometry BroadcastGeometry::make(std::string_view op, const Tensor& a, const Tensor& b,
                                          Loc at) {
  check_same_kind(op, "a", a, "b", b, at);
  BroadcastGeometry g{.out = {},
                      .rank = 0,
                      .extent = {},
                      .a_stride = {},
                      .b_stride = {},
                      .a_numel = a.numel(),
                      .b_numel = b.numel()};
  const int rank = std::max(a.rank(), b.rank());
  // Shapes are aligned at their last axes; missing leading axes count as 1.
  const auto extent_of = [&](const Tensor& t, int axis) {
    const int own = axis - (rank - t.rank());
    return own < 0 ? index_t{1} : t.dim(own);
  };
  std::array<index_t, kMaxRank> out{}, a_stride{}, b_stride{};
  index_t a_next = 1, b_next = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    const index_t ea = extent_of(a, axis), eb = extent_of(b, axis);
    if (ea != eb && ea != 1 && eb != 1) {
      throw ShapeError(
          fmt::format("{}: shapes do not broadcast: axis {} is {} and {}", op, axis, ea, eb),
          {{"a", describe(a)}, {"b", describe(b)}}, at);
    }
    out[axis] = ea == 1 ? eb : ea;
    a_stride[axis] = ea == 1 ? 0 : a_next;
    b_stride[axis] = eb == 1 ? 0 : b_next;
    a_next *= ea;
    b_next *= eb;
  }
  g.out = Shape(std::span<const index_t>(out.data(), static_cast<std::size_t>(rank)));
  for (int axis = 0; axis < rank; ++axis) {
    if (out[axis] == 1) continue;
    const int outer = g.rank - 1;
    if (outer >= 0 && g.a_stride[outer] == a_stride[axis] * out[axis] &&
        g.b_stride[outer] == b_stride[axis] * out[axis]) {
      g.extent[outer] *= out[axis];
      g.a_stride[outer] = a_stride[axis];
      g.b_stride[outer] = b_stride[axis];
    } else {
      g.extent[g.rank] = out[axis];
      g.a_stride[g.rank] = a_stride[axis];
      g.b_stride[g.rank] = b_stride[axis];
      ++g.rank;
    }
  }
  if (g.rank == 0) {  // one element: a loop of length 1
    g.rank = 1;
    g.extent[0] = 1;
  }
  return g;
}

}  // namespace concord::kernels
