#include <concord/data/subset.h>

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace concord::data {
namespace {

std::vector<index_t> shuffled(std::vector<index_t> items, const Rng& rng) {
  std::vector<index_t> order(items.size());
  rng.permutation(order);
  for (index_t& k : order) k = items[k];
  return order;
}

/// The items of each class of a task.
std::vector<std::vector<index_t>> by_class(const Dataset& base, int task) {
  std::vector<std::vector<index_t>> items(base.targets().at(task).classes);
  for (index_t i = 0; i < base.size(); ++i) {
    if (const std::int64_t c = base.label(i, task); c != kIgnoreLabel) items[c].push_back(i);
  }
  return items;
}

/// All labels of a data set, i64 [T,N].
Tensor label_table(const Dataset& base) {
  const Tensor table = Tensor::empty({base.tasks(), base.size()}, DType::i64);
  for (int t = 0; t < base.tasks(); ++t) {
    for (index_t i = 0; i < base.size(); ++i) table[t].data<std::int64_t>()[i] = base.label(i, t);
  }
  return table;
}

}  // namespace

Subset::Subset(DatasetPtr base, std::vector<index_t> items)
    : base_(std::move(base)), items_(std::move(items)) {
  for (const index_t i : items_) {
    if (i < 0 || i >= base_->size()) {
      throw ValueError(
          fmt::format("subset: item {} does not exist, there are {}", i, base_->size()));
    }
  }
}

Relabelled::Relabelled(DatasetPtr base, Tensor labels, std::vector<Target> targets)
    : base_(std::move(base)), labels_(std::move(labels)), targets_(std::move(targets)) {
  check_dtype("relabelled", "labels", labels_, DType::i64);
  check_shape("relabelled", "labels", labels_, {tasks(), size()});
}

void Relabelled::read_labels(index_t item, int task, const Rng&,
                             std::span<std::int64_t> out) const {
  out[0] = labels_.data<std::int64_t>()[task * size() + item];
}

DatasetPtr first_n(DatasetPtr base, index_t n) {
  std::vector<index_t> items(std::clamp<index_t>(n, 0, base->size()));
  std::iota(items.begin(), items.end(), index_t{0});
  return std::make_shared<Subset>(std::move(base), std::move(items));
}

std::pair<std::vector<index_t>, std::vector<index_t>> split_items(index_t size, index_t second,
                                                                  std::uint64_t seed) {
  if (second < 0 || second > size) {
    throw ValueError(fmt::format("split: {} items in the second part, there are {}", second, size));
  }
  std::vector<index_t> order(size);
  Rng(seed).fork("split").permutation(order);
  std::pair<std::vector<index_t>, std::vector<index_t>> parts;
  parts.first.assign(order.begin() + second, order.end());
  parts.second.assign(order.begin(), order.begin() + second);
  std::sort(parts.first.begin(), parts.first.end());
  std::sort(parts.second.begin(), parts.second.end());
  return parts;
}

std::pair<DatasetPtr, DatasetPtr> split(DatasetPtr base, index_t validation, std::uint64_t seed) {
  auto [first, second] = split_items(base->size(), validation, seed);
  return {std::make_shared<Subset>(base, std::move(first)),
          std::make_shared<Subset>(base, std::move(second))};
}

std::vector<index_t> items_of_classes(const Dataset& base, std::span<const std::int64_t> classes,
                                      int task) {
  std::vector<index_t> items;
  for (index_t i = 0; i < base.size(); ++i) {
    if (std::find(classes.begin(), classes.end(), base.label(i, task)) != classes.end())
      items.push_back(i);
  }
  return items;
}

std::vector<index_t> few_per_class(const Dataset& base, index_t per_class, std::uint64_t seed,
                                   int task) {
  std::vector<index_t> few;
  const auto classes = by_class(base, task);
  for (std::size_t c = 0; c < classes.size(); ++c) {
    if (static_cast<index_t>(classes[c].size()) < per_class) {
      throw ValueError(fmt::format("few_per_class: class {} has {} items, expected at least {}", c,
                                   classes[c].size(), per_class));
    }
    const auto order = shuffled(classes[c], Rng(seed).fork("few").fork(c));
    few.insert(few.end(), order.begin(), order.begin() + per_class);
  }
  std::sort(few.begin(), few.end());
  return few;
}

DatasetPtr one_vs_rest(DatasetPtr base, std::span<const std::int64_t> classes, int task) {
  const index_t tasks = static_cast<index_t>(classes.size());
  const Tensor labels = Tensor::empty({tasks, base->size()}, DType::i64);
  std::vector<Target> targets;
  for (index_t t = 0; t < tasks; ++t) {
    const int count = base->targets().at(task).classes;
    if (classes[t] < 0 || classes[t] >= count) {
      throw ValueError(
          fmt::format("one_vs_rest: class {} does not exist, there are {}", classes[t], count));
    }
    targets.push_back({fmt::format("is_{}", classes[t]), 2, {}});
    const Tensor row = labels[t];
    for (index_t i = 0; i < base->size(); ++i) {
      const std::int64_t c = base->label(i, task);
      row.data<std::int64_t>()[i] = c == kIgnoreLabel ? kIgnoreLabel : c == classes[t];
    }
  }
  return std::make_shared<Relabelled>(std::move(base), labels, std::move(targets));
}

DatasetPtr keep_labels(DatasetPtr base, int task, index_t keep, std::uint64_t seed) {
  auto classes = by_class(*base, task);
  index_t known = 0;
  for (std::size_t c = 0; c < classes.size(); ++c) {
    known += static_cast<index_t>(classes[c].size());
    classes[c] = shuffled(classes[c], Rng(seed).fork("keep").fork(c));
  }
  if (keep < 0 || keep > known) {
    throw ValueError(fmt::format("keep_labels: {} labels to keep, there are {}", keep, known));
  }
  // Largest remainder (Hamilton): the whole part of each class's share, then the largest fractions.
  std::vector<index_t> quota(classes.size());
  std::vector<std::size_t> by_fraction(classes.size());
  std::iota(by_fraction.begin(), by_fraction.end(), std::size_t{0});
  index_t given = 0;
  const auto share = [&](std::size_t c) { return keep * static_cast<index_t>(classes[c].size()); };
  for (std::size_t c = 0; c < classes.size(); ++c) given += quota[c] = known ? share(c) / known : 0;
  std::stable_sort(by_fraction.begin(), by_fraction.end(), [&](std::size_t a, std::size_t b) {
    const bool a_empty = quota[a] == 0 && !classes[a].empty(),
               b_empty = quota[b] == 0 && !classes[b].empty();
    return a_empty != b_empty ? a_empty : share(a) % known > share(b) % known;
  });
  for (std::size_t k = 0; given < keep; k = (k + 1) % by_fraction.size()) {
    const std::size_t c = by_fraction[k];
    if (quota[c] < static_cast<index_t>(classes[c].size())) ++quota[c], ++given;
  }

  const Tensor labels = label_table(*base);
  const Tensor row = labels[task];
  row.fill(static_cast<double>(kIgnoreLabel));
  for (std::size_t c = 0; c < classes.size(); ++c) {
    for (index_t k = 0; k < quota[c]; ++k) {
      row.data<std::int64_t>()[classes[c][k]] = static_cast<std::int64_t>(c);
    }
  }
  auto targets = base->targets();
  return std::make_shared<Relabelled>(std::move(base), labels, std::move(targets));
}

}  // namespace concord::data
