// GradientMatrix: row t is the gradient of task t's loss, written there by the backward sweep
// itself.
#pragma once

#include <concord/autograd/parameters.h>
#include <concord/tensor/kernels/rows.h>

#include <vector>

namespace concord {

/// Which parameters have one column per task.
enum class Columns {
  shared,  ///< the trunk; each head's gradient stands once, in heads()
  all      ///< every parameter: per-sample gradients, or one row for an ordinary gradient
};

/// T rows over the shared parameters (P_shared columns, laid out as in θ) and the heads' part. The
/// row stride is a multiple of 64 elements but never of 4 KiB, since rows would share cache sets.
/// Padding is zero, and so is, after a sweep, every slice that no loss reached in it.
class GradientMatrix {
 public:
  /// `tasks` is T, or 1 for rows that are already combined (SweepOptions::combine); heads have
  /// their part in both. Throws ValueError when it is not positive.
  GradientMatrix(const ParameterStore& store, int tasks, DType dtype = DType::f32,
                 Columns columns = Columns::shared, Device device = kCpu);

  const ParameterStore& store() const { return *store_; }
  int tasks() const { return tasks_; }
  index_t columns() const { return columns_; }
  DType dtype() const { return rows_.dtype(); }
  Device device() const { return rows_.device(); }

  /// All T rows.
  template <class T>
  kernels::Rows<T> rows() const {
    return {rows_.data<T>(), stride_, nullptr, tasks_, false};
  }
  Tensor row(int task) const;  ///< [columns], shares memory
  const Tensor& heads() const {
    return heads_;
  }  ///< [P - P_shared], shares memory; empty for Columns::all
  /// One parameter's gradient for one task, in its own shape; shares memory. For a head's slice,
  /// `task` must be the head's. Throws UsageError otherwise.
  Tensor slice(SliceId id, int task) const;

  /// Where a slice's gradient goes: T strided rows, or a head's single row (then `head` is true).
  struct Place {
    const Tensor* tensor;  ///< holds the memory; lives as long as the matrix
    index_t offset;        ///< of row 0, in elements
    index_t stride;
    bool head;
  };
  Place place(SliceId id) const;

  // For the sweep (autograd/tape.cpp): which (slice, row) pairs were written since begin_sweep().
  void begin_sweep();
  bool written(SliceId id, int row) const { return written_[index(id, row)] != 0; }
  void set_written(SliceId id, int row) { written_[index(id, row)] = 1; }
  /// Zeroes what no loss reached.
  void end_sweep();

 private:
  std::size_t index(SliceId id, int row) const {
    return static_cast<std::size_t>(id) * tasks_ + (place(id).head ? 0 : row);
  }

  const ParameterStore* store_;
  int tasks_;
  bool all_;
  index_t columns_, stride_;
  Tensor rows_, heads_;
  std::vector<std::uint8_t> written_;
};

}  // namespace concord
