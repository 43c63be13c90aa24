// Multi-Fashion pixel by pixel, and its parts.
#include <concord/data/mnist.h>
#include <concord/data/multi_fashion.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace concord;
using namespace concord::data;

namespace {

/// n images of random bytes, label i % 10.
ImageSetPtr noise(index_t n, std::uint64_t seed) {
  const Tensor images = Tensor::empty({n, 1, 28, 28}, DType::u8),
               labels = Tensor::empty({1, n}, DType::i64);
  for (index_t i = 0; i < images.numel(); ++i) {
    images.data<std::uint8_t>()[i] =
        static_cast<std::uint8_t>(Rng(seed).below(static_cast<std::uint64_t>(i), 256));
  }
  for (index_t i = 0; i < n; ++i) labels.data<std::int64_t>()[i] = i % 10;
  return std::make_shared<ImageSet>(images, labels, std::vector<Target>{{"class", 10, {}}});
}

MultiFashionSources noise_sources() {
  return {noise(40, 1), noise(11, 2), noise(40, 3), noise(13, 4)};
}

MultiFashionOptions small_options() {
  return {.train = 75, .validation = 9, .test = 23, .validation_base = 7, .seed = 5};
}

}  // namespace

TEST_CASE("each pixel is the maximum of the two items at their corners") {
  const MultiFashionSources sources = noise_sources();
  for (const index_t offset : {8, 6}) {
    MultiFashionOptions options = small_options();
    options.right_offset = offset;
    const MultiFashionPairs pairs = multi_fashion_pairs(sources, options);
    const Splits splits = multi_fashion(sources, options);
    CHECK(splits.train->size() == 75);
    CHECK(splits.validation->size() == 9);
    CHECK(splits.test->size() == 23);
    CHECK(splits.train->input_shape() == Shape{1, 36, 36});
    const auto& test = dynamic_cast<const ImageSet&>(*splits.test);
    for (const index_t k : {0, 12, 22}) {
      const auto left = static_cast<index_t>(pairs.test.at({k, 0}));
      const auto right = static_cast<index_t>(pairs.test.at({k, 1}));
      CHECK(test.label(k, 0) == left % 10);
      CHECK(test.label(k, 1) == right % 10);
      for (index_t y = 0; y < 36; ++y) {
        for (index_t x = 0; x < 36; ++x) {
          double expected = 0;
          if (y < 28 && x < 28) expected = sources.left_test->images().at({left, 0, y, x});
          const index_t v = y - offset, u = x - offset;
          if (v >= 0 && u >= 0 && v < 28 && u < 28) {
            expected = std::max(expected, sources.right_test->images().at({right, 0, v, u}));
          }
          REQUIRE(test.images().at({k, 0, y, x}) == expected);
        }
      }
    }
  }
}

TEST_CASE("no base image serves two parts; pairing is a matter of the seed") {
  const MultiFashionSources sources = noise_sources();
  const MultiFashionOptions options = small_options();
  const MultiFashionPairs pairs = multi_fashion_pairs(sources, options);
  for (const index_t side : {0, 1}) {
    std::set<double> train, validation;
    for (index_t k = 0; k < 75; ++k) train.insert(pairs.train.at({k, side}));
    for (index_t k = 0; k < 9; ++k) validation.insert(pairs.validation.at({k, side}));
    CHECK(train.size() == 33);
    CHECK(validation.size() == 7);
    for (const double item : validation) {
      CHECK(train.count(item) == 0);
      // Both sources have 40 images, perhaps the same ones: an item held out left is held out
      // right.
      for (index_t k = 0; k < 75; ++k) CHECK(pairs.train.at({k, 1 - side}) != item);
    }
  }
  // A new permutation of the right items every 33 images.
  std::vector<double> first, second;
  for (index_t k = 0; k < 33; ++k) {
    CHECK(pairs.train.at({k, 0}) == pairs.train.at({33 + k, 0}));
    first.push_back(pairs.train.at({k, 1}));
    second.push_back(pairs.train.at({33 + k, 1}));
  }
  CHECK(first != second);
  std::ranges::sort(first);
  std::ranges::sort(second);
  CHECK(first == second);

  const auto values = [](const MultiFashionPairs& p) { return p.train.values<std::int64_t>(); };
  CHECK(std::ranges::equal(values(multi_fashion_pairs(sources, options)), values(pairs)));
  MultiFashionOptions other = options;
  other.seed = 6;
  CHECK_FALSE(std::ranges::equal(values(multi_fashion_pairs(sources, other)), values(pairs)));
}

TEST_CASE("sizes that cannot be met") {
  const MultiFashionSources sources = noise_sources();
  MultiFashionOptions options = small_options();
  options.right_offset = 9;
  CHECK_THROWS_WITH_AS(
      multi_fashion(sources, options),
      "multi_fashion: right train of 28x28 at offset 9 does not fit a canvas of 36", ValueError);
  options = small_options();
  options.validation_base = 40;
  CHECK_THROWS_WITH_AS(multi_fashion(sources, options),
                       "multi_fashion: 75 images from 0 left and 0 right items", ValueError);
}

TEST_CASE("the real Fashion-MNIST and its documented constants") {
  if (!std::filesystem::exists(kFashionMnistFolder)) {
    MESSAGE("skipped: the Debian package dataset-fashion-mnist is not installed");
    return;
  }
  const MultiFashionSources sources = fashion_sources();
  CHECK(sources.left_train->size() == 60000);
  CHECK(sources.left_test->size() == 10000);
  CHECK(sources.left_train->label(0) == 9);  // an ankle boot
  const auto statistics = [](const ImageSet& set) {
    std::uint64_t histogram[256] = {};
    for (const std::uint8_t v : set.images().values<std::uint8_t>()) ++histogram[v];
    double sum = 0, squares = 0;
    for (int v = 0; v < 256; ++v) {
      sum += static_cast<double>(histogram[v]) * v / 255;
      squares += static_cast<double>(histogram[v]) * v * v / (255.0 * 255);
    }
    const double n = static_cast<double>(set.images().numel()), mean = sum / n;
    return std::pair(mean, std::sqrt(squares / n - mean * mean));
  };
  const auto [mean, deviation] = statistics(*sources.left_train);
  CHECK(mean == doctest::Approx(kFashionMnistMean).epsilon(2e-4));
  CHECK(deviation == doctest::Approx(kFashionMnistDeviation).epsilon(2e-4));

  const MultiFashionOptions options{.validation = 10, .test = 10};
  const Splits splits = multi_fashion(sources, options);
  CHECK(splits.train->size() == 60000);
  const auto [multi_mean, multi_deviation] =
      statistics(dynamic_cast<const ImageSet&>(*splits.train));
  CHECK(multi_mean == doctest::Approx(options.mean).epsilon(2e-4));
  CHECK(multi_deviation == doctest::Approx(options.deviation).epsilon(2e-4));
}
