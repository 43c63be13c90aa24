#include <concord/data/dataset.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace concord::data {
namespace {

/// [n, shape...], without the allocation that Shape::insert makes.
Shape batched(index_t n, const Shape& shape) {
  std::array<index_t, kMaxRank + 1> extents{n};
  std::copy(shape.begin(), shape.end(), extents.begin() + 1);
  return Shape(
      std::span<const index_t>(extents.data(), static_cast<std::size_t>(shape.rank()) + 1));
}

void check_labels(std::string_view op, std::span<const std::int64_t> labels, const Target& target) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if ((labels[i] < 0 || labels[i] >= target.classes) && labels[i] != kIgnoreLabel) {
      throw ValueError(fmt::format("{}: label {} of task '{}' is {}, expected 0 to {}", op, i,
                                   target.name, labels[i], target.classes - 1));
    }
  }
}

template <class T>
void copy_item(const Tensor& from, index_t item, std::span<T> out) {
  std::copy_n(from.data<T>() + item * static_cast<index_t>(out.size()), out.size(), out.begin());
}

}  // namespace

void Dataset::read_values(index_t, int task, const Rng&, std::span<float>) const {
  throw UsageError(
      fmt::format("dataset: task '{}' has classes, not values", targets().at(task).name));
}

std::int64_t Dataset::label(index_t item, int task) const {
  if (task < 0 || task >= tasks() || targets()[task].classes == 0 ||
      targets()[task].shape.rank() != 0) {
    throw ValueError(fmt::format("dataset: task {} has no single class label", task));
  }
  std::int64_t label = 0;
  read_labels(item, task, Rng(), {&label, 1});
  return label;
}

void Dataset::read(std::span<const index_t> items, const Rng& epoch, Batch& out) const {
  const index_t n = static_cast<index_t>(items.size());
  const Shape input = input_shape();
  out.size = n;
  out.targets.resize(tasks());
  // Let go first: the old block can serve as the new one.
  out.input = Tensor();
  out.input = Tensor::empty(batched(n, input));
  for (int t = 0; t < tasks(); ++t) {
    out.targets[t] = Tensor();
    out.targets[t] = Tensor::empty(batched(n, targets()[t].shape),
                                   targets()[t].classes > 0 ? DType::i64 : DType::f32);
  }
  for (index_t row = 0; row < n; ++row) {
    const index_t item = items[row];
    if (item < 0 || item >= size()) {
      throw ValueError(fmt::format("dataset: item {} does not exist, there are {}", item, size()));
    }
    const Rng rng = epoch.fork(static_cast<std::uint64_t>(item));
    read_input(item, rng, out.input.values<float>().subspan(row * input.numel(), input.numel()));
    for (int t = 0; t < tasks(); ++t) {
      const index_t width = targets()[t].shape.numel();
      if (targets()[t].classes > 0) {
        read_labels(item, t, rng,
                    out.targets[t].values<std::int64_t>().subspan(row * width, width));
      } else {
        read_values(item, t, rng, out.targets[t].values<float>().subspan(row * width, width));
      }
    }
  }
}

ChannelScale channel_scale(std::string_view op, const Normalisation& normalisation,
                           index_t channels) {
  const auto& [mean, deviation] = normalisation;
  const auto fits = [&](const auto& v) {
    return v.size() <= 1 || static_cast<index_t>(v.size()) == channels;
  };
  const auto usable = [](double d) { return std::isfinite(d) && d > 0; };
  if (!fits(mean) || !fits(deviation) || !std::all_of(deviation.begin(), deviation.end(), usable)) {
    throw ValueError(
        fmt::format("{}: {} means and {} deviations for {} channels, expected one for all or each, "
                    "deviations positive",
                    op, mean.size(), deviation.size(), channels));
  }
  ChannelScale s;
  for (index_t c = 0; c < channels; ++c) {
    const double m = mean.empty() ? 0.0 : mean[mean.size() == 1 ? 0 : c];
    const double d = deviation.empty() ? 1.0 : deviation[deviation.size() == 1 ? 0 : c];
    s.scale.push_back(static_cast<float>(1.0 / (255.0 * d)));
    s.shift.push_back(static_cast<float>(-m / d));
  }
  return s;
}

ImageSet::ImageSet(Tensor images, Tensor labels, std::vector<Target> targets,
                   Normalisation normalisation)
    : images_(std::move(images)), labels_(std::move(labels)), targets_(std::move(targets)) {
  check_rank("image set", "images", images_, 4);
  check_dtype("image set", "images", images_, DType::u8);
  check_dtype("image set", "labels", labels_, DType::i64);
  check_shape("image set", "labels", labels_, {tasks(), size()});
  for (int t = 0; t < tasks(); ++t)
    check_labels("image set", labels_[t].values<std::int64_t>(), targets_[t]);
  scale_ = channel_scale("image set", normalisation, images_.dim(1));
}

void ImageSet::read_input(index_t item, const Rng&, std::span<float> out) const {
  const index_t channels = images_.dim(1), plane = images_.dim(2) * images_.dim(3);
  const std::uint8_t* in = images_.data<std::uint8_t>() + item * channels * plane;
  for (index_t c = 0; c < channels; ++c) {
    const float scale = scale_.scale[c], shift = scale_.shift[c];
    for (index_t i = c * plane; i < (c + 1) * plane; ++i) out[i] = in[i] * scale + shift;
  }
}

void ImageSet::read_labels(index_t item, int task, const Rng&, std::span<std::int64_t> out) const {
  out[0] = labels_.data<std::int64_t>()[task * size() + item];
}

TensorSet::TensorSet(Tensor inputs, std::vector<Tensor> values, std::vector<Target> targets)
    : inputs_(std::move(inputs)), values_(std::move(values)), targets_(std::move(targets)) {
  check_dtype("tensor set", "inputs", inputs_, DType::f32);
  if (inputs_.rank() < 1 || values_.size() != targets_.size()) {
    throw ShapeError(
        fmt::format("tensor set: {} target tensors for {} tasks", values_.size(), targets_.size()),
        {{"inputs", describe(inputs_)}});
  }
  for (std::size_t t = 0; t < values_.size(); ++t) {
    check_shape("tensor set", targets_[t].name, values_[t], batched(size(), targets_[t].shape));
    check_dtype("tensor set", targets_[t].name, values_[t],
                targets_[t].classes > 0 ? DType::i64 : DType::f32);
    if (targets_[t].classes > 0)
      check_labels("tensor set", values_[t].values<std::int64_t>(), targets_[t]);
  }
}

void TensorSet::read_input(index_t item, const Rng&, std::span<float> out) const {
  copy_item(inputs_, item, out);
}

void TensorSet::read_labels(index_t item, int task, const Rng&, std::span<std::int64_t> out) const {
  copy_item(values_[task], item, out);
}

void TensorSet::read_values(index_t item, int task, const Rng&, std::span<float> out) const {
  copy_item(values_[task], item, out);
}

}  // namespace concord::data
