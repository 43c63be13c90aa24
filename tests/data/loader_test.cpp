// The loader: the same batches whatever the workers, resumable, orderly in failure.
#include <concord/data/loader.h>
#include <concord/tensor/storage.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace concord;
using namespace concord::data;

namespace {

/// Item i: input (i, a random number of the item), label i % 5, value i / 2. Reading `bad` throws.
class Counting final : public Dataset {
 public:
  explicit Counting(index_t size, index_t bad = -1) : size_(size), bad_(bad) {}
  index_t size() const override { return size_; }
  Shape input_shape() const override { return {2}; }
  const std::vector<Target>& targets() const override { return targets_; }
  void read_input(index_t item, const Rng& rng, std::span<float> out) const override {
    if (item == bad_) throw FileError("counting: item cannot be read");
    out[0] = static_cast<float>(item);
    out[1] = static_cast<float>(rng.uniform(0));
  }
  void read_labels(index_t item, int, const Rng&, std::span<std::int64_t> out) const override {
    out[0] = item % 5;
  }
  void read_values(index_t item, int, const Rng&, std::span<float> out) const override {
    out[0] = static_cast<float>(item) / 2;
  }

 private:
  index_t size_, bad_;
  std::vector<Target> targets_{{"class", 5, {}}, {"half", 0, {}}};
};

using Stream = std::vector<std::vector<float>>;

void append(Stream& to, const Batch& batch) {
  std::vector<float> row(batch.input.values<float>().begin(), batch.input.values<float>().end());
  for (const std::int64_t label : batch.targets[0].values<std::int64_t>())
    row.push_back(static_cast<float>(label));
  for (const float value : batch.targets[1].values<float>()) row.push_back(value);
  to.push_back(std::move(row));
}

Stream take(Loader& loader, index_t batches) {
  Stream stream;
  Batch batch;
  for (index_t b = 0; b < batches; ++b) {
    loader.next(batch);
    append(stream, batch);
  }
  return stream;
}

}  // namespace

TEST_CASE("the order depends on seed and epoch, not on workers or prefetch") {
  const auto set = std::make_shared<Counting>(53);
  Loader plain(set, {.batch_size = 7, .seed = 3});
  CHECK(plain.batches_per_epoch() == 8);
  const Stream expected = take(plain, 30);
  for (const int workers : {1, 4}) {
    for (const int prefetch : {1, 3, 50}) {
      Loader loader(set, {.batch_size = 7, .workers = workers, .prefetch = prefetch, .seed = 3});
      CHECK(take(loader, 30) == expected);
    }
  }
  Loader other(set, {.batch_size = 7, .seed = 4});
  CHECK(take(other, 30) != expected);
}

TEST_CASE("each epoch is a new permutation with new random numbers") {
  Loader loader(std::make_shared<Counting>(53), {.batch_size = 7, .seed = 3});
  Batch batch;
  std::vector<float> items[2];
  std::vector<float> draws(53);
  for (int epoch = 0; epoch < 2; ++epoch) {
    for (index_t b = 0; b < 8; ++b) {
      CHECK(loader.position() == Position{epoch, b});
      loader.next(batch);
      CHECK(batch.size == (b < 7 ? 7 : 4));
      for (index_t r = 0; r < batch.size; ++r) {
        const auto item = static_cast<index_t>(batch.input.at({r, 0}));
        items[epoch].push_back(static_cast<float>(item));
        if (epoch == 1) CHECK(draws[item] != static_cast<float>(batch.input.at({r, 1})));
        draws[item] = static_cast<float>(batch.input.at({r, 1}));
      }
    }
    CHECK(std::set<float>(items[epoch].begin(), items[epoch].end()).size() == 53);
  }
  CHECK(items[0] != items[1]);
}

TEST_CASE("without shuffling the items come in their own order; the last batch can be dropped") {
  Loader loader(std::make_shared<Counting>(11),
                {.batch_size = 4, .shuffle = false, .last = LastBatch::drop, .workers = 2});
  CHECK(loader.batches_per_epoch() == 2);
  Batch batch;
  for (int epoch = 0; epoch < 2; ++epoch) {
    for (int b = 0; b < 2; ++b) {
      loader.next(batch);
      REQUIRE(batch.size == 4);
      for (index_t r = 0; r < 4; ++r) CHECK(batch.input.at({r, 0}) == 4 * b + r);
    }
  }
}

TEST_CASE("seeking to a saved position continues as if never interrupted") {
  const auto set = std::make_shared<Counting>(53);
  for (const int workers : {0, 3}) {
    const LoaderOptions options{.batch_size = 7, .workers = workers, .seed = 9};
    Loader whole(set, options);
    const Stream expected = take(whole, 29);
    Loader before(set, options);
    take(before, 13);
    const Position saved = before.position();
    CHECK(saved == Position{1, 5});
    Loader after(set, options);
    take(after, 3);  // somewhere else
    after.seek(saved);
    CHECK(take(after, 16) == Stream(expected.begin() + 13, expected.end()));
    after.seek({0, 0});
    CHECK(take(after, 1)[0] == expected[0]);
    CHECK_THROWS_AS(after.seek({0, 8}), ValueError);
  }
}

TEST_CASE("an exception reaches the caller with its text, at its batch, and seek goes on") {
  for (const int workers : {0, 3}) {
    Loader loader(std::make_shared<Counting>(40, 17),
                  {.batch_size = 4, .shuffle = false, .workers = workers});
    Batch batch;
    for (int b = 0; b < 4; ++b) loader.next(batch);
    for (int again = 0; again < 2; ++again) {
      CHECK_THROWS_WITH_AS(loader.next(batch), "counting: item cannot be read", FileError);
    }
    loader.seek({0, 5});
    loader.next(batch);
    CHECK(batch.input.at({0, 0}) == 20);
  }
}

TEST_CASE("a loader ends cleanly wherever it stands") {
  const auto set = std::make_shared<Counting>(1000);
  Batch batch;
  for (int k = 0; k < 20; ++k) {
    Loader loader(set, {.batch_size = 3, .workers = 4, .prefetch = 7});
    for (int b = 0; b < k; ++b) loader.next(batch);
  }
}

TEST_CASE("bad settings") {
  const auto set = std::make_shared<Counting>(5);
  CHECK_THROWS_WITH_AS(Loader(set, {.batch_size = 0}),
                       "loader: batch size 0, prefetch 4, workers 0, expected at least 1, 1, 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(Loader(set, {.batch_size = 6, .last = LastBatch::drop}),
                       "loader: 5 items make no batch of 6", ValueError);
}

TEST_CASE("in the steady state no block comes from the system") {
  const auto asked = [] { return Allocator::of(kCpu).stats().system_requests; };
  Tensor::empty({4096});
  const auto once = asked();
  Tensor::empty({4096});
  if (asked() != once) return;  // address-sanitised: the allocator recycles nothing
  for (const int workers : {0, 3}) {
    Loader loader(std::make_shared<Counting>(530), {.batch_size = 32, .workers = workers});
    Batch batch;
    for (index_t b = 0; b < 3 * loader.batches_per_epoch(); ++b) loader.next(batch);
    const auto before = asked();
    for (index_t b = 0; b < 5 * loader.batches_per_epoch(); ++b) loader.next(batch);
    CHECK(asked() == before);
  }
}
