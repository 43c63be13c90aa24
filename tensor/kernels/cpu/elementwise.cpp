// Element-wise kernels: the list of kernels/elementwise.h over arrays, with broadcasting, and
// copies of boxes.
//
// The gradients of R rows share the derivative: it is formed for a piece of the array that stays in
// the first-level cache, then multiplied into the piece of each row.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/simd.h>
#include <concord/tensor/kernels/elementwise_ops.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace concord::kernels::cpu {
namespace {

template <class Functor, class T>
T value_of(Functor op, T x, T p, T q) {
  return op.f(x, p, q);
}
// libm is called element by element; these vectorise.
float value_of(unary_ops::exp, float x, float, float) { return exp_of(x); }
float value_of(unary_ops::tanh, float x, float, float) { return tanh_of(x); }
float value_of(unary_ops::sigmoid, float x, float, float) { return sigmoid_of(x); }

template <class T>
void write_or_add(bool accumulate, index_t n, const T* from, T* to) {
  if (accumulate) {
    for (index_t i = 0; i < n; ++i) to[i] += from[i];
  } else {
    std::copy_n(from, n, to);
  }
}

template <class T>
void multiply_piece(bool accumulate, index_t n, const T* from, const T* factor, T* to) {
  if (accumulate) {
    for (index_t i = 0; i < n; ++i) to[i] += from[i] * factor[i];
  } else {
    for (index_t i = 0; i < n; ++i) to[i] = from[i] * factor[i];
  }
}

}  // namespace

// A piece of a line at a time goes through a function of the op, so that the loops around it (rows,
// threads, sums) are compiled once and not once per op.

template <class T>
void unary_forward(UnaryOp op, Scalars s, index_t n, const T* x, T* y) {
  using Piece = void (*)(index_t n, T p, T q, const T* x, T* y);
  Piece apply = nullptr;
  with_op(op, [&]<class Functor>(Functor) {
    apply = [](index_t count, T p, T q, const T* from, T* to) {
      for (index_t i = 0; i < count; ++i) to[i] = value_of(Functor{}, from[i], p, q);
    };
  });
  for_pieces(n, n, [&](index_t first, index_t count) {
    apply(count, static_cast<T>(s.p), static_cast<T>(s.q), x + first, y + first);
  });
}

template <class T>
void unary_backward(UnaryOp op, Scalars s, index_t n, const T* x, const T* y, In<T> gy, Out<T> gx) {
  using Piece = void (*)(index_t n, T p, T q, const T* x, const T* y, T* slope);
  Piece derivative = nullptr;
  with_op(op, [&]<class Functor>(Functor) {
    derivative = [](index_t count, T p, T q, const T* at, const T* value, T* slope) {
      for (index_t i = 0; i < count; ++i) slope[i] = Functor{}.df(at[i], value[i], p, q);
    };
  });
  for_pieces(n, n * gy.count, [&](index_t first, index_t count) {
    std::array<T, kPiece> slope;
    derivative(count, static_cast<T>(s.p), static_cast<T>(s.q), x + first, y + first, slope.data());
    for (std::int32_t r = 0; r < gy.count; ++r) {
      multiply_piece(gx.accumulate, count, gy[r] + first, slope.data(), gx[r] + first);
    }
  });
}

template <class T>
void unary_backward_naive(UnaryOp op, Scalars s, index_t n, const T* x, const T* y, In<T> gy,
                          Out<T> gx) {
  with_op(op, [&](auto functor) {
    for (std::int32_t r = 0; r < gy.count; ++r) {
      for (index_t i = 0; i < n; ++i) {
        const T slope = functor.df(x[i], y[i], static_cast<T>(s.p), static_cast<T>(s.q));
        gx[r][i] = (gx.accumulate ? gx[r][i] : T(0)) + gy[r][i] * slope;
      }
    }
  });
}

// --- Broadcasting. The merged loop's last axis has strides 0 or 1 on both sides; the axes before
// it are counted off by an odometer.

namespace {

/// The axes before the last that `keep(axis)` selects.
template <class Keep>
Odometer leading_axes(const BroadcastGeometry& g, Keep keep) {
  return odometer(g, g.rank - 1, keep);
}

/// for i < n: body(i, a[i or 0], b[i or 0]), with the strides known to the compiler.
template <class T, class Body>
void for_pairs(index_t n, const T* a, index_t a_stride, const T* b, index_t b_stride, Body body) {
  if (a_stride && b_stride) {
    for (index_t i = 0; i < n; ++i) body(i, a[i], b[i]);
  } else if (a_stride) {
    const T right = *b;
    for (index_t i = 0; i < n; ++i) body(i, a[i], right);
  } else {
    const T left = *a;
    for (index_t i = 0; i < n; ++i) body(i, left, b[b_stride ? i : 0]);
  }
}

}  // namespace

template <class T>
void binary_forward(BinaryOp op, const BroadcastGeometry& g, const T* a, const T* b, T* y) {
  using Piece =
      void (*)(index_t n, const T* a, index_t a_stride, const T* b, index_t b_stride, T* y);
  Piece apply = nullptr;
  with_op(op, [&]<class Functor>(Functor) {
    apply = [](index_t n, const T* left, index_t sl, const T* right, index_t sr, T* to) {
      for_pairs(n, left, sl, right, sr, [=](index_t i, T l, T r) { to[i] = Functor{}.f(l, r); });
    };
  });
  const index_t total = g.out.numel();
  if (total == 0) return;
  const Odometer outer = leading_axes(g, [](int) { return true; });
  const index_t length = g.extent[g.rank - 1], places = outer.places();
  const index_t sa = g.a_stride[g.rank - 1], sb = g.b_stride[g.rank - 1];
  if (places == 1) {
    for_pieces(length, total, [&](index_t first, index_t count) {
      apply(count, a + first * sa, sa, b + first * sb, sb, y + first);
    });
    return;
  }
  parallel_for(total >= kParallelWork, places, [&](index_t place) {
    const Odometer::Offsets o = outer.at(place);
    apply(length, a + o.a, sa, b + o.b, sb, y + o.out);
  });
}

template <class T>
void binary_forward_naive(BinaryOp op, const BroadcastGeometry& g, const T* a, const T* b, T* y) {
  with_op(op, [&](auto functor) {
    for (index_t i = 0; i < g.out.numel(); ++i) {
      index_t rest = i, at_a = 0, at_b = 0;
      for (int axis = g.rank - 1; axis >= 0; --axis) {
        at_a += rest % g.extent[axis] * g.a_stride[axis];
        at_b += rest % g.extent[axis] * g.b_stride[axis];
        rest /= g.extent[axis];
      }
      y[i] = functor.f(a[at_a], b[at_b]);
    }
  });
}

// The gradient of one side is gy times the partial derivative, summed over the axes along which
// that side was repeated. An element of the result belongs to one thread, which adds its terms in
// the order of the output; sums are in double.
template <class T>
void binary_backward(BinaryOp op, int side, const BroadcastGeometry& g, In<T> a, In<T> b, In<T> y,
                     In<T> gy, Out<T> out) {
  const auto& own_stride = side == 0 ? g.a_stride : g.b_stride;
  const index_t own_numel = side == 0 ? g.a_numel : g.b_numel;
  const index_t total = g.out.numel();
  if (total == 0) {
    for (std::int32_t r = 0; r < gy.count; ++r) {
      if (!out.accumulate) std::fill_n(out[r], own_numel, T(0));
    }
    return;
  }
  const int last = g.rank - 1;
  const Odometer kept = leading_axes(g, [&](int axis) { return own_stride[axis] != 0; });
  const Odometer summed = leading_axes(g, [&](int axis) { return own_stride[axis] == 0; });
  const index_t length = g.extent[last], sa = g.a_stride[last], sb = g.b_stride[last];
  const bool sum_last = own_stride[last] == 0;
  const index_t kept_places = kept.places(), summed_places = summed.places();
  // A task: one row, one place along the kept leading axes, one piece of the last axis if it is
  // kept.
  const index_t line_pieces = sum_last ? 1 : pieces(length);
  const index_t tasks = gy.count * kept_places * line_pieces;

  // gy times the derivative for a piece of a line, into `terms`.
  using Piece = void (*)(int side, index_t n, const T* a, index_t a_stride, const T* b,
                         index_t b_stride, const T* y, const T* gy, T* terms);
  Piece derivative = nullptr;
  with_op(op, [&]<class Functor>(Functor) {
    derivative = [](int of, index_t n, const T* left, index_t sl, const T* right, index_t sr,
                    const T* value, const T* seed, T* terms) {
      if (of == 0) {
        for_pairs(n, left, sl, right, sr,
                  [=](index_t i, T l, T r) { terms[i] = seed[i] * Functor{}.da(l, r, value[i]); });
      } else {
        for_pairs(n, left, sl, right, sr,
                  [=](index_t i, T l, T r) { terms[i] = seed[i] * Functor{}.db(l, r, value[i]); });
      }
    };
  });
  const auto form = [&](std::int32_t r, Odometer::Offsets o, index_t first, index_t count,
                        T* terms) {
    derivative(side, count, a[r] + o.a + first * sa, sa, b[r] + o.b + first * sb, sb,
               y[r] + o.out + first, gy[r] + o.out + first, terms);
  };
  parallel_for(total * gy.count >= kParallelWork && tasks > 1, tasks, [&](index_t task) {
    const index_t piece = task % line_pieces, place = task / line_pieces % kept_places;
    const auto r = static_cast<std::int32_t>(task / (line_pieces * kept_places));
    const Odometer::Offsets base = kept.at(place);
    T* to = out[r] + (side == 0 ? base.a : base.b);
    std::array<T, kPiece> terms;
    if (sum_last) {
      double sum = 0;
      for (index_t s = 0; s < summed_places; ++s) {
        const Odometer::Offsets o = base + summed.at(s);
        for (index_t first = 0; first < length; first += kPiece) {
          const index_t count = std::min(kPiece, length - first);
          form(r, o, first, count, terms.data());
          sum += sum_of(count, terms.data());
        }
      }
      *to = (out.accumulate ? *to : T(0)) + static_cast<T>(sum);
      return;
    }
    const index_t first = piece * kPiece, count = std::min(kPiece, length - first);
    if (summed_places == 1 && !out.accumulate) {
      form(r, base, first, count, to + first);
      return;
    }
    if (summed_places == 1) {
      form(r, base, first, count, terms.data());
    } else {
      std::array<double, kPiece> sum;
      std::fill_n(sum.begin(), count, 0.0);
      for (index_t s = 0; s < summed_places; ++s) {
        form(r, base + summed.at(s), first, count, terms.data());
        for (index_t i = 0; i < count; ++i) sum[i] += terms[i];
      }
      for (index_t i = 0; i < count; ++i) terms[i] = static_cast<T>(sum[i]);
    }
    write_or_add(out.accumulate, count, terms.data(), to + first);
  });
}

template <class T>
void binary_backward_naive(BinaryOp op, int side, const BroadcastGeometry& g, In<T> a, In<T> b,
                           In<T> y, In<T> gy, Out<T> out) {
  std::vector<double> sum(static_cast<std::size_t>(side == 0 ? g.a_numel : g.b_numel));
  with_op(op, [&](auto functor) {
    for (std::int32_t r = 0; r < gy.count; ++r) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (index_t i = 0; i < g.out.numel(); ++i) {
        index_t rest = i, at_a = 0, at_b = 0;
        for (int axis = g.rank - 1; axis >= 0; --axis) {
          at_a += rest % g.extent[axis] * g.a_stride[axis];
          at_b += rest % g.extent[axis] * g.b_stride[axis];
          rest /= g.extent[axis];
        }
        const T left = a[r][at_a], right = b[r][at_b];
        sum[side == 0 ? at_a : at_b] += gy[r][i] * (side == 0 ? functor.da(left, right, y[r][i])
                                                              : functor.db(left, right, y[r][i]));
      }
      for (std::size_t own = 0; own < sum.size(); ++own) {
        T& slot = out[r][own];
        slot = static_cast<T>((out.accumulate ? slot : T(0)) + sum[own]);
      }
    }
  });
}

template <class T>
void dropout_mask(index_t n, double p, Rng rng, T* mask) {
  const T keep = static_cast<T>(1 / (1 - p));
  // The comparison of Rng::uniform(i) >= p with p scaled to the 24 bits that uniform keeps.
  const double bound = p * 0x1p24;
  const std::array<std::uint32_t, 2> key{static_cast<std::uint32_t>(rng.seed()),
                                         static_cast<std::uint32_t>(rng.seed() >> 32)};
  const auto low = static_cast<std::uint32_t>(rng.stream());
  const auto high = static_cast<std::uint32_t>(rng.stream() >> 32);
  static_assert(kPiece % 4 == 0);
  for_pieces(n, 8 * n, [&](index_t first, index_t count) {
    for (index_t i = first; i < first + count; i += 4) {
      const auto block = static_cast<std::uint64_t>(i / 4);  // four elements share a Philox block
      const auto words = philox4x32_10(
          {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), low, high},
          key);
      const index_t lanes = std::min<index_t>(4, first + count - i);
      for (index_t l = 0; l < lanes; ++l) mask[i + l] = (words[l] >> 8) >= bound ? keep : T(0);
    }
  });
}

template <class T>
void dropout_mask_naive(index_t n, double p, Rng rng, T* mask) {
  for (index_t i = 0; i < n; ++i) {
    mask[i] = rng.uniform(static_cast<std::uint64_t>(i)) >= p ? static_cast<T>(1 / (1 - p)) : T(0);
  }
}

template <class T>
void multiply_rows(index_t n, In<T> a, const T* b, Out<T> out) {
  for_pieces(n, n * a.count, [&](index_t first, index_t count) {
    for (std::int32_t r = 0; r < a.count; ++r) {
      multiply_piece(out.accumulate, count, a[r] + first, b + first, out[r] + first);
    }
  });
}

namespace {

/// A plane of the box: rows x columns elements, any strides.
struct Plane {
  index_t rows, columns, from_row, from_column, to_row, to_column;
};

template <class T>
void copy_plane(const Plane& p, bool accumulate, const T* from, T* to) {
  if (p.from_column == 1 && p.to_column == 1) {
    for (index_t i = 0; i < p.rows; ++i) {
      write_or_add(accumulate, p.columns, from + i * p.from_row, to + i * p.to_row);
    }
    return;
  }
  // Tiles, so that a transposition reuses the cache lines it reads along the other axis.
  constexpr index_t kTile = 16;
  for (index_t i0 = 0; i0 < p.rows; i0 += kTile) {
    for (index_t j0 = 0; j0 < p.columns; j0 += kTile) {
      const index_t i1 = std::min(i0 + kTile, p.rows), j1 = std::min(j0 + kTile, p.columns);
      for (index_t i = i0; i < i1; ++i) {
        for (index_t j = j0; j < j1; ++j) {
          T& slot = to[i * p.to_row + j * p.to_column];
          const T value = from[i * p.from_row + j * p.from_column];
          slot = accumulate ? slot + value : value;
        }
      }
    }
  }
}

}  // namespace

template <class T>
void copy_box(const CopyGeometry& g, In<T> from, Out<T> to) {
  index_t total = 1;
  for (int axis = 0; axis < g.rank; ++axis) total *= g.extent[axis];
  if (total == 0) return;
  // The last axis and one other make a plane: the other is where the source is contiguous, if that
  // is not along the last (a transposition), else the last but one.
  const int columns = g.rank - 1;
  int rows = g.rank - 2;
  if (g.rank > 0 && g.from_stride[columns] != 1) {
    for (int axis = 0; axis < columns; ++axis) {
      if (g.from_stride[axis] == 1) rows = axis;
    }
  }
  Plane plane{1, 1, 0, 0, 0, 0};
  if (columns >= 0) {
    plane.columns = g.extent[columns];
    plane.from_column = g.from_stride[columns];
    plane.to_column = g.to_stride[columns];
  }
  if (rows >= 0) {
    plane.rows = g.extent[rows];
    plane.from_row = g.from_stride[rows];
    plane.to_row = g.to_stride[rows];
  }
  Odometer rest;  // its a side counts the source, its b side the destination
  for (int axis = 0; axis < columns; ++axis) {
    if (axis != rows) rest.add(g.extent[axis], 0, g.from_stride[axis], g.to_stride[axis]);
  }
  const index_t places = rest.places(), tasks = places * from.count;
  parallel_for(total * from.count >= kParallelWork && tasks > 1, tasks, [&](index_t task) {
    const auto r = static_cast<std::int32_t>(task / places);
    const Odometer::Offsets o = rest.at(task % places);
    copy_plane(plane, to.accumulate, from[r] + g.from_offset + o.a, to[r] + g.to_offset + o.b);
  });
}

template <class T>
void copy_box_naive(const CopyGeometry& g, In<T> from, Out<T> to) {
  index_t total = 1;
  for (int axis = 0; axis < g.rank; ++axis) total *= g.extent[axis];
  for (std::int32_t r = 0; r < from.count; ++r) {
    for (index_t i = 0; i < total; ++i) {
      index_t rest = i, source = g.from_offset, target = g.to_offset;
      for (int axis = g.rank - 1; axis >= 0; --axis) {
        source += rest % g.extent[axis] * g.from_stride[axis];
        target += rest % g.extent[axis] * g.to_stride[axis];
        rest /= g.extent[axis];
      }
      to[r][target] = (to.accumulate ? to[r][target] : T(0)) + from[r][source];
    }
  }
}

CONCORD_KERNEL(unary_forward)
CONCORD_KERNEL_AND_NAIVE(unary_backward)
CONCORD_KERNEL_AND_NAIVE(binary_forward)
CONCORD_KERNEL_AND_NAIVE(binary_backward)
CONCORD_KERNEL_AND_NAIVE(dropout_mask)
CONCORD_KERNEL(multiply_rows)
CONCORD_KERNEL_AND_NAIVE(copy_box)

}  // namespace concord::kernels::cpu
