// Transforms against values worked out by hand, and the sources of their randomness.
#include <concord/data/generators.h>
#include <concord/data/loader.h>
#include <concord/data/registry.h>
#include <concord/data/transforms.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace concord;
using namespace concord::data;

namespace {

void check_values(const Tensor& t, const Shape& shape, std::initializer_list<double> expected) {
  REQUIRE(t.shape() == shape);
  std::size_t i = 0;
  for (const double e : expected) CHECK(t.values<float>()[i++] == doctest::Approx(e).epsilon(1e-6));
}

const Tensor& image() {  // two channels of 2x3
  static const Tensor t =
      Tensor::from<float>({1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60}, {2, 2, 3});
  return t;
}

}  // namespace

TEST_CASE("normalise, crop, flip") {
  const double mean[] = {2, 10}, deviation[] = {0.5};
  check_values(normalise(image(), mean, deviation), {2, 2, 3},
               {-2, 0, 2, 4, 6, 8, 0, 20, 40, 60, 80, 100});
  check_values(flip_horizontal(image()), {2, 2, 3}, {3, 2, 1, 6, 5, 4, 30, 20, 10, 60, 50, 40});
  check_values(crop(image(), 1, 1, 1, 2), {2, 1, 2}, {5, 6, 50, 60});
  check_values(crop(image(), -1, -1, 2, 3), {2, 2, 3}, {0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 10, 20});
  check_values(crop(image(), 1, 2, 2, 3), {2, 2, 3}, {6, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0});
  check_values(crop(image(), 7, 9, 1, 2), {2, 1, 2}, {0, 0, 0, 0});
  CHECK_THROWS_WITH_AS(crop(image(), 0, 0, 0, 3), "crop: size 0x3, expected at least 1x1",
                       ValueError);
}

TEST_CASE("rotate turns counter-clockwise about the centre") {
  const Tensor square = Tensor::from<float>({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 3, 3});
  for (const Sampling sampling : {Sampling::nearest, Sampling::bilinear}) {
    check_values(rotate(square, 90, sampling), {1, 3, 3}, {3, 6, 9, 2, 5, 8, 1, 4, 7});
    check_values(rotate(square, -450, sampling), {1, 3, 3}, {7, 4, 1, 8, 5, 2, 9, 6, 3});
    check_values(rotate(image(), 180, sampling), {2, 2, 3},
                 {6, 5, 4, 3, 2, 1, 60, 50, 40, 30, 20, 10});
  }
  // By 45 degrees the middle of the top edge comes from (1 - 1/sqrt 2, 1 + 1/sqrt 2): between 2, 3,
  // 5 and 6.
  const double f = std::sqrt(0.5);
  const double expected = f * f * 3 + f * (1 - f) * 2 + (1 - f) * f * 6 + (1 - f) * (1 - f) * 5;
  CHECK(rotate(square, 45).at({0, 0, 1}) == doctest::Approx(expected));
  CHECK(rotate(square, 45).at({0, 1, 1}) == doctest::Approx(5));
  // The corner comes from (1, 1 - sqrt 2): outside, all but 1 - (sqrt 2 - 1) of the pixel left of
  // it.
  CHECK(rotate(square, 45).at({0, 0, 0}) == doctest::Approx((2 - std::sqrt(2.0)) * 2));
}

TEST_CASE("resize as PyTorch's interpolate") {
  const Tensor row = Tensor::from<float>({0, 10, 20, 30}, {1, 1, 4});
  check_values(resize(row, 1, 8), {1, 1, 8}, {0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30});
  check_values(resize(row, 1, 2), {1, 1, 2}, {5, 25});
  check_values(resize(row, 2, 3, Sampling::nearest), {1, 2, 3}, {0, 10, 20, 0, 10, 20});
  // Halved: the triangle of half-width 2 about 0.5 covers -1.5 .. 2.5, weights 3 : 3 : 1 inside.
  check_values(resize(row, 1, 2, Sampling::antialiased), {1, 1, 2}, {50.0 / 7, 160.0 / 7});
  check_values(resize(row, 1, 8, Sampling::antialiased), {1, 1, 8},
               {0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30});
  check_values(resize(image(), 1, 3), {2, 1, 3}, {2.5, 3.5, 4.5, 25, 35, 45});
  check_values(crop_and_resize(image(), 2, 2), {2, 2, 2}, {1, 2, 4, 5, 10, 20, 40, 50});
  check_values(crop_and_resize(image(), 1, 3), {2, 1, 3}, {1, 2, 3, 10, 20, 30});
}

TEST_CASE("random transforms are functions of seed, epoch and item") {
  const index_t n = 40;
  const Tensor images = Tensor::empty({n, 1, 5, 7}, DType::u8),
               labels = Tensor::zeros({1, n}, DType::i64);
  for (index_t i = 0; i < images.numel(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i % 35 + 1);
  const auto base =
      std::make_shared<ImageSet>(images, labels, std::vector<Target>{{"class", 2, {}}});
  const auto set = std::make_shared<Transformed>(
      base, std::vector<Transform>{random_crop(4, 6, 2), random_flip(), random_rotation(20),
                                   normalising({0.5}, {0.5})});
  CHECK(set->input_shape() == Shape{1, 4, 6});
  const auto epoch = [&](LoaderOptions options, index_t number) {
    options.shuffle = false;
    Loader loader(set, options);
    loader.seek({number, 0});
    std::vector<float> values;
    Batch batch;
    for (index_t b = 0; b < loader.batches_per_epoch(); ++b) {
      loader.next(batch);
      values.insert(values.end(), batch.input.values<float>().begin(),
                    batch.input.values<float>().end());
    }
    return values;
  };
  const auto plain = epoch({.batch_size = 8, .seed = 2}, 0);
  CHECK(epoch({.batch_size = 13, .workers = 3, .seed = 2}, 0) == plain);
  CHECK(epoch({.batch_size = 8, .seed = 2}, 1) != plain);
  CHECK(epoch({.batch_size = 8, .seed = 3}, 0) != plain);
  // All items hold the same picture, and are treated differently.
  CHECK_FALSE(std::equal(plain.begin(), plain.begin() + 24, plain.begin() + 24));
}

TEST_CASE("a random crop takes every window, a random flip half of the time") {
  const Transform cropping = random_crop(2, 3, 1), flipping = random_flip(0.25);
  bool seen[3][3] = {};
  int flipped = 0;
  const int draws = 2000;
  for (int k = 0; k < draws; ++k) {
    const Rng rng(static_cast<std::uint64_t>(k));
    const Tensor window = cropping(image(), rng);
    for (index_t top = -1; top <= 1; ++top) {
      for (index_t left = -1; left <= 1; ++left) {
        seen[top + 1][left + 1] |= std::ranges::equal(
            window.values<float>(), crop(image(), top, left, 2, 3).values<float>());
      }
    }
    flipped += flipping(image(), rng).at({0, 0, 0}) == 3;
  }
  CHECK(std::all_of(&seen[0][0], &seen[0][0] + 9, [](bool b) { return b; }));
  CHECK(std::abs(flipped - draws / 4) < 4 * std::sqrt(draws * 0.25 * 0.75));
  CHECK_THROWS_WITH_AS(random_crop(5, 3, 1)(image(), Rng()),
                       "random_crop: window 5x3 exceeds the image with 1 pixels of padding\n  "
                       "image  f32[2,2,3]  cpu",
                       ShapeError);
}

TEST_CASE("rotated sets keep labels and turn pixels") {
  const Tensor images = Tensor::from<std::uint8_t>({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 1, 3, 3});
  const ImageSet set(images, Tensor::from<std::int64_t>({1}, {1, 1}), {{"class", 2, {}}});
  const ImageSetPtr turned = rotated(set, 90);
  CHECK(turned->images().at({0, 0, 0, 0}) == 3);
  CHECK(turned->images().at({0, 0, 2, 0}) == 1);
  CHECK(turned->label(0) == 1);
}

TEST_CASE("generated sets are what they say") {
  const LinearTasks linear = linear_tasks(50, 7, 3, -0.3, 0.0, 4);
  CHECK(linear.set->tasks() == 3);
  const double* w = linear.weights.data<double>();
  for (int t = 0; t < 3; ++t) {
    for (int u = 0; u < 3; ++u) {
      double dot = 0;
      for (int k = 0; k < 7; ++k) dot += w[t * 7 + k] * w[u * 7 + k];
      CHECK(dot == doctest::Approx(t == u ? 1.0 : -0.3));
    }
  }
  Batch batch;
  const index_t items[] = {11};
  linear.set->read(items, Rng(), batch);
  double y = 0;
  for (int k = 0; k < 7; ++k) y += w[2 * 7 + k] * batch.input.at({0, k});
  CHECK(batch.targets[2].at({0}) == doctest::Approx(y));
  CHECK_THROWS_AS(linear_tasks(5, 7, 3, -0.6, 0.0, 4), ValueError);

  const TensorSetPtr moons = two_moons(30, 0.0, 1);
  const Dataset& set = *moons;
  for (const index_t i : {4, 5}) {
    const index_t one[] = {i};
    set.read(one, Rng(), batch);
    const double x = batch.input.at({0, 0}), v = batch.input.at({0, 1});
    CHECK((i % 2 ? std::hypot(x - 1, v - 0.5) : std::hypot(x, v)) == doctest::Approx(1));
    CHECK((i % 2 ? v <= 0.5 : v >= 0));
  }
  CHECK(gaussian_blobs(10, 3, 4, 1.0, 1)->label(5) == 2);
}

TEST_CASE("data sets by name") {
  for (const DatasetEntry& entry : datasets()) {
    CHECK(&find_dataset(entry.name) == &entry);
    CHECK_FALSE(entry.help.empty());
  }
  const Splits splits =
      find_dataset("linear_tasks").open({.train = 100, .validation = 50, .seed = 1});
  CHECK(splits.train->size() == 100);
  CHECK(splits.validation->size() == 50);
  CHECK(splits.test->size() == 1000);
  CHECK_THROWS_WITH_AS(find_dataset("mnist").open({}),
                       "data set 'mnist': needs a path, none is given", ValueError);
  try {
    find_dataset("multifashion");
    FAIL("an unknown name was found");
  } catch (const ValueError& e) {
    CHECK(std::string(e.what()).rfind("unknown data set 'multifashion'\n  nearest  multi_fashion",
                                      0) == 0);
  }
}
