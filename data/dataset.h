// Dataset: items with one input and one target per task. ImageSet and TensorSet: the two that live
// in memory; every reader of this room ends in one of them or in ImageFolder.
#pragma once

#include <concord/tensor/random.h>
#include <concord/tensor/tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::data {

/// The label of an item whose class is not known for a task; losses skip it (PyTorch's ignore
/// index).
inline constexpr std::int64_t kIgnoreLabel = -100;

/// What one task asks of an item.
struct Target {
  std::string name;  ///< "left", "fine", ...
  int classes = 0;   ///< > 0: i64 labels in [0, classes) or kIgnoreLabel; 0: f32 values
  Shape shape;       ///< of one item's target; rank 0 is a single label or value
};

/// Items side by side.
struct Batch {
  Tensor input;                 ///< f32 [size, input_shape...]
  std::vector<Tensor> targets;  ///< per task: i64 or f32 [size, target shape...]
  index_t size = 0;
};

/// A finite, indexed collection. Const and free of hidden state: `read_*` may be called from
/// several threads at once, and everything random about an item comes from the Rng that is handed
/// in. Rng is counter-based, so an augmentation that must move input and target together (a flip of
/// image and mask) draws the same numbers in `read_input` and in `read_labels`.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual index_t size() const = 0;
  virtual Shape input_shape() const = 0;  ///< of one item; images are [C,H,W]
  virtual const std::vector<Target>& targets() const = 0;

  /// Writes the input of `item`; `out` has input_shape().numel() values.
  virtual void read_input(index_t item, const Rng& rng, std::span<float> out) const = 0;
  /// Writes the labels of `item` for a task with classes.
  virtual void read_labels(index_t item, int task, const Rng& rng,
                           std::span<std::int64_t> out) const = 0;
  /// Writes the values of `item` for a task without classes. Throws UsageError unless overridden.
  virtual void read_values(index_t item, int task, const Rng& rng, std::span<float> out) const;

  int tasks() const { return static_cast<int>(targets().size()); }
  /// The single label of `item`. Throws ValueError when the task is not one of single labels.
  std::int64_t label(index_t item, int task = 0) const;
  /// Fills `out` with these items; item i draws from `epoch.fork(i)`. The tensors are new ones
  /// (from recycled blocks), so a caller may keep those of an earlier batch. Throws ValueError for
  /// an item that does not exist.
  void read(std::span<const index_t> items, const Rng& epoch, Batch& out) const;
};

using DatasetPtr = std::shared_ptr<const Dataset>;

/// The three parts of a study. Choices are made on `validation`; `test` is only ever reported.
struct Splits {
  DatasetPtr train, validation, test;
};

/// The parts in which a published data set comes.
enum class Part { train, test };

/// Channel c of an image in 0..255 is read as (value / 255 - mean[c]) / deviation[c]. One entry
/// serves all channels; none leaves values in [0, 1].
struct Normalisation {
  std::vector<double> mean;
  std::vector<double> deviation;
};

/// The same as value * scale[c] + shift[c].
struct ChannelScale {
  std::vector<float> scale, shift;
};
/// Throws ValueError "<op>: ..." for counts that are neither 0, 1 nor `channels`, or a bad
/// deviation.
ChannelScale channel_scale(std::string_view op, const Normalisation& normalisation,
                           index_t channels);

/// Images kept as bytes, read as f32.
class ImageSet final : public Dataset {
 public:
  /// images: u8 [N,C,H,W]; labels: i64 [T,N], one row per target. Throws ShapeError or DTypeError
  /// when these do not fit together, ValueError for a label outside its classes or a bad
  /// normalisation.
  ImageSet(Tensor images, Tensor labels, std::vector<Target> targets,
           Normalisation normalisation = {});

  index_t size() const override { return images_.dim(0); }
  Shape input_shape() const override { return images_.shape().without(0); }
  const std::vector<Target>& targets() const override { return targets_; }
  void read_input(index_t item, const Rng& rng, std::span<float> out) const override;
  void read_labels(index_t item, int task, const Rng& rng,
                   std::span<std::int64_t> out) const override;

  const Tensor& images() const { return images_; }  ///< u8 [N,C,H,W]
  const Tensor& labels() const { return labels_; }  ///< i64 [T,N]

 private:
  Tensor images_, labels_;
  std::vector<Target> targets_;
  ChannelScale scale_;
};

using ImageSetPtr = std::shared_ptr<const ImageSet>;

/// Inputs and targets that are already tensors: generated data, tables, saved features.
class TensorSet final : public Dataset {
 public:
  /// inputs: f32 [N, ...]; values[t]: i64 (classes > 0) or f32 [N, targets[t].shape...].
  /// Throws ShapeError, DTypeError or ValueError as ImageSet does.
  TensorSet(Tensor inputs, std::vector<Tensor> values, std::vector<Target> targets);

  index_t size() const override { return inputs_.dim(0); }
  Shape input_shape() const override { return inputs_.shape().without(0); }
  const std::vector<Target>& targets() const override { return targets_; }
  void read_input(index_t item, const Rng& rng, std::span<float> out) const override;
  void read_labels(index_t item, int task, const Rng& rng,
                   std::span<std::int64_t> out) const override;
  void read_values(index_t item, int task, const Rng& rng, std::span<float> out) const override;

 private:
  Tensor inputs_;
  std::vector<Tensor> values_;
  std::vector<Target> targets_;
};

}  // namespace concord::data
