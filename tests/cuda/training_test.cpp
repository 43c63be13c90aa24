// Everything that the CPU trains, trained on a device: operations, gradients, Gram matrices,
// optimisers, methods, whole runs. Written for any device 0: the emulated one or a real one.
#include <concord/autograd/context.h>
#include <concord/autograd/ops.h>
#include <concord/experiments/training.h>
#include <concord/multitask/registry.h>
#include <concord/nn/losses.h>
#include <concord/nn/network.h>
#include <concord/nn/resnet.h>
#include <concord/optim/registry.h>
#include <concord/rl/agents/registry.h>
#include <concord/rl/registry.h>
#include <concord/tensor/device.h>
#include <concord/tensor/kernels/cuda/cuda.h>
#include <concord/tests/autograd/op_cases.h>
#include <concord/tests/testing.h>

#include <cuda_runtime.h>
#include <doctest/doctest.h>
#ifdef CUDA_ON_CPU
#include <concord/tests/cuda_on_cpu/cuda_on_cpu.h>
#endif

#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

using namespace concord;
using namespace concord::testing;
using experiments::Arm;
using experiments::Training;
using experiments::TrainingOptions;

namespace {

const Device kCuda{DeviceType::cuda, 0};
constexpr int kRows = 3;

double tolerance(DType dtype) { return dtype == DType::f32 ? 1e-5 : 1e-12; }

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(kCpu), y = b.to(kCpu);
  return x.bytes() == y.bytes() && std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

Tensor random(const Shape& shape, DType dtype, std::uint64_t stream) {
  const Tensor t = Tensor::empty(shape, dtype);
  Rng(3).fork(stream).fill_normal(t);
  return t;
}

/// What an operation gives on a device: its value, and the gradients of all operands for `rows` of
/// kRows random cotangents.
struct Result {
  Tensor value;
  std::vector<Tensor> gradients;  // of the operands: [rows, ...]
};

Result result_of(const OpCase& c, DType dtype, Device device, int first, int rows) {
  Tape tape;
  std::vector<Var> leaves;
  for (const Tensor& t : c.inputs(dtype)) leaves.push_back(tape.leaf(t.to(device)));
  const Var y = c.apply(leaves);
  std::vector<Seed> seeds;
  for (int r = 0; r < rows; ++r) {
    const auto stream = static_cast<std::uint64_t>(first + r);
    seeds.push_back({y, r, 1, random(y.shape(), dtype, stream).to(device)});
  }
  Result result{y.value().to(kCpu), {}};
  tape.backward(seeds, rows, nullptr, {.wanted = leaves, .gradients = &result.gradients});
  for (Tensor& g : result.gradients) g = g.to(kCpu);
  return result;
}

/// Noise as images with two labels per item.
data::DatasetPtr noise(index_t size, const Shape& shape) {
  const index_t numel = shape.numel();
  const Tensor inputs = Tensor::empty(shape.insert(0, size));
  Rng(3).fill_normal(inputs);
  std::vector<Tensor> labels{Tensor::empty({size}, DType::i64), Tensor::empty({size}, DType::i64)};
  for (index_t i = 0; i < size; ++i) {
    const float* x = inputs.data<float>() + i * numel;
    labels[0].data<std::int64_t>()[i] = x[0] + x[1] > 0;
    labels[1].data<std::int64_t>()[i] = (x[1] > 0) + (x[2] * x[3] > 0);
  }
  return std::make_shared<data::TensorSet>(
      inputs, labels, std::vector<data::Target>{{"sign", 2, {}}, {"count", 3, {}}});
}

Arm arm(const std::string& method, multitask::OptionMap options = {}) {
  return {method, method, std::move(options), {0, 1}};
}

TrainingOptions options(Device device) {
  TrainingOptions o;
  o.network = "mlp";
  o.epochs = 4;
  o.loader.batch_size = 16;
  o.seed = 4;
  o.optimizer = "sgd";
  o.rate = 1e-2;
  o.device = device;
  return o;
}

/// Mean losses of `steps` steps, and θ after them.
struct Curve {
  std::vector<double> losses;
  Tensor theta;
};

Curve curve_of(const Arm& a, const TrainingOptions& o, const data::DatasetPtr& set, int steps) {
  Training training(a, o, set);
  Curve curve;
  for (int i = 0; i < steps; ++i) {
    training.step();
    for (const double loss : training.take_losses()) curve.losses.push_back(loss);
  }
  curve.theta = training.theta().values().to(kCpu);
  return curve;
}

void check_close(const Curve& a, const Curve& b, double tolerance) {
  REQUIRE(a.losses.size() == b.losses.size());
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    CAPTURE(i);
    CHECK(a.losses[i] == doctest::Approx(b.losses[i]).epsilon(tolerance));
  }
  CHECK(relative_error(a.theta, b.theta) < tolerance);
}

}  // namespace

TEST_CASE("every operation: value and gradients of rows as on the CPU") {
  for (const OpCase& c : op_cases()) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(c.name);
      CAPTURE(name(dtype));
      const Result cpu = result_of(c, dtype, kCpu, 0, kRows);
      const Result there = result_of(c, dtype, kCuda, 0, kRows);
      CHECK(relative_error(there.value, cpu.value) < tolerance(dtype));
      for (std::size_t k = 0; k < cpu.gradients.size(); ++k) {
        CAPTURE(k);
        CHECK(relative_error(there.gradients[k], cpu.gradients[k]) < tolerance(dtype));
      }
    }
  }
}

TEST_CASE("rows have the bits of separate sweeps") {
  for (const OpCase& c : op_cases()) {
    CAPTURE(c.name);
    const Result all = result_of(c, DType::f32, kCuda, 0, kRows);
    for (int r = 0; r < kRows; ++r) {
      const Result one = result_of(c, DType::f32, kCuda, r, 1);
      for (std::size_t k = 0; k < all.gradients.size(); ++k) {
        CAPTURE(k);
        CHECK(same_bits(all.gradients[k][r], one.gradients[k][0]));
      }
    }
  }
}

TEST_CASE("Gram matrices on the way are those of the rows, whichever way a slice takes") {
  ParameterStore store;
  const auto net = nn::make_network("mlp", Scope(store),
                                    {.input = {5}, .outputs = {2, 3, 4}, .hidden = {11, 7}});
  for (const DType dtype : {DType::f32, DType::f64}) {
    CAPTURE(name(dtype));
    std::vector<std::vector<double>> grams;
    for (const Device device : {kCpu, kCuda}) {
      const Theta theta(store, dtype, device);
      theta.initialize(Rng(1));
      const Tensor x = random({9, 5}, dtype, 0).to(device);
      for (const auto way : {BlockGrams::Way::rows, BlockGrams::Way::products}) {
        Tape tape;
        const auto out = (*net)({.theta = &theta, .tape = &tape, .training = true}, x);
        std::vector<Var> losses;
        for (const Var& y : out) losses.push_back(mean(square(y)));
        GradientMatrix g(store, 3, dtype, Columns::trunk, device, RowStorage::streamed);
        BlockGrams blocks(store, 3);
        blocks.way = way;
        tape.backward(losses, g, {.grams = &blocks});
        blocks.download();
        synchronize(device);
        blocks.add_up();
        grams.emplace_back(blocks[0].begin(), blocks[0].end());
      }
    }
    for (std::size_t i = 1; i < grams.size(); ++i) {
      for (std::size_t k = 0; k < grams[i].size(); ++k)
        CHECK(grams[i][k] ==
              doctest::Approx(grams[0][k]).epsilon(dtype == DType::f32 ? 1e-5 : 1e-12));
    }
  }
}

TEST_CASE("a watch names the op on a device, too") {
  Tape tape;
  tape.watch_nonfinite(true);
  const Var x = tape.leaf(Tensor::full({3}, -1, DType::f32, kCuda));
  CHECK(error_text<NumericError>([&] { log(x); }).find("log: the output has 3 of 3 values") == 0);
}

TEST_CASE("targets: the mean over those not ignored; no place for a target elsewhere") {
  const Tensor logits = random({6, 4}, DType::f32, 1);
  const Tensor target = Tensor::from<std::int64_t>({1, -100, 3, 0, -100, 2}, {6});
  const double cpu = cross_entropy(logits, target).item();
  CHECK(cross_entropy(logits.to(kCuda), target.to(kCuda)).item() ==
        doctest::Approx(cpu).epsilon(1e-5));
  const Tensor log_p = log_softmax(logits).value();
  CHECK(nn::nll_loss(log_p.to(kCuda), target.to(kCuda)).item() ==
        doctest::Approx(cpu).epsilon(1e-5));
  CHECK(error_text<DeviceError>([&] {
          cross_entropy(logits.to(kCuda), target);
        }).find("cross_entropy: logits is on cuda:0, target on cpu") == 0);
}

TEST_CASE("targets and indices outside: not looked at on a device, NaN comes of them") {
  const Tensor x = random({2, 4}, DType::f32, 1).to(kCuda);
  for (const std::int64_t outside : {std::int64_t{-1}, std::int64_t{4}, std::int64_t{1} << 50}) {
    CAPTURE(outside);
    const Tensor index = Tensor::from<std::int64_t>({1, outside}, {2}).to(kCuda);
    const Tensor losses = cross_entropy(x, index, {.reduction = Reduction::none}).value();
    CHECK(std::isfinite(losses.at({0})));
    CHECK(std::isnan(losses.at({1})));
    const Tensor picked = gather(x, 1, index.view({2, 1})).value();
    CHECK(picked.at({0, 0}) == x.at({0, 1}));
    CHECK(std::isnan(picked.at({1, 0})));
    const Tensor rows = embedding(x, index).value();
    CHECK(rows.at({0, 3}) == x.at({1, 3}));
    CHECK(std::isnan(rows.at({1, 3})));
  }
}

TEST_CASE("ten steps as on the CPU: methods and optimisers") {
  const data::DatasetPtr set = noise(90, {11});
  std::vector<Arm> arms;
  for (const char* method :
       {"equal", "pcgrad", "cagrad", "mgda", "famo", "graddrop", "moco", "m_config", "sgsu", "modo",
        "sdmgrad", "mtadam", "auto_lambda", "look_ahead", "rotograd"})
    arms.push_back(arm(method));
  arms.push_back(arm("mgda", {{"level", "features"}}));
  arms.push_back(arm("upgrad", {{"granularity", "layer"}}));
  arms.push_back(arm("cagrad", {{"keep", "none"}}));
  arms.push_back(arm("pcgrad", {{"keep", "bf16"}}));
  arms.push_back(arm("nash_mtl", {{"refresh", "3"}}));
  arms.push_back(arm("equal", {{"micro_batches", "2"}}));
  for (const Arm& a : arms) {
    CAPTURE(a.name);
    check_close(curve_of(a, options(kCuda), set, 10), curve_of(a, options(kCpu), set, 10), 2e-4);
  }
  for (const std::string_view optimizer : optim::optimizer_names()) {
    CAPTURE(optimizer);
    TrainingOptions cpu = options(kCpu), there = options(kCuda);
    cpu.optimizer = there.optimizer = optimizer;
    cpu.clip_norm = there.clip_norm = 0.5;
    check_close(curve_of(arm("equal"), there, set, 10), curve_of(arm("equal"), cpu, set, 10), 2e-4);
  }
}

TEST_CASE("LeNet and a ResNet on small images: steps as on the CPU, and the same bits again") {
  TrainingOptions cpu = options(kCpu), there = options(kCuda);
  cpu.loader.batch_size = there.loader.batch_size = 3;
  cpu.network = there.network = "lenet";
  const data::DatasetPtr digits = noise(12, {1, 28, 28});
  const Curve lenet = curve_of(arm("pcgrad"), there, digits, 2);
  check_close(lenet, curve_of(arm("pcgrad"), cpu, digits, 2), 1e-4);
  CHECK(same_bits(lenet.theta, curve_of(arm("pcgrad"), there, digits, 2).theta));

  cpu.network = there.network = "resnet18-32";
  const data::DatasetPtr images = noise(6, {3, 8, 8});
  check_close(curve_of(arm("pcgrad"), there, images, 1), curve_of(arm("pcgrad"), cpu, images, 1),
              1e-4);
}

#ifdef CUDA_ON_CPU
TEST_CASE("the order of the threads changes no bit of a run") {
  const data::DatasetPtr set = noise(90, {11});
  const cuda_on_cpu::Schedule before = cuda_on_cpu::schedule();
  std::vector<Tensor> thetas;
  for (const auto order :
       {cuda_on_cpu::Order::ascending, cuda_on_cpu::Order::descending, cuda_on_cpu::Order::lifo}) {
    cuda_on_cpu::set_schedule({order, 7});
    thetas.push_back(curve_of(arm("cagrad"), options(kCuda), set, 3).theta);
  }
  cuda_on_cpu::set_schedule(before);
  for (const Tensor& theta : thetas) CHECK(same_bits(theta, thetas[0]));
}
#endif

TEST_CASE(
    "a steady step: one graph on each side of the weights, one wait, the batch up, Gram matrix "
    "and losses down") {
  const data::DatasetPtr set = noise(160, {11});
  Training training(arm("pcgrad"), options(kCuda), set);
  for (int i = 0; i < 4; ++i) training.step();
  CHECK(training.method().graphs_made() == 2);
  const cuda::Traffic before = cuda::traffic(0);
  constexpr std::uint64_t kSteps = 5;
  for (std::uint64_t i = 0; i < kSteps; ++i) training.step();
  const cuda::Traffic after = cuda::traffic(0);
  CHECK(training.method().graphs_made() == 2);
  CHECK(after.waits - before.waits == kSteps);
  CHECK(after.uploads - before.uploads == 3 * kSteps);  // images and two tasks' labels
  CHECK(after.bytes_up - before.bytes_up == kSteps * 16 * (11 * sizeof(float) + 2 * 8));
  CHECK(after.downloads - before.downloads == 2 * kSteps);
  // The 2 x 2 products of each shared tensor (two layers) in f64, the losses in f32.
  CHECK(after.bytes_down - before.bytes_down == kSteps * (4 * 4 * 8 + 2 * 4));

  TrainingOptions plain = options(kCuda);
  plain.graphs = false;
  CHECK(same_bits(curve_of(arm("pcgrad"), plain, set, 9).theta, training.theta().values()));
}

TEST_CASE("a run continues from its checkpoint with the same bits") {
  const data::DatasetPtr set = noise(90, {11});
  for (const char* method : {"pcgrad", "moco", "rotograd"}) {
    CAPTURE(method);
    Training whole(arm(method), options(kCuda), set), again(arm(method), options(kCuda), set);
    for (int i = 0; i < 7; ++i) whole.step();
    TensorFile file;
    whole.save(file);
    again.load(file);
    for (int i = 0; i < 3; ++i) whole.step(), again.step();
    CHECK(same_bits(whole.theta().values(), again.theta().values()));
    CHECK(whole.take_losses() == again.take_losses());
  }
}

TEST_CASE("agents: the network on a device, the environments here") {
  using Options = multitask::OptionMap;
  const auto theta_after = [](const char* agent, const char* env, Options options,
                              const char* device) {
    options.emplace("device", device);
    options.emplace("hidden", "8");
    const auto made = rl::make_agent(agent, rl::make_env(env, {.size = 4, .seed = 1}), options, 2);
    for (int i = 0; i < 3; ++i) made->iterate();
    CHECK(made->learner().theta().device() == device_from(device));
    return made->learner().theta().values().to(kCpu);
  };
  const Options off_policy{
      {"batch", "4"}, {"start", "8"}, {"train_every", "4"}, {"capacity", "64"}};
  const std::vector<std::tuple<const char*, const char*, Options>> cases{
      {"ppo", "catch", {{"steps", "5"}, {"minibatches", "2"}, {"epochs", "1"}, {"popart", "0.1"}}},
      {"impala", "catch", {{"steps", "5"}}},
      {"pqn", "catch", {{"steps", "5"}, {"minibatches", "2"}, {"epochs", "1"}}},
      {"dqn", "catch", off_policy},
      {"sac", "pendulum", off_policy}};
  for (const auto& [agent, env, options] : cases) {
    CAPTURE(agent);
    CHECK(relative_error(theta_after(agent, env, options, "cuda"),
                         theta_after(agent, env, options, "cpu")) < 1e-3);
  }
}

TEST_CASE("batches go up beside the computation: the loader's, in its order, from any position") {
  const data::DatasetPtr set = noise(23, {5});
  data::Loader here(set, {.batch_size = 4, .seed = 3}), source(set, {.batch_size = 4, .seed = 3});
  data::DeviceLoader there(source, kCuda);
  data::Batch a, b;
  const auto compare = [&] {
    here.next(a);
    there.next(b);
    CHECK(b.input.device() == kCuda);
    CHECK(a.size == b.size);
    CHECK(same_bits(a.input, b.input));
    for (std::size_t t = 0; t < a.targets.size(); ++t) CHECK(same_bits(a.targets[t], b.targets[t]));
  };
  for (int i = 0; i < 9; ++i) compare();
  here.seek({1, 2});
  there.seek({1, 2});
  for (int i = 0; i < 3; ++i) compare();
}

TEST_CASE("an upload beside the computation begins after earlier readers, and is awaited") {
  const Tensor values = random({1000}, DType::f32, 0);
  const Tensor there = upload_beside(values, kCuda);
  await_uploads(kCuda);
  CHECK(same_bits(there.clone(), values));
#ifdef CUDA_ON_CPU
  // Streams of the emulated device run when somebody waits: what is not awaited has not happened.
  const Tensor first = Tensor::zeros({1000}, DType::f32, kCuda);
  synchronize(kCuda);
  cuda::upload_beside(0, first.raw(), values.raw(), values.bytes());
  const Tensor copy = first.clone();
  CHECK_FALSE(same_bits(copy, values));
  await_uploads(kCuda);
  CHECK(same_bits(first.clone(), values));
#endif
}

TEST_CASE("no memory left: the text says how much was asked for and what is held") {
  const std::string text =
      error_text<DeviceError>([] { Tensor::empty({index_t{1} << 50}, DType::f64, kCuda); });
  CAPTURE(text);
  CHECK(text.find("device: cuda:0 has no 9007199254740992 bytes left\n  in use ") == 0);
  CHECK(text.find("\n  reserved ") != std::string::npos);
}
