#include <concord/data/mnist.h>
#include <concord/data/multi_fashion.h>
#include <concord/data/subset.h>

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace concord::data {
namespace {

/// `count` pairs of the base images `left` and `right`, i64 [count,2].
Tensor pair_up(std::span<const index_t> left, std::span<const index_t> right, index_t count,
               const Rng& rng) {
  if (count < 0 || (count > 0 && (left.empty() || right.empty()))) {
    throw ValueError(fmt::format("multi_fashion: {} images from {} left and {} right items", count,
                                 left.size(), right.size()));
  }
  const Tensor pairs = Tensor::empty({count, 2}, DType::i64);
  std::vector<index_t> order(right.size());
  for (index_t k = 0; k < count; ++k) {
    const index_t at = k % static_cast<index_t>(right.size()),
                  round = k / static_cast<index_t>(right.size());
    if (at == 0) rng.fork(static_cast<std::uint64_t>(round)).permutation(order);
    pairs.data<std::int64_t>()[2 * k] = left[k % static_cast<index_t>(left.size())];
    pairs.data<std::int64_t>()[2 * k + 1] = right[order[at]];
  }
  return pairs;
}

std::vector<index_t> all_of(const ImageSet& set) {
  std::vector<index_t> items(set.size());
  std::iota(items.begin(), items.end(), index_t{0});
  return items;
}

/// canvas = max(canvas, item), the item's first pixel at (offset, offset).
void overlay(const Tensor& item, index_t offset, index_t canvas, std::uint8_t* out) {
  const index_t height = item.dim(1), width = item.dim(2);
  const std::uint8_t* in = item.data<std::uint8_t>();
  for (index_t y = 0; y < height; ++y) {
    std::uint8_t* row = out + (y + offset) * canvas + offset;
    for (index_t x = 0; x < width; ++x) row[x] = std::max(row[x], in[y * width + x]);
  }
}

DatasetPtr compose(const ImageSet& left, const ImageSet& right, const Tensor& pairs,
                   const MultiFashionOptions& options) {
  const index_t n = pairs.dim(0), canvas = options.canvas;
  const Tensor images = Tensor::zeros({n, 1, canvas, canvas}, DType::u8);
  const Tensor labels = Tensor::empty({2, n}, DType::i64);
  const std::int64_t* pair = pairs.data<std::int64_t>();
  for (index_t k = 0; k < n; ++k, pair += 2) {
    std::uint8_t* image = images.data<std::uint8_t>() + k * canvas * canvas;
    overlay(left.images()[pair[0]], 0, canvas, image);
    overlay(right.images()[pair[1]], options.right_offset, canvas, image);
    labels.data<std::int64_t>()[k] = left.label(pair[0]);
    labels.data<std::int64_t>()[n + k] = right.label(pair[1]);
  }
  std::vector<Target> targets{{"left", left.targets()[0].classes, {}},
                              {"right", right.targets()[0].classes, {}}};
  return std::make_shared<ImageSet>(images, labels, std::move(targets),
                                    Normalisation{{options.mean}, {options.deviation}});
}

void check_source(std::string_view which, const ImageSet& set, index_t offset, index_t canvas) {
  const Tensor& images = set.images();
  if (images.dim(1) != 1 || set.tasks() != 1) {
    throw ShapeError(fmt::format("multi_fashion: {} has {} channels and {} tasks, expected 1 and 1",
                                 which, images.dim(1), set.tasks()),
                     {{std::string(which), describe(images)}});
  }
  if (offset < 0 || std::max(images.dim(2), images.dim(3)) + offset > canvas) {
    throw ValueError(
        fmt::format("multi_fashion: {} of {}x{} at offset {} does not fit a canvas of {}", which,
                    images.dim(2), images.dim(3), offset, canvas));
  }
}

}  // namespace

MultiFashionPairs multi_fashion_pairs(const MultiFashionSources& s, const MultiFashionOptions& o) {
  const auto [left_train, left_validation] =
      split_items(s.left_train->size(), o.validation_base, o.seed);
  const auto [right_train, right_validation] =
      split_items(s.right_train->size(), o.validation_base, o.seed);
  const Rng rng = Rng(o.seed).fork("multi_fashion");
  return {pair_up(left_train, right_train, o.train, rng.fork("train")),
          pair_up(left_validation, right_validation, o.validation, rng.fork("validation")),
          pair_up(all_of(*s.left_test), all_of(*s.right_test), o.test, rng.fork("test"))};
}

Splits multi_fashion(const MultiFashionSources& s, const MultiFashionOptions& o) {
  check_source("left train", *s.left_train, 0, o.canvas);
  check_source("left test", *s.left_test, 0, o.canvas);
  check_source("right train", *s.right_train, o.right_offset, o.canvas);
  check_source("right test", *s.right_test, o.right_offset, o.canvas);
  const MultiFashionPairs pairs = multi_fashion_pairs(s, o);
  return {compose(*s.left_train, *s.right_train, pairs.train, o),
          compose(*s.left_train, *s.right_train, pairs.validation, o),
          compose(*s.left_test, *s.right_test, pairs.test, o)};
}

MultiFashionSources fashion_sources(const std::string& folder) {
  const std::string from = folder.empty() ? kFashionMnistFolder : folder;
  const ImageSetPtr train = load_fashion_mnist(Part::train, from),
                    test = load_fashion_mnist(Part::test, from);
  return {train, test, train, test};
}

}  // namespace concord::data
