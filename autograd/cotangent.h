// What a vector-Jacobian product is given (Cotangent) and where it puts its results (Sink).
#pragma once

#include <concord/tensor/kernels/rows.h>
#include <concord/tensor/tensor.h>

namespace concord {

/// The cotangents of one node's output for R of the T tasks. Two forms:
///   dense           R rows, each of the output's shape;
///   batch-diagonal  for per-sample losses (T = batch size): row r is non-zero in sample r only, so
///                   one array of the output's shape holds all rows.
/// An op sees the batch-diagonal form only if it was recorded with `samples` (tape.h); others get
/// dense rows.
class Cotangent {
 public:
  Cotangent(Tensor holder, index_t row_stride, int rows, const Shape& shape, bool diagonal,
            int first_sample)
      : holder_(std::move(holder)),
        stride_(row_stride),
        count_(rows),
        shape_(shape),
        diagonal_(diagonal),
        first_(first_sample) {}

  const Shape& shape() const { return shape_; }  ///< of the op's output
  int count() const { return count_; }           ///< R
  bool diagonal() const { return diagonal_; }
  const Tensor& holder() const { return holder_; }  ///< the memory: kernels::on(gy.holder(), ...)

  /// For gradients of inputs that carry the batch: dense, R rows; diagonal, one row with all
  /// samples, since samples do not mix and the rows do not overlap.
  template <class T>
  kernels::Rows<const T> rows() const {
    return {holder_.data<T>(), stride_, nullptr, diagonal_ ? 1 : count_, false};
  }
  /// For gradients of operands that all samples share (weights): R rows in both forms; diagonal,
  /// row r is sample r alone, to be used with batch(n) = 1 and operand(x).
  template <class T>
  kernels::Rows<const T> per_task() const {
    if (!diagonal_) return rows<T>();
    const index_t sample = shape_.span(1, shape_.rank());
    return {holder_.data<T>() + first_ * sample, sample, nullptr, count_, false};
  }
  /// A saved tensor to go with per_task(): dense, x for every row (stride 0); diagonal, sample r of
  /// x.
  template <class T>
  kernels::Rows<const T> operand(const Tensor& x) const {
    if (!diagonal_) return {x.data<T>(), 0, nullptr, count_, false};
    const index_t sample = x.shape().span(1, x.rank());
    return {x.data<T>() + first_ * sample, sample, nullptr, count_, false};
  }
  /// The batch size that per_task() and operand() speak of.
  index_t batch(index_t n) const { return diagonal_ ? 1 : n; }

 private:
  Tensor holder_;
  index_t stride_;
  int count_;
  Shape shape_;
  bool diagonal_;
  int first_;
};

class Sweep;
struct GramCosts;

/// Hands out the places for the gradients of an op's inputs. Fill a slot wholly before asking for
/// the next: when an input stands twice (x * x), the second slot adds to the first.
class Sink {
 public:
  Sink(Sweep& sweep, int node) : sweep_(sweep), node_(node) {}

  /// R rows (or the one row of the batch-diagonal form, for inputs that carry the batch) of input
  /// k's gradient; false when nobody wants it. With `accumulate` set, add to what is there.
  template <class T>
  kernels::Rows<T> slot(int k) {
    const Place p = place(k);
    if (!p.tensor) return {};
    return {p.tensor->data<T>() + p.offset, p.stride, p.map, p.count, p.accumulate};
  }
  /// For an op that can have the inner products of its R gradients of input k without forming them:
  /// R x R doubles to be filled with these, both halves, when that is all the sweep wants and
  /// `costs` says that it pays (block_grams.h); else null, and slot(k) is the way.
  double* products(int k, const GramCosts& costs);

 private:
  struct Place {
    const Tensor* tensor = nullptr;
    index_t offset = 0, stride = 0;
    const std::int32_t* map = nullptr;
    std::int32_t count = 0;
    bool accumulate = false;
  };
  friend class Sweep;
  Place place(int k);

  Sweep& sweep_;
  int node_;
};

}  // namespace concord
