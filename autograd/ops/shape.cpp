// Shape and layout. All but the views are box copies; the vector-Jacobian product of a copy is the
// copy back (and zeros where nothing was taken).
#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace concord {
namespace {

using namespace ops;
using kernels::BinaryOp;
using kernels::BroadcastGeometry;

using Axes = std::array<int, kMaxRank>;

std::array<index_t, kMaxRank> strides(const Shape& s) {
  std::array<index_t, kMaxRank> stride{};
  for (int i = 0; i < s.rank(); ++i) stride[i] = s.span(i + 1, s.rank());
  return stride;
}

/// The same elements under another shape.
Var viewed(const char* name, const Var& x, Tensor y) {
  const Tensor& xv = x.value();
  const bool keeps_batch = xv.rank() > 0 && y.rank() > 0 && xv.dim(0) == y.dim(0);
  return record({name, first_if(keeps_batch)}, {x}, std::move(y),
                [n = xv.numel()](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.copy_box(flat_copy(n), gy.rows<T>(), gx);
                    }
                  });
                });
}

/// An output that takes every element of x once, wherever it puts it.
Var moved(const char* name, const Var& x, const CopyGeometry& g, Tensor y, bool sample_wise) {
  const Tensor& xv = x.value();
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.copy_box(g, one_row<const T>(xv.data<T>()), one_row(y.data<T>()));
  });
  return record({name, first_if(sample_wise)}, {x}, std::move(y),
                [g](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.copy_box(g.reversed(), gy.rows<T>(), gx);
                    }
                  });
                });
}

/// y's axis i is x's axis axes[i].
Var permuted(const char* name, const Var& x, const Axes& axes) {
  const Tensor& xv = x.value();
  const int rank = xv.rank();
  const auto stride = strides(xv.shape());
  CopyGeometry g;
  g.rank = rank;
  for (int i = 0; i < rank; ++i) {
    g.extent[i] = xv.dim(axes[i]);
    g.from_stride[i] = stride[axes[i]];
  }
  const Shape out(std::span<const index_t>(g.extent.data(), rank));
  g.to_stride = strides(out);
  if (rank == 0) g = flat_copy(1);
  return moved(name, x, g, Tensor::empty(out, xv.dtype(), xv.device()), rank > 0 && axes[0] == 0);
}

}  // namespace

Var view(const Var& x, const Shape& shape, Loc at) {
  return viewed("view", x, x.value().view(shape, at));
}

Var view(const Var& x, std::initializer_list<index_t> extents_or_minus_one, Loc at) {
  return viewed("view", x, x.value().view(extents_or_minus_one, at));
}

Var flatten(const Var& x, int first_axis, Loc at) {
  const Tensor& xv = x.value();
  const int first = check_axis("flatten", xv, first_axis, at);
  std::array<index_t, kMaxRank> extent{};
  std::copy(xv.shape().begin(), xv.shape().begin() + first, extent.begin());
  extent[first] = xv.shape().span(first, xv.rank());
  const Shape flat(std::span<const index_t>(extent.data(), first + 1));
  return viewed("flatten", x, xv.view(flat, at));
}

Var transpose(const Var& x, int axis_a, int axis_b, Loc at) {
  check_float("transpose", "input", x.value(), at);
  Axes axes;
  for (int i = 0; i < kMaxRank; ++i) axes[i] = i;
  std::swap(axes[check_axis("transpose", x.value(), axis_a, at)],
            axes[check_axis("transpose", x.value(), axis_b, at)]);
  return permuted("transpose", x, axes);
}

Var permute(const Var& x, std::initializer_list<int> axes, Loc at) {
  const Tensor& xv = x.value();
  check_float("permute", "input", xv, at);
  if (static_cast<int>(axes.size()) != xv.rank()) {
    throw ShapeError(fmt::format("permute: {} axes given, input has {}", axes.size(), xv.rank()),
                     {{"input", describe(xv)}}, at);
  }
  Axes order{};
  std::array<bool, kMaxRank> seen{};
  int i = 0;
  for (const int axis : axes) {
    const int a = check_axis("permute", xv, axis, at);
    if (seen[a]) {
      throw ShapeError(fmt::format("permute: axis {} is given twice", a), {{"input", describe(xv)}},
                       at);
    }
    seen[a] = true;
    order[i++] = a;
  }
  return permuted("permute", x, order);
}

Var slice(const Var& x, int axis, index_t first, index_t last, Loc at) {
  const Tensor& xv = x.value();
  check_float("slice", "input", xv, at);
  const int a = check_axis("slice", xv, axis, at);
  const AxisGeometry g = AxisGeometry::make(xv.shape(), a);
  if (first < 0 || last < first || last > g.length) {
    throw ShapeError(
        fmt::format("slice: [{}, {}) is outside axis {} of {}", first, last, a, g.length),
        {{"input", describe(xv)}}, at);
  }
  const auto band = [g](index_t from, index_t to) {
    return into_band(g.outer, to - from, g.inner, g.length, from);
  };
  Tensor y = Tensor::empty(xv.shape().with(a, last - first), xv.dtype(), xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.copy_box(band(first, last).reversed(), one_row<const T>(xv.data<T>()), one_row(y.data<T>()));
  });
  return record({"slice", first_if(a > 0)}, {x}, std::move(y),
                [band, first, last, length = g.length](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    const auto gx = sink.slot<T>(0);
                    if (!gx) return;
                    k.copy_box(band(first, last), gy.rows<T>(), gx);
                    if (gx.accumulate) return;
                    // One zero, read again and again, for what lies before and behind.
                    const Tensor zero = Tensor::zeros({1}, dtype_of<T>, gy.holder().device());
                    for (CopyGeometry rest : {band(0, first), band(last, length)}) {
                      rest.from_stride = {};
                      k.copy_box(rest, shared_by_all<T>(zero, gx.count), gx);
                    }
                  });
                });
}

Var concat(std::span<const Var> parts, int axis, Loc at) {
  if (parts.empty()) throw ShapeError("concat: no parts given", {}, at);
  const Tensor& head = parts[0].value();
  check_float("concat", "part 0", head, at);
  const int a = check_axis("concat", head, axis, at);
  index_t whole = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Tensor& t = parts[i].value();
    if (t.rank() != head.rank() || !(t.shape().with(a, 0) == head.shape().with(a, 0))) {
      throw ShapeError(fmt::format("concat: parts 0 and {} differ outside axis {}", i, a),
                       {{"part 0", describe(head)}, {fmt::format("part {}", i), describe(t)}}, at);
    }
    if (t.dtype() != head.dtype() || !(t.device() == head.device())) {
      check_same_kind("concat", "part 0", head, fmt::format("part {}", i), t, at);
    }
    whole += t.dim(a);
  }
  const AxisGeometry g = AxisGeometry::make(head.shape().with(a, whole), a);
  const auto band = [g](index_t first, index_t length) {
    return into_band(g.outer, length, g.inner, g.length, first);
  };
  Tensor y = Tensor::empty(head.shape().with(a, whole), head.dtype(), head.device());
  const Tensor lengths = Tensor::empty({static_cast<index_t>(parts.size())}, DType::i64);
  on(head, [&]<class T>(const Kernels<T>& k) {
    index_t first = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const index_t length = parts[i].dim(a);
      lengths.data<std::int64_t>()[i] = length;
      k.copy_box(band(first, length), one_row<const T>(parts[i].value().data<T>()),
                 one_row(y.data<T>()));
      first += length;
    }
  });
  // Op::samples has 32 bits; a longer list gets dense cotangents.
  const std::size_t count = parts.size();
  const std::uint32_t samples =
      a == 0 || count > 32 ? 0 : static_cast<std::uint32_t>((std::uint64_t{1} << count) - 1);
  return record({"concat", samples}, parts, std::move(y),
                [band, lengths](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    index_t first = 0;
                    int part = 0;
                    for (const index_t length : lengths.values<std::int64_t>()) {
                      if (const auto gx = sink.slot<T>(part++)) {
                        k.copy_box(band(first, length).reversed(), gy.rows<T>(), gx);
                      }
                      first += length;
                    }
                  });
                });
}

Var concat(std::initializer_list<Var> parts, int axis, Loc at) {
  return concat(std::span<const Var>(parts.begin(), parts.size()), axis, at);
}

Var pad(const Var& x, std::span<const index_t> before, std::span<const index_t> after, double value,
        Loc at) {
  const Tensor& xv = x.value();
  check_float("pad", "input", xv, at);
  const int rank = xv.rank();
  if (before.size() != after.size() || static_cast<int>(before.size()) != rank) {
    throw ShapeError(fmt::format("pad: {} and {} widths given, input has {} axes", before.size(),
                                 after.size(), rank),
                     {{"input", describe(xv)}}, at);
  }
  CopyGeometry g;
  g.rank = rank;
  g.from_stride = strides(xv.shape());
  std::array<index_t, kMaxRank> extent{};
  for (int i = 0; i < rank; ++i) {
    if (before[i] < 0 || after[i] < 0) {
      throw ValueError(
          fmt::format("pad: widths {} and {} of axis {}, need 0 or more", before[i], after[i], i),
          {{"input", describe(xv)}}, at);
    }
    g.extent[i] = xv.dim(i);
    extent[i] = before[i] + xv.dim(i) + after[i];
  }
  const Shape out(std::span<const index_t>(extent.data(), rank));
  g.to_stride = strides(out);
  for (int i = 0; i < rank; ++i) g.to_offset += before[i] * g.to_stride[i];
  if (rank == 0) g = flat_copy(1);
  return moved("pad", x, g, Tensor::full(out, value, xv.dtype(), xv.device()),
               rank > 0 && extent[0] == xv.dim(0));
}

Var broadcast_to(const Var& x, const Shape& shape, Loc at) {
  const Tensor& xv = x.value();
  check_float("broadcast_to", "input", xv, at);
  Tensor y = Tensor::empty(shape, xv.dtype(), xv.device());
  const BroadcastGeometry g = BroadcastGeometry::make("broadcast_to", xv, y, at);
  if (!(g.out == shape)) {
    throw ShapeError(fmt::format("broadcast_to: {} does not broadcast to {}", to_string(xv.shape()),
                                 to_string(shape)),
                     {{"input", describe(xv)}}, at);
  }
  const CopyGeometry copy{g.rank, g.extent, g.a_stride, g.b_stride};
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.copy_box(copy, one_row<const T>(xv.data<T>()), one_row(y.data<T>()));
  });
  const bool keeps_batch = shape.rank() > 0 && xv.rank() == shape.rank() && xv.dim(0) == shape[0];
  // The gradient is that of x in x + b, whose values do not matter.
  return record({"broadcast_to", first_if(keeps_batch)}, {x}, std::move(y),
                [g](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      const auto rows = gy.rows<T>();
                      k.binary_backward(BinaryOp::add, 0, g, rows, rows, rows, rows, gx);
                    }
                  });
                });
}

}  // namespace concord
