// Views of a data set: some of its items, or the same items with other labels.
#pragma once

#include <concord/data/dataset.h>

#include <utility>

namespace concord::data {

/// The items `items` of `base`, in that order; an item may occur more than once. Item k of the
/// subset draws its random numbers as item k, not as items[k].
class Subset final : public Dataset {
 public:
  /// Throws ValueError for an item that `base` does not have.
  Subset(DatasetPtr base, std::vector<index_t> items);

  index_t size() const override { return static_cast<index_t>(items_.size()); }
  Shape input_shape() const override { return base_->input_shape(); }
  const std::vector<Target>& targets() const override { return base_->targets(); }
  void read_input(index_t item, const Rng& rng, std::span<float> out) const override {
    base_->read_input(items_[item], rng, out);
  }
  void read_labels(index_t item, int task, const Rng& rng,
                   std::span<std::int64_t> out) const override {
    base_->read_labels(items_[item], task, rng, out);
  }
  void read_values(index_t item, int task, const Rng& rng, std::span<float> out) const override {
    base_->read_values(items_[item], task, rng, out);
  }

  const std::vector<index_t>& items() const { return items_; }

 private:
  DatasetPtr base_;
  std::vector<index_t> items_;
};

/// The inputs of `base` with labels of one's own, one row per task.
class Relabelled final : public Dataset {
 public:
  /// labels: i64 [T, base->size()]. Throws ShapeError or DTypeError when they do not fit.
  Relabelled(DatasetPtr base, Tensor labels, std::vector<Target> targets);

  index_t size() const override { return base_->size(); }
  Shape input_shape() const override { return base_->input_shape(); }
  const std::vector<Target>& targets() const override { return targets_; }
  void read_input(index_t item, const Rng& rng, std::span<float> out) const override {
    base_->read_input(item, rng, out);
  }
  void read_labels(index_t item, int task, const Rng& rng,
                   std::span<std::int64_t> out) const override;

 private:
  DatasetPtr base_;
  Tensor labels_;
  std::vector<Target> targets_;
};

/// The first min(n, size) items.
DatasetPtr first_n(DatasetPtr base, index_t n);

/// 0..size-1 in a random order that depends on the seed only, cut in two: `second` items in the
/// second part, the rest in the first; both in ascending order. Throws ValueError when second >
/// size.
std::pair<std::vector<index_t>, std::vector<index_t>> split_items(index_t size, index_t second,
                                                                  std::uint64_t seed);
/// The same as data sets: {train, validation}.
std::pair<DatasetPtr, DatasetPtr> split(DatasetPtr base, index_t validation, std::uint64_t seed);

/// The items whose label for `task` is one of `classes`, ascending.
std::vector<index_t> items_of_classes(const Dataset& base, std::span<const std::int64_t> classes,
                                      int task = 0);
/// `per_class` random items of each class, ascending. Throws ValueError when a class has fewer.
std::vector<index_t> few_per_class(const Dataset& base, index_t per_class, std::uint64_t seed,
                                   int task = 0);

/// One binary task per entry of `classes`: label 1 where `task` of `base` says that class, 0
/// elsewhere (kIgnoreLabel stays). Class pairs: one_vs_rest(base, {A, B}) asks "is it A" and "is it
/// B".
DatasetPtr one_vs_rest(DatasetPtr base, std::span<const std::int64_t> classes, int task = 0);
/// All but `keep` random labels of `task` become kIgnoreLabel; the others tasks keep theirs. Among
/// the kept, each class has its share to within one label, and at least one while `keep` allows.
DatasetPtr keep_labels(DatasetPtr base, int task, index_t keep, std::uint64_t seed);

}  // namespace concord::data
