// Telemetry on real batches of Multi-Fashion: losses, norms and cosines as PyTorch computes them
// (cosines.safetensors, written by compare.py --golden).
#include <concord/autograd/ops.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/step.h>
#include <concord/multitask/telemetry.h>
#include <concord/nn/network.h>
#include <concord/tests/golden.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace concord;

TEST_CASE_TEMPLATE("telemetry: losses, norms and cosines of PyTorch on real batches", T, float,
                   double) {
  const TensorFile golden =
      load_safetensors(std::string(CONCORD_TEST_FILES) + "/bench/truth/cosines.safetensors");
  const auto expected = [&](const char* name) { return golden.tensors.at(name); };
  ParameterStore store;
  const auto network =
      nn::make_network("lenet", Scope(store), {.input = {1, 36, 36}, .outputs = {10, 10}});
  const Theta theta(store, dtype_of<T>);
  testing::fill_by_name(theta);

  multitask::Step step(store, multitask::make_aggregator("pcgrad"), 2, {.dtype = dtype_of<T>});
  multitask::Telemetry telemetry(2);
  const auto value = [&](const std::string& name) {
    const auto& columns = telemetry.columns();
    return telemetry.row(0)[static_cast<std::size_t>(
        std::find(columns.begin(), columns.end(), name) - columns.begin())];
  };
  const double epsilon = dtype_of<T> == DType::f64 ? 1e-12 : 1e-5;
  const auto near = [&](double v) { return doctest::Approx(v).epsilon(epsilon); };
  Tape tape;
  std::vector<Var> outputs, losses(2);
  const index_t batches = expected("images").dim(0);
  for (index_t b = 0; b < batches; ++b) {
    CAPTURE(b);
    const Tensor x = expected("images")[b].to(dtype_of<T>);
    for (T& pixel : x.values<T>()) pixel /= 255;
    tape.reset();
    network->forward({.theta = &theta, .tape = &tape, .training = true}, x, outputs);
    for (std::size_t t = 0; t < 2; ++t) {
      losses[t] = cross_entropy(outputs[t], expected("labels")[b][static_cast<index_t>(t)]);
    }
    step.backward(tape, losses, {});
    telemetry.record(step.inputs(), step.answer());
    for (index_t t = 0; t < 2; ++t) {
      CHECK(value("loss_" + std::to_string(t)) == near(expected("loss").at({b, t})));
      CHECK(value("norm_" + std::to_string(t)) == near(expected("norm").at({b, t})));
    }
    CHECK(value("cos_0_1") == near(expected("cosine").at({b})));
    CHECK(value("conflict_rate") == (expected("cosine").at({b}) < 0 ? 1 : 0));
  }
}
