#include <concord/autograd/gradient_matrix.h>

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

GradientMatrix::GradientMatrix(const ParameterStore& store, int tasks, DType dtype, Columns columns,
                               Device device)
    : store_(&store),
      tasks_(tasks),
      all_(columns == Columns::all),
      columns_(all_ ? store.size() : store.shared_size()),
      stride_(row_stride(columns_, dtype)),
      rows_(Tensor::zeros({tasks, stride_}, dtype, device)),
      heads_(Tensor::zeros({store.size() - columns_}, dtype, device)),
      written_(static_cast<std::size_t>(store.slices()) * tasks) {
  if (tasks < 1) throw ValueError(fmt::format("gradient matrix: {} tasks", tasks));
}

Tensor GradientMatrix::row(int task) const { return rows_[task].rows(0, columns_); }

GradientMatrix::Place GradientMatrix::place(SliceId id) const {
  const Slice& s = store_->slice(id);
  if (all_ || s.group == kShared) return {&rows_, s.offset, stride_, false};
  return {&heads_, s.offset - columns_, 0, true};
}

Tensor GradientMatrix::slice(SliceId id, int task) const {
  const Slice& s = store_->slice(id);
  const Place p = place(id);
  if (p.head && task != s.group) {
    throw UsageError(fmt::format("gradient matrix: '{}' belongs to task {}, not to task {}", s.name,
                                 s.group, task));
  }
  const Tensor whole = p.head ? heads_ : rows_[task];
  return whole.rows(p.offset, p.offset + s.shape.numel()).view(s.shape);
}

void GradientMatrix::begin_sweep() { std::fill(written_.begin(), written_.end(), std::uint8_t{0}); }

void GradientMatrix::end_sweep() {
  for (SliceId id = 0; id < store_->slices(); ++id) {
    const Slice& s = store_->slice(id);
    if (place(id).head) {
      if (!written(id, s.group)) slice(id, s.group).zero();
      continue;
    }
    for (int t = 0; t < tasks_; ++t) {
      if (!written(id, t)) slice(id, t).zero();
    }
  }
}

}  // namespace concord
