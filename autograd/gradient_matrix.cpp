#include <concord/autograd/gradient_matrix.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace concord {
namespace {

index_t row_stride(index_t columns, DType dtype) {
  index_t stride = std::max<index_t>((columns + 63) / 64 * 64, 64);
  if (stride * static_cast<index_t>(size_of(dtype)) % 4096 == 0) stride += 64;
  return stride;
}

}  // namespace

GradientMatrix::Scratch::Place GradientMatrix::Scratch::take(index_t size, DType dtype,
                                                             Device device) {
  std::size_t b = 0;
  while (b < blocks_.size() && blocks_[b].memory.numel() - blocks_[b].used < size) ++b;
  if (b == blocks_.size()) {
    if (slices_ == 0) {
      blocks_.clear();
      held_ = 0;
    }
    b = blocks_.size();
    blocks_.push_back({Tensor::empty({size}, dtype, device)});
    held_ += blocks_[b].memory.bytes();
    peak_ = std::max(peak_, held_);
  }
  const Place p{static_cast<int>(b), blocks_[b].used};
  blocks_[b].used += size;
  ++blocks_[b].slices;
  ++slices_;
  return p;
}

void GradientMatrix::Scratch::give_back(const Place& p) {
  Block& block = blocks_[p.block];
  if (--block.slices == 0) block.used = 0;
  --slices_;
}

GradientMatrix::GradientMatrix(const ParameterStore& store, int tasks, DType dtype, Columns columns,
                               Device device, RowStorage storage)
    : store_(&store),
      tasks_(tasks),
      columns_kind_(columns),
      storage_(storage),
      columns_(columns == Columns::all ? store.size() : store.shared_size()),
      stride_(row_stride(columns_, dtype)),
      heads_(
          Tensor::zeros({columns == Columns::shared ? store.size() - columns_ : 0}, dtype, device)),
      written_(static_cast<std::size_t>(store.slices()) * tasks),
      completed_(static_cast<std::size_t>(store.slices())),
      in_scratch_(static_cast<std::size_t>(store.slices())) {
  if (tasks < 1) throw ValueError(fmt::format("gradient matrix: {} tasks", tasks));
  if (storage == RowStorage::full) rows_ = Tensor::zeros({tasks, stride_}, dtype, device);
}

Tensor GradientMatrix::row(int task) const { return rows_[task].rows(0, columns_); }

index_t GradientMatrix::scratch_stride(SliceId id) const {
  return row_stride(store_->slice(id).shape.numel(), dtype());
}

GradientMatrix::Place GradientMatrix::place(SliceId id) const {
  const Slice& s = store_->slice(id);
  if (in_heads(id)) return {&heads_, s.offset - columns_, 0, true};
  if (storage_ == RowStorage::full) return {&rows_, s.offset, stride_, false};
  const Scratch::Place& p = in_scratch_[id];
  if (p.block < 0) {
    throw UsageError(
        fmt::format("gradient matrix: the rows of '{}' are not kept, they can only "
                    "be read when a sweep reports them complete",
                    s.name));
  }
  return {&scratch_.block(p), p.offset, scratch_stride(id), false};
}

Tensor GradientMatrix::slice(SliceId id, int task) const {
  const Slice& s = store_->slice(id);
  const Place p = place(id);
  if (p.head && task != s.group) {
    throw UsageError(fmt::format("gradient matrix: '{}' belongs to task {}, not to task {}", s.name,
                                 s.group, task));
  }
  const index_t first = p.offset + (p.head ? 0 : task * p.stride);
  return p.tensor->view({-1}).rows(first, first + s.shape.numel()).view(s.shape);
}

void GradientMatrix::begin_sweep(bool add) {
  for (SliceId id = 0; id < store_->slices(); ++id) {
    release(id);  // a sweep that threw may have left it
    completed_[id] = 0;
    std::uint8_t* written = &written_[index(id, 0)];
    if (!add) std::fill_n(written, tasks_, std::uint8_t{0});
    if (storage_ == RowStorage::streamed && !in_heads(id) &&
        std::count(written, written + tasks_, 1) > 0)
      throw UsageError(
          fmt::format("backward: the rows of '{}' were not kept and cannot be added to",
                      store_->slice(id).name));
  }
}

void GradientMatrix::acquire(SliceId id) {
  if (storage_ == RowStorage::full || in_heads(id) || in_scratch_[id].block >= 0) return;
  in_scratch_[id] = scratch_.take(tasks_ * scratch_stride(id), dtype(), device());
}

bool GradientMatrix::complete(SliceId id) {
  completed_[id] = 1;
  const int rows = in_heads(id) ? 1 : tasks_;
  const std::uint8_t* written = &written_[index(id, 0)];
  const bool any = std::count(written, written + rows, 1) > 0;
  if (!any && storage_ == RowStorage::streamed && !in_heads(id))
    return false;  // they have no place
  for (int r = 0; r < rows; ++r) {
    if (!written[r]) slice(id, in_heads(id) ? store_->slice(id).group : r).zero();
  }
  return any;
}

void GradientMatrix::release(SliceId id) {
  if (in_scratch_[id].block >= 0) scratch_.give_back(in_scratch_[id]);
  in_scratch_[id] = {};
}

}  // namespace concord
