// One supervised run: continued from a checkpoint with the same bits, whatever the method keeps;
// the weights of a run as a plain network.
#include <concord/experiments/training.h>
#include <concord/multitask/registry.h>
#include <concord/nn/state.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cstring>

using namespace concord;
using namespace concord::experiments;

namespace {

/// Noise with two labels per item, from the signs of two of its sums.
data::DatasetPtr noise(index_t size) {
  const Tensor inputs = Tensor::empty({size, 11});
  Rng(3).fill_normal(inputs);
  std::vector<Tensor> labels{Tensor::empty({size}, DType::i64), Tensor::empty({size}, DType::i64)};
  for (index_t i = 0; i < size; ++i) {
    const float* x = inputs.data<float>() + i * 11;
    labels[0].data<std::int64_t>()[i] = x[0] + x[1] > 0;
    labels[1].data<std::int64_t>()[i] = (x[1] > 0) + (x[2] * x[3] > 0);
  }
  return std::make_shared<data::TensorSet>(
      inputs, labels, std::vector<data::Target>{{"sign", 2, {}}, {"count", 3, {}}});
}

Arm arm(const std::string& method, multitask::OptionMap options = {}) {
  return {method, method, std::move(options), {0, 1}};
}

TrainingOptions options() {
  TrainingOptions o;
  o.network = "mlp";
  o.epochs = 2;
  o.loader.batch_size = 16;
  o.seed = 4;
  return o;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("a run continues from its checkpoint with the same bits: telemetry, losses, weights") {
  const data::DatasetPtr set = noise(90);
  std::vector<Arm> arms;
  for (const auto& m : multitask::all_methods()) {
    if (m.kind == multitask::Kind::step) arms.push_back(arm(std::string(m.name)));
  }
  arms.push_back(arm("famo", {{"micro_batches", "2"}}));
  arms.push_back(arm("mgda", {{"level", "features"}}));
  arms.push_back(arm("gradvac", {{"granularity", "layer"}}));
  arms.push_back(arm("nash_mtl", {{"refresh", "3"}}));
  arms.push_back(arm("moco"));
  for (const Arm& a : arms) {
    CAPTURE(a.name);
    Training whole(a, options(), set), again(a, options(), set);
    for (int i = 0; i < 7; ++i) whole.step();
    TensorFile file;
    whole.save(file);
    again.load(file);
    while (!whole.done()) {
      whole.step();
      again.step();
    }
    CHECK(again.done());
    CHECK(same_bits(whole.theta().values(), again.theta().values()));
    CHECK(whole.take_losses() == again.take_losses());
    const auto a_row = whole.telemetry().row(0), b_row = again.telemetry().row(0);
    CHECK(std::memcmp(a_row.data(), b_row.data(), a_row.size_bytes()) == 0);
  }
}

TEST_CASE("batches of one step are independent, the first is the one that every method sees") {
  const data::DatasetPtr set = noise(90);
  Training one(arm("equal"), options(), set), three(arm("modo"), options(), set);
  one.step();
  three.step();
  CHECK(one.take_losses() == three.take_losses());  // of the first batch, at the same weights
}

TEST_CASE("rotograd: the saved weights are a plain network with the same scores") {
  const data::DatasetPtr set = noise(90);
  Training run(arm("rotograd", {{"lr", "0.05"}, {"size", "40"}}), options(), set);
  while (!run.done()) run.step();
  const Training plain(arm("equal"), options(), set);
  nn::load_state(plain.theta(), run.weights());
  const auto a = run.evaluate(*set), b = plain.evaluate(*set);
  nn::load_state(plain.theta(), run.theta().state());
  const auto unrotated = plain.evaluate(*set);
  for (std::size_t t = 0; t < 2; ++t) {
    CHECK(a[t].loss == doctest::Approx(b[t].loss).epsilon(1e-5));
    CHECK(a[t].loss != doctest::Approx(unrotated[t].loss).epsilon(1e-3));
  }
}
