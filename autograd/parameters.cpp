#include <concord/autograd/parameters.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord {
namespace {

constexpr index_t kSliceAlignment = 64;

index_t round_up(index_t n) {
  return (n + kSliceAlignment - 1) / kSliceAlignment * kSliceAlignment;
}

}  // namespace

SliceId ParameterStore::add(std::string name, const Shape& shape, Initializer init, int group) {
  if (fixed_) {
    throw UsageError(fmt::format("parameters: '{}' is added after the layout was fixed", name));
  }
  const auto id = static_cast<SliceId>(slices_.size());
  if (!by_name_.emplace(name, id).second)
    throw ValueError(fmt::format("parameters: the name '{}' is taken", name));
  slices_.push_back(
      {.name = std::move(name), .shape = shape, .group = group, .init = std::move(init)});
  head_groups_ = std::max(head_groups_, group + 1);
  return id;
}

BufferId ParameterStore::add_buffer(std::string name, const Shape& shape, double initial) {
  if (fixed_) {
    throw UsageError(
        fmt::format("parameters: buffer '{}' is added after the layout was fixed", name));
  }
  const auto id = static_cast<BufferId>(buffers_.size());
  if (!buffer_by_name_.emplace(name, id).second)
    throw ValueError(fmt::format("parameters: the name '{}' is taken", name));
  buffers_.push_back({.name = std::move(name), .shape = shape, .initial = initial});
  return id;
}

void ParameterStore::fix_layout() const {
  if (fixed_) return;
  fixed_ = true;
  auto* self = const_cast<ParameterStore*>(this);  // offsets are derived from what add() was given
  order_.resize(slices_.size());
  for (int i = 0; i < slices(); ++i) order_[i] = i;
  std::stable_sort(order_.begin(), order_.end(),
                   [&](SliceId a, SliceId b) { return slices_[a].group < slices_[b].group; });
  for (const SliceId id : order_) {
    self->slices_[id].offset = size_;
    size_ += round_up(slices_[id].shape.numel());
    if (slices_[id].group == kShared) shared_size_ = size_;
  }
  for (BufferSlice& b : self->buffers_) {
    b.offset = buffer_size_;
    buffer_size_ += round_up(b.shape.numel());
  }
}

SliceId ParameterStore::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? -1 : it->second;
}

BufferId ParameterStore::find_buffer(std::string_view name) const {
  const auto it = buffer_by_name_.find(name);
  return it == buffer_by_name_.end() ? -1 : it->second;
}

void ParameterStore::for_each(std::string_view prefix, const std::function<void(Slice&)>& f) {
  bool any = false;
  for (Slice& s : slices_) {
    if (!std::string_view(s.name).starts_with(prefix)) continue;
    any = true;
    f(s);
  }
  if (!any) throw ValueError(fmt::format("parameters: no name starts with '{}'", prefix));
}

index_t ParameterStore::parameters() const {
  index_t n = 0;
  for (const Slice& s : slices_) n += s.shape.numel();
  return n;
}

Theta::Theta(const ParameterStore& store, DType dtype, Device device)
    : store_(&store),
      values_(Tensor::zeros({store.size()}, dtype, device)),
      buffers_(Tensor::zeros({store.buffer_size()}, dtype, device)) {}

void Theta::initialize(const Rng& rng) const {
  if (!(values_.device() == kCpu)) {
    const Theta host(*store_, dtype());
    host.initialize(rng);
    copy_from(host);
    return;
  }
  for (SliceId id = 0; id < store_->slices(); ++id) {
    const Slice& s = store_->slice(id);
    s.init((*this)[id], rng.fork("init/" + s.name));
  }
  for (BufferId id = 0; id < store_->buffers(); ++id) buffer(id).fill(store_->buffer(id).initial);
}

Tensor Theta::operator[](SliceId id) const {
  const Slice& s = store_->slice(id);
  return values_.rows(s.offset, s.offset + s.shape.numel()).view(s.shape);
}

Tensor Theta::buffer(BufferId id) const {
  const BufferSlice& b = store_->buffer(id);
  return buffers_.rows(b.offset, b.offset + b.shape.numel()).view(b.shape);
}

Theta Theta::clone() const {
  Theta t(*store_, dtype(), values_.device());
  t.copy_from(*this);
  return t;
}

void Theta::copy_from(const Theta& other) const {
  values_.copy_from(other.values_);
  buffers_.copy_from(other.buffers_);
}

std::map<std::string, Tensor> Theta::state() const {
  std::map<std::string, Tensor> out;
  for (SliceId id = 0; id < store_->slices(); ++id)
    out.emplace(store_->slice(id).name, (*this)[id]);
  for (BufferId id = 0; id < store_->buffers(); ++id)
    out.emplace(store_->buffer(id).name, buffer(id));
  return out;
}

Scope Scope::operator/(std::string_view child) const { return Scope(*store_, join(child), group_); }

SliceId Scope::parameter(std::string_view name, const Shape& shape, Initializer init) const {
  return store_->add(join(name), shape, std::move(init), group_);
}

BufferId Scope::buffer(std::string_view name, const Shape& shape, double initial) const {
  return store_->add_buffer(join(name), shape, initial);
}

std::string Scope::join(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

}  // namespace concord
