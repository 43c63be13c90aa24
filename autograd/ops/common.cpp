#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

namespace concord::ops {

void check_float(const char* op, const char* argument, const Tensor& x, Loc at) {
  if (!x.defined()) throw UsageError(fmt::format("{}: {} has no values", op, argument), {}, at);
  if (x.dtype() == DType::f32 || x.dtype() == DType::f64) return;
  throw DTypeError(fmt::format("{}: {} has elements of type {}, needs f32 or f64", op, argument,
                               name(x.dtype())),
                   {{argument, describe(x)}}, at);
}

int check_axis(const char* op, const Tensor& x, int axis, Loc at) {
  const int a = axis < 0 ? axis + x.rank() : axis;
  if (a >= 0 && a < x.rank()) return a;
  throw ShapeError(fmt::format("{}: axis is {}, input has {} axes", op, axis, x.rank()),
                   {{"input", describe(x)}}, at);
}

void check_optional(const char* op, const char* argument, const Tensor& t, const Tensor& x,
                    const Shape& shape, Loc at) {
  if (!t.defined()) return;
  check_same_kind(op, "input", x, argument, t, at);
  check_shape(op, argument, t, shape, at);
}

void check_same_device(const char* op, const char* name_a, const Tensor& a, const char* name_b,
                       const Tensor& b, Loc at) {
  if (a.device() == b.device()) return;
  throw DeviceError(fmt::format("{}: {} is on {}, {} on {}", op, name_a, name(a.device()), name_b,
                                name(b.device())),
                    {{name_a, describe(a)}, {name_b, describe(b)}}, at);
}

void check_indices(const char* op, const char* argument, const Tensor& index, index_t count,
                   Loc at) {
  if (!(index.device() == kCpu)) return;
  const std::int64_t* i = index.data<std::int64_t>();
  for (index_t k = 0; k < index.numel(); ++k) {
    if (i[k] >= 0 && i[k] < count) continue;
    throw ValueError(fmt::format("{}: {} {} at position {} is outside 0 to {}", op, argument, i[k],
                                 k, count - 1),
                     {{argument, describe(index)}}, at);
  }
}

}  // namespace concord::ops
