// Data sets in memory, their subsets and relabellings.
#include <concord/data/subset.h>

#include <doctest/doctest.h>

#include <algorithm>

using namespace concord;
using namespace concord::data;

namespace {

/// 13 images of 2x3x4; image i has bytes 20 i + position; label i % 3.
ImageSetPtr small_images(Normalisation normalisation = {}) {
  const Tensor images = Tensor::empty({13, 2, 3, 4}, DType::u8),
               labels = Tensor::empty({1, 13}, DType::i64);
  for (index_t i = 0; i < 13; ++i) {
    for (index_t k = 0; k < 24; ++k)
      images.data<std::uint8_t>()[i * 24 + k] = static_cast<std::uint8_t>(20 * i + k);
    labels.data<std::int64_t>()[i] = i % 3;
  }
  return std::make_shared<ImageSet>(images, labels, std::vector<Target>{{"class", 3, {}}},
                                    normalisation);
}

std::string message(auto&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing thrown";
}

}  // namespace

TEST_CASE("images are scaled and normalised per channel on reading") {
  const ImageSetPtr set = small_images({{0.25, 0.5}, {0.5, 2.0}});
  CHECK(set->size() == 13);
  CHECK(set->input_shape() == Shape{2, 3, 4});
  Batch batch;
  const index_t items[] = {7, 2};
  set->read(items, Rng(1), batch);
  CHECK(batch.size == 2);
  CHECK(batch.input.shape() == Shape{2, 2, 3, 4});
  CHECK(batch.input.at({0, 0, 1, 2}) == doctest::Approx((146.0 / 255 - 0.25) / 0.5));
  CHECK(batch.input.at({1, 1, 2, 3}) == doctest::Approx((63.0 / 255 - 0.5) / 2.0));
  REQUIRE(batch.targets.size() == 1);
  CHECK(batch.targets[0].shape() == Shape{2});
  CHECK(batch.targets[0].at({0}) == 1);
  CHECK(batch.targets[0].at({1}) == 2);
}

TEST_CASE("a batch already handed out is not overwritten by the next read") {
  const ImageSetPtr set = small_images();
  Batch batch;
  const index_t first[] = {1}, second[] = {2};
  set->read(first, Rng(), batch);
  const Tensor kept = batch.input;
  const Tensor copy = kept.clone();
  set->read(second, Rng(), batch);
  CHECK(std::ranges::equal(kept.values<float>(), copy.values<float>()));
  CHECK_FALSE(kept.shares_memory_with(batch.input));
}

TEST_CASE("what does not fit together is said") {
  const ImageSetPtr set = small_images();
  Batch batch;
  const index_t items[] = {13};
  CHECK(message([&] { set->read(items, Rng(), batch); }) ==
        "dataset: item 13 does not exist, there are 13");
  CHECK(message([&] { Subset(set, {0, -1}); }) == "subset: item -1 does not exist, there are 13");
  CHECK(message([&] { (void)set->label(0, 1); }) == "dataset: task 1 has no single class label");
  CHECK(message([&] {
          ImageSet(set->images(), set->labels(), {{"class", 2, {}}});
        }) == "image set: label 2 of task 'class' is 2, expected 0 to 1");
  CHECK(message([&] {
          small_images({{0.1, 0.2, 0.3}, {1.0}});
        }) ==
        "image set: 3 means and 1 deviations for 2 channels, expected one for all or each, "
        "deviations positive");
  CHECK(message([&] {
          small_images({{0.1}, {0.0}});
        }) ==
        "image set: 1 means and 1 deviations for 2 channels, expected one for all or each, "
        "deviations positive");
  CHECK(message([&] { split_items(5, 6, 0); }) == "split: 6 items in the second part, there are 5");
  CHECK(message([&] { few_per_class(*set, 5, 0); }) ==
        "few_per_class: class 1 has 4 items, expected at least 5");
  const std::int64_t classes[] = {3};
  CHECK(message([&] { one_vs_rest(set, classes); }) ==
        "one_vs_rest: class 3 does not exist, there are 3");
  CHECK(message([&] { keep_labels(set, 0, 14, 0); }) ==
        "keep_labels: 14 labels to keep, there are 13");
}

TEST_CASE("values and dense labels") {
  const Tensor inputs = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  const Tensor mask = Tensor::from<std::int64_t>({0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0}, {3, 2, 2});
  const Tensor depth = Tensor::from<float>({.5f, 1.5f, 2.5f}, {3, 1});
  const TensorSet set(inputs, {mask, depth}, {{"mask", 2, {2, 2}}, {"depth", 0, {1}}});
  Batch batch;
  const index_t items[] = {2, 0};
  set.read(items, Rng(), batch);
  CHECK(batch.input.at({0, 1}) == 6);
  CHECK(batch.targets[0].shape() == Shape{2, 2, 2});
  CHECK(batch.targets[0].at({0, 1, 0}) == 1);
  CHECK(batch.targets[0].at({0, 1, 1}) == 0);
  CHECK(batch.targets[1].dtype() == DType::f32);
  CHECK(batch.targets[1].at({0, 0}) == 2.5);
  CHECK(message([&] {
          TensorSet(inputs, {mask}, {{"mask", 2, {2, 3}}});
        }) == "tensor set: mask has shape [3,2,2], needs [3,2,3]\n  mask  i64[3,2,2]  cpu");
}

TEST_CASE("splits are disjoint, complete and a matter of the seed") {
  const auto [train, validation] = split_items(101, 17, 5);
  CHECK(train.size() == 84);
  CHECK(validation.size() == 17);
  std::vector<index_t> all(train);
  all.insert(all.end(), validation.begin(), validation.end());
  std::ranges::sort(all);
  for (index_t i = 0; i < 101; ++i) CHECK(all[i] == i);
  CHECK(split_items(101, 17, 5).second == validation);
  CHECK(split_items(101, 17, 6).second != validation);
}

TEST_CASE("selections by class") {
  const ImageSetPtr set = small_images();
  const std::int64_t classes[] = {2, 0};
  CHECK(items_of_classes(*set, classes) == std::vector<index_t>{0, 2, 3, 5, 6, 8, 9, 11, 12});
  const auto few = few_per_class(*set, 2, 3);
  CHECK(few.size() == 6);
  int count[3] = {};
  for (const index_t i : few) ++count[set->label(i)];
  CHECK((count[0] == 2 && count[1] == 2 && count[2] == 2));
  CHECK(few_per_class(*set, 2, 3) == few);
  const DatasetPtr three = first_n(set, 3);
  CHECK(three->size() == 3);
  CHECK(three->label(2) == 2);
}

TEST_CASE("one-vs-rest tasks and labels kept for a few items only") {
  const ImageSetPtr set = small_images();
  const std::int64_t classes[] = {2, 0};
  const DatasetPtr pair = one_vs_rest(set, classes);
  REQUIRE(pair->tasks() == 2);
  CHECK(pair->targets()[0].name == "is_2");
  for (index_t i = 0; i < 13; ++i) {
    CHECK(pair->label(i, 0) == (i % 3 == 2));
    CHECK(pair->label(i, 1) == (i % 3 == 0));
  }
  const DatasetPtr few = keep_labels(pair, 0, 7, 1);  // 4 of 13 are class 2: share 2.15 of 7
  int kept = 0, ones = 0;
  for (index_t i = 0; i < 13; ++i) {
    CHECK(few->label(i, 1) == pair->label(i, 1));
    if (few->label(i, 0) == kIgnoreLabel) continue;
    CHECK(few->label(i, 0) == pair->label(i, 0));
    ++kept;
    ones += static_cast<int>(few->label(i, 0));
  }
  CHECK(kept == 7);
  CHECK(ones == 2);
  const DatasetPtr one_each = keep_labels(pair, 0, 2, 1);  // shares 1.4 and 0.6
  int sum = 0;
  for (index_t i = 0; i < 13; ++i) sum += one_each->label(i, 0) == 1;
  CHECK(sum == 1);
}
