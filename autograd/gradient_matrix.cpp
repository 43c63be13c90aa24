#include <concord/autograd/gradient_matrix.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>

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
  if (storage == RowStorage::bf16 && dtype != DType::f32) {
    throw DTypeError(fmt::format("gradient matrix: rows of bf16 are rounded from f32, not from {}",
                                 name(dtype)));
  }
  if (storage == RowStorage::streamed) return;
  rows_ =
      Tensor::zeros({tasks, stride_}, storage == RowStorage::full ? dtype : DType::bf16, device);
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

GradientMatrix::Place GradientMatrix::kept(SliceId id) const {
  if (storage_ == RowStorage::bf16 && !in_heads(id))
    return {&rows_, store_->slice(id).offset, stride_, false};
  return place(id);
}

Tensor GradientMatrix::slice(SliceId id, int task) const {
  const Slice& s = store_->slice(id);
  const Place p = kept(id);
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
    if (!add) std::fill_n(&written_[index(id, 0)], tasks_, std::uint8_t{0});
    if (storage_ == RowStorage::streamed && !in_heads(id) && any_written(id))
      throw UsageError(
          fmt::format("backward: the rows of '{}' were not kept and cannot be added to",
                      store_->slice(id).name));
  }
}

void GradientMatrix::acquire(SliceId id) {
  if (storage_ == RowStorage::full || in_heads(id) || in_scratch_[id].block >= 0) return;
  in_scratch_[id] = scratch_.take(tasks_ * scratch_stride(id), dtype(), device());
  if (storage_ == RowStorage::bf16 && any_written(id)) {  // to be added to
    kernels::table<float>(device()).widen_rows(store_->slice(id).shape.numel(),
                                               slice_rows<BFloat16>(id), scratch_rows(id));
  }
}

bool GradientMatrix::complete(SliceId id) {
  completed_[id] = 1;
  const bool any = any_written(id), head = in_heads(id);
  const index_t size = store_->slice(id).shape.numel();
  const bool in_flight = in_scratch_[id].block >= 0;
  // Rows in scratch that nobody wrote hold what was there before; where nothing is in flight, rows
  // that an earlier sweep left are what they were, or have to go.
  if (storage_ == RowStorage::streamed && !head && !in_flight) return false;
  const Place p = in_flight ? place(id) : kept(id);
  const Tensor all = p.tensor->view(Shape{p.tensor->numel()});
  for (int r = 0; r < (head ? 1 : tasks_); ++r) {
    if (written(id, head ? store_->slice(id).group : r)) continue;
    const index_t first = p.offset + r * p.stride;
    all.rows(first, first + size).zero();
  }
  if (storage_ == RowStorage::bf16 && in_flight) {
    kernels::table<float>(device()).round_rows(size, scratch_rows(id), slice_rows<BFloat16>(id));
  }
  return any;
}

bool GradientMatrix::any_written(SliceId id) const {
  const std::uint8_t* written = &written_[index(id, 0)];
  return std::count(written, written + (in_heads(id) ? 1 : tasks_), 1) > 0;
}

kernels::Rows<float> GradientMatrix::scratch_rows(SliceId id) const {
  const Place p = place(id);
  return {p.tensor->data<float>() + p.offset, p.stride, nullptr, tasks_, false};
}

void GradientMatrix::release(SliceId id) {
  if (in_scratch_[id].block >= 0) scratch_.give_back(in_scratch_[id]);
  in_scratch_[id] = {};
}

}  // namespace concord
