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
  all,     ///< every parameter: per-sample gradients, or one row for an ordinary gradient
  trunk    ///< the shared ones; sweeps leave the heads out (a second sweep, for the direction)
};

/// What becomes of a slice's T rows once a sweep has completed them. In every form they are to be
/// read by slice_rows() while SweepOptions::on_complete is called.
enum class RowStorage {
  full,     ///< kept as they are
  bf16,     ///< kept as bfloat16, rounded from scratch that holds the slices in flight (f32 only)
  streamed  ///< not kept: that scratch is all there is
};

/// T rows over the shared parameters (P_shared columns, laid out as in θ) and the heads' part. The
/// row stride is a multiple of 64 elements but never of 4 KiB, since rows would share cache sets.
/// Padding is zero, and so is, after a sweep, every slice that no loss reached in it.
class GradientMatrix {
 public:
  /// `tasks` is T, or 1 for rows that are already combined (SweepOptions::combine); heads have
  /// their part in both. Throws ValueError when it is not positive, DTypeError for bf16 rows of
  /// another type than f32.
  GradientMatrix(const ParameterStore& store, int tasks, DType dtype = DType::f32,
                 Columns columns = Columns::shared, Device device = kCpu,
                 RowStorage storage = RowStorage::full);

  const ParameterStore& store() const { return *store_; }
  int tasks() const { return tasks_; }
  index_t columns() const { return columns_; }
  DType dtype() const { return heads_.dtype(); }  ///< of the gradients; rows may be kept as bf16
  Device device() const { return heads_.device(); }
  RowStorage storage() const { return storage_; }

  /// All T rows; T is BFloat16 for RowStorage::bf16. Throws UsageError when they are not kept,
  /// DTypeError when T is not their type.
  template <class T>
  kernels::Rows<T> rows() const {
    return {rows_.data<T>(), stride_, nullptr, tasks_, false};
  }
  Tensor row(int task) const;  ///< [columns], shares memory
  const Tensor& heads() const {
    return heads_;
  }  ///< [P - P_shared], shares memory; empty unless Columns::shared
  /// One parameter's gradient for one task, in its own shape; shares memory. For a head's slice,
  /// `task` must be the head's. Throws UsageError otherwise, and when rows are not kept.
  Tensor slice(SliceId id, int task) const;
  /// The T rows of one slice, wherever they lie: in a streamed matrix only within
  /// SweepOptions::on_complete. A head's slice has one row. T is as for rows().
  template <class T>
  kernels::Rows<T> slice_rows(SliceId id) const {
    const Place p = kept(id);
    return {p.tensor->data<T>() + p.offset, p.stride, nullptr, p.head ? 1 : tasks_, false};
  }
  /// The most bytes that scratch has held at once.
  std::size_t scratch_peak() const { return scratch_.peak(); }

  /// Where a slice's gradient goes: T strided rows, or a head's single row (then `head` is true).
  struct Place {
    const Tensor* tensor;  ///< holds the memory until the slice is released
    index_t offset;        ///< of row 0, in elements
    index_t stride;
    bool head;
  };
  Place place(SliceId id) const;
  /// Where it is to be found afterwards.
  Place kept(SliceId id) const;

  // For the sweep (autograd/sweep.cpp). Between begin_sweep() and complete() it fills a slice's
  // place, which exists from acquire() to release(); `written` says which of its rows have values.
  void begin_sweep(bool add);
  bool has(SliceId id) const {
    return columns_kind_ != Columns::trunk || store_->slice(id).group == kShared;
  }
  bool in_heads(SliceId id) const {
    return columns_kind_ == Columns::shared && store_->slice(id).group != kShared;
  }
  bool written(SliceId id, int row) const { return written_[index(id, row)] != 0; }
  void set_written(SliceId id, int row) { written_[index(id, row)] = 1; }
  void acquire(SliceId id);
  /// Zeroes the rows that were not written, and rounds. False when none was written.
  bool complete(SliceId id);
  bool completed(SliceId id) const { return completed_[id] != 0; }
  void release(SliceId id);

 private:
  /// Memory for the rows of slices in flight: blocks that are filled from the front and start anew
  /// when their last slice goes. As soon as nothing is in flight, a request that fits nowhere
  /// replaces all blocks, so that no more is held than the slices in flight together ever needed.
  class Scratch {
   public:
    struct Place {
      int block = -1;  ///< -1: not in flight
      index_t offset = 0;
    };
    Place take(index_t size, DType dtype, Device device);
    void give_back(const Place& p);
    const Tensor& block(const Place& p) const { return blocks_[p.block].memory; }
    std::size_t peak() const { return peak_; }

   private:
    struct Block {
      Tensor memory;
      index_t used = 0;
      int slices = 0;
    };
    std::vector<Block> blocks_;
    int slices_ = 0;
    std::size_t held_ = 0, peak_ = 0;  // bytes
  };

  std::size_t index(SliceId id, int row) const {
    return static_cast<std::size_t>(id) * tasks_ + (in_heads(id) ? 0 : row);
  }
  bool any_written(SliceId id) const;
  index_t scratch_stride(SliceId id) const;
  kernels::Rows<float> scratch_rows(SliceId id) const;

  const ParameterStore* store_;
  int tasks_;
  Columns columns_kind_;
  RowStorage storage_;
  index_t columns_, stride_;
  Tensor rows_, heads_;
  std::vector<std::uint8_t> written_, completed_;
  Scratch scratch_;
  std::vector<Scratch::Place> in_scratch_;  // by slice
};

}  // namespace concord
