// What the op files share.
#pragma once

#include <concord/autograd/ops.h>
#include <concord/autograd/tape.h>
#include <concord/tensor/kernels/kernels.h>

namespace concord::ops {

using kernels::AxisGeometry;
using kernels::CopyGeometry;
using kernels::Kernels;
using kernels::on;
using kernels::one_row;
using kernels::Rows;

/// Throws DTypeError naming `op` unless x is f32 or f64; UsageError when x has no values.
void check_float(const char* op, const char* argument, const Tensor& x, Loc at);

/// x's axis, negative ones counted from the end. Throws ShapeError naming `op`.
int check_axis(const char* op, const Tensor& x, int axis, Loc at);

/// An optional operand of the same kind as x and of the given shape.
void check_optional(const char* op, const char* argument, const Tensor& t, const Tensor& x,
                    const Shape& shape, Loc at);

/// Throws DeviceError unless both are on one device.
void check_same_device(const char* op, const char* name_a, const Tensor& a, const char* name_b,
                       const Tensor& b, Loc at);

/// Every index must name one of `count` entries. Throws ValueError with the first that does not.
/// Indices on a device are not looked at: that would wait for it.
void check_indices(const char* op, const char* argument, const Tensor& index, index_t count,
                   Loc at);

template <class T>
T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

/// x as every row's operand.
template <class T>
Rows<const T> shared_by_all(const Tensor& x, std::int32_t count) {
  return {x.data<T>(), 0, nullptr, count, false};
}

/// Scratch [rows, ...] as rows.
template <class T>
Rows<T> rows_of(const Tensor& scratch) {
  return {scratch.data<T>(), scratch.shape().span(1, scratch.rank()), nullptr,
          static_cast<std::int32_t>(scratch.dim(0)), false};
}

/// n elements one after the other, on both sides.
inline CopyGeometry flat_copy(index_t n) { return {1, {n}, {1}, {1}}; }

/// From a dense [outer, length, inner] into the band [first, first + length) of the middle axis of
/// [outer, whole, inner].
inline CopyGeometry into_band(index_t outer, index_t length, index_t inner, index_t whole,
                              index_t first) {
  return {2, {outer, length * inner}, {length * inner, 1}, {whole * inner, 1}, 0, first * inner};
}

/// The Op::samples bit of the first input, for ops whose axis 0 of input and output is one and the
/// same.
inline std::uint32_t first_if(bool sample_wise) { return sample_wise ? 1u : 0u; }

}  // namespace concord::ops
