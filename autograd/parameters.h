// ParameterStore: the model is one vector θ. The store is the table that says which slice of it is
// which parameter; a Theta is one such vector with the buffers (running statistics) beside it.
// Modules hold slice ids, never values: the same network runs on θ, θ', a target network, an
// average.
#pragma once

#include <concord/tensor/random.h>
#include <concord/tensor/tensor.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace concord {

using SliceId = int;
using BufferId = int;

/// The group of parameters that all tasks share; groups 0, 1, ... belong to one task each (its
/// head).
inline constexpr int kShared = -1;

/// Fills a fresh parameter, on the CPU; the stream is the parameter's own ("init/<name>").
using Initializer = std::function<void(const Tensor& values, const Rng& rng)>;

struct Slice {
  std::string name;  ///< as PyTorch would name it: "layer1.0.conv1.weight"
  Shape shape;
  int group = kShared;
  Initializer init;
  index_t offset = -1;  ///< first element in θ; a multiple of 64. Known once the layout is fixed
  double rate_factor = 1;  ///< multiplies the learning rate
  double decay_factor =
      1;                ///< multiplies the weight decay (0 for biases and norm layers, if wanted)
  bool frozen = false;  ///< neither moved nor decayed, and no gradient is computed for it
};

struct BufferSlice {
  std::string name;  ///< "bn1.running_mean"
  Shape shape;
  double initial = 0;
  index_t offset = -1;
};

/// The table of named slices. θ holds the shared slices first, then those of task 0, task 1, ...;
/// each slice starts at a multiple of 64 elements and padding is zero. The layout is fixed when the
/// first Theta is made; adding after that throws UsageError.
class ParameterStore {
 public:
  ParameterStore() = default;
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  /// Throws ValueError when the name is taken, UsageError when the layout is fixed.
  SliceId add(std::string name, const Shape& shape, Initializer init, int group = kShared);
  BufferId add_buffer(std::string name, const Shape& shape, double initial);

  /// Fixes the layout; a second call does nothing.
  void fix_layout() const;

  int slices() const { return static_cast<int>(slices_.size()); }
  const Slice& slice(SliceId id) const { return slices_[id]; }
  Slice& slice(SliceId id) { return slices_[id]; }  ///< to set factors or freeze
  int buffers() const { return static_cast<int>(buffers_.size()); }
  const BufferSlice& buffer(BufferId id) const { return buffers_[id]; }
  /// -1 when there is none of that name.
  SliceId find(std::string_view name) const;
  BufferId find_buffer(std::string_view name) const;
  /// Slice ids in the order of their offsets.
  const std::vector<SliceId>& layout() const { return fix_layout(), order_; }
  /// Calls f(Slice&) for each slice whose name starts with `prefix`; throws ValueError when none
  /// does.
  void for_each(std::string_view prefix, const std::function<void(Slice&)>& f);

  index_t size() const { return fix_layout(), size_; }  ///< P: elements of θ, padding included
  index_t shared_size() const {
    return fix_layout(), shared_size_;
  }  ///< of these, shared (they come first)
  index_t buffer_size() const { return fix_layout(), buffer_size_; }
  index_t parameters() const;                       ///< elements without padding
  int head_groups() const { return head_groups_; }  ///< highest task group + 1

 private:
  std::vector<Slice> slices_;
  std::vector<BufferSlice> buffers_;
  std::map<std::string, SliceId, std::less<>> by_name_;
  std::map<std::string, BufferId, std::less<>> buffer_by_name_;
  int head_groups_ = 0;
  // The layout is derived state; it is settled on first need.
  mutable bool fixed_ = false;
  mutable std::vector<SliceId> order_;
  mutable index_t size_ = 0, shared_size_ = 0, buffer_size_ = 0;
};

/// One set of values for a store's parameters and buffers. The store must outlive it.
class Theta {
 public:
  /// All zero; fixes the store's layout.
  explicit Theta(const ParameterStore& store, DType dtype = DType::f32, Device device = kCpu);

  /// Every parameter by its initialiser, from rng.fork("init/<name>"); buffers to their initial
  /// value.
  void initialize(const Rng& rng) const;

  const ParameterStore& store() const { return *store_; }
  const Tensor& values() const { return values_; }    ///< [P]
  const Tensor& buffers() const { return buffers_; }  ///< [buffer_size]
  DType dtype() const { return values_.dtype(); }
  Device device() const { return values_.device(); }
  /// A parameter or buffer in its own shape; shares memory with values() or buffers().
  Tensor operator[](SliceId id) const;
  Tensor buffer(BufferId id) const;

  Theta clone() const;
  void copy_from(const Theta& other) const;

  /// Parameters and buffers by name, sharing memory: PyTorch's state_dict.
  std::map<std::string, Tensor> state() const;

 private:
  const ParameterStore* store_;
  Tensor values_, buffers_;
};

/// Where a module registers its parameters: a store, a dotted path and a group. `scope / "conv1"`
/// is the place of a child, `scope.task(1)` puts what follows into the head of task 1.
class Scope {
 public:
  explicit Scope(ParameterStore& store, std::string path = "", int group = kShared)
      : store_(&store), path_(std::move(path)), group_(group) {}

  Scope operator/(std::string_view child) const;
  Scope task(int task) const { return Scope(*store_, path_, task); }
  SliceId parameter(std::string_view name, const Shape& shape, Initializer init) const;
  BufferId buffer(std::string_view name, const Shape& shape, double initial) const;
  const std::string& path() const { return path_; }
  ParameterStore& store() const { return *store_; }

 private:
  std::string join(std::string_view name) const;

  ParameterStore* store_;
  std::string path_;
  int group_;
};

}  // namespace concord
