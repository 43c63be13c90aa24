// concord's side of the comparison with PyTorch (compare.py, train.py and ../peers/multitask.py are
// the other):
//
//   truth curves FILE [OPTIMIZER [RATE]]   initial weights, batches, what 200 steps with them give
//   truth data FILE                        images and labels of the main job's default run
//   truth steps FILE                       initial weights, one batch, what 5 steps of each method
//                                          in TorchJD's conventions give, for the networks of
//                                          `concord bench multitask`
//
// All write safetensors.
#include <concord/autograd/ops.h>
#include <concord/data/loader.h>
#include <concord/data/multi_fashion.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/step.h>
#include <concord/multitask/telemetry.h>
#include <concord/nn/network.h>
#include <concord/optim/registry.h>
#include <concord/tensor/serialize.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

namespace {

using namespace concord;

constexpr index_t kSteps = 200, kBatch = 64;
constexpr int kTasks = 2;
constexpr double kMomentum = 0.9;

std::unique_ptr<nn::Network> lenet(ParameterStore& store) {
  return nn::make_network("lenet", Scope(store), {.input = {1, 36, 36}, .outputs = {10, 10}});
}

/// Distinct images, in the order of the loader: input [steps, batch, 1, 36, 36], labels [steps,
/// tasks, batch].
void add_batches(TensorFile& file) {
  const auto splits = data::multi_fashion(data::fashion_sources(),
                                          {.train = kSteps * kBatch, .validation = 1, .test = 1});
  data::Loader loader(splits.train, {.batch_size = kBatch, .seed = 1});
  const Tensor input = Tensor::empty({kSteps, kBatch, 1, 36, 36});
  const Tensor labels = Tensor::empty({kSteps, kTasks, kBatch}, DType::i64);
  data::Batch batch;
  for (index_t s = 0; s < kSteps; ++s) {
    loader.next(batch);
    input[s].copy_from(batch.input);
    for (int t = 0; t < kTasks; ++t)
      labels[s][t].copy_from(batch.targets[static_cast<std::size_t>(t)]);
  }
  file.tensors["input"] = input;
  file.tensors["labels"] = labels;
}

/// Trains from the weights `start` on the file's batches and adds "<method>/<dtype>/loss" [steps,
/// tasks],
/// ".../weights" [steps, tasks] and ".../cosine" [steps] from the telemetry.
void add_curve(TensorFile& file, const Theta& start, const nn::Network& network,
               const multitask::OptionMap& options, const std::string& method,
               const std::string& optimizer_name, double rate) {
  const DType dtype = start.dtype();
  const Theta theta = start.clone();
  const auto optimizer =
      optim::make_optimizer(optimizer_name, theta, {.rate = rate, .momentum = kMomentum});
  multitask::Step step(theta.store(), multitask::make_aggregator(method, options), kTasks,
                       {.dtype = dtype});
  multitask::Telemetry telemetry(kTasks);
  const auto column = [&](const std::string& name) {
    const auto& all = telemetry.columns();
    return static_cast<std::size_t>(std::find(all.begin(), all.end(), name) - all.begin());
  };
  const Tensor loss = Tensor::empty({kSteps, kTasks}, DType::f64);
  const Tensor weights = Tensor::empty({kSteps, kTasks}, DType::f64);
  const Tensor cosine = Tensor::empty({kSteps}, DType::f64);
  const Tensor input = file.tensors.at("input"), labels = file.tensors.at("labels");
  Tape tape;
  std::vector<Var> outputs, losses(kTasks);
  for (index_t s = 0; s < kSteps; ++s) {
    tape.reset();
    network.forward({.theta = &theta, .tape = &tape, .training = true}, input[s].to(dtype),
                    outputs);
    for (std::size_t t = 0; t < kTasks; ++t) {
      losses[t] = cross_entropy(outputs[t], labels[s][static_cast<index_t>(t)]);
    }
    step.backward(tape, losses, {.step = s});
    optimizer->step(theta, step.direction(), step.squared_norm());
    telemetry.record(step.inputs(), step.answer());
    const auto row = telemetry.row(0);
    for (int t = 0; t < kTasks; ++t) {
      loss.data<double>()[s * kTasks + t] = row[column(fmt::format("loss_{}", t))];
      weights.data<double>()[s * kTasks + t] = row[column(fmt::format("weight_{}", t))];
    }
    cosine.data<double>()[s] = row[column("cos_0_1")];
  }
  const std::string prefix = fmt::format("{}/{}/", method, name(dtype));
  file.tensors[prefix + "loss"] = loss;
  file.tensors[prefix + "weights"] = weights;
  file.tensors[prefix + "cosine"] = cosine;
}

TensorFile curves(const std::string& optimizer, double rate) {
  TensorFile file;
  add_batches(file);
  ParameterStore store;
  const auto network = lenet(store);
  const Theta start(store), start_in_double(store, DType::f64);
  start.initialize(Rng(1));
  start_in_double.values().copy_from(start.values().to(DType::f64));
  for (const auto& [name, t] : start.state()) file.tensors["start/" + name] = t;
  for (const Theta* theta : {&start, &start_in_double}) {
    add_curve(file, *theta, *network, {}, "equal", optimizer, rate);
    add_curve(file, *theta, *network, {{"order", "index"}}, "pcgrad", optimizer, rate);
    add_curve(file, *theta, *network, {}, "cagrad", optimizer, rate);
  }
  file.metadata = {{"optimizer", optimizer},
                   {"rate", fmt::format("{}", rate)},
                   {"momentum", fmt::format("{}", kMomentum)},
                   {"cagrad.c", "0.5"}};
  return file;
}

/// "<part>/input" [n, 1, 36, 36] and "<part>/labels" [tasks, n] of every part, with the sizes of
/// the main job's default settings.
TensorFile default_data() {
  const auto splits = data::multi_fashion(data::fashion_sources(),
                                          {.train = 20000, .validation = 2000, .test = 5000});
  TensorFile file;
  for (const auto& [part, set] : {std::pair{"train", splits.train}, {"test", splits.test}}) {
    std::vector<index_t> items(static_cast<std::size_t>(set->size()));
    std::iota(items.begin(), items.end(), index_t{0});
    data::Batch all;
    set->read(items, Rng(0), all);
    const Tensor labels = Tensor::empty({kTasks, set->size()}, DType::i64);
    for (int t = 0; t < kTasks; ++t) labels[t].copy_from(all.targets[static_cast<std::size_t>(t)]);
    file.tensors[std::string(part) + "/input"] = all.input;
    file.tensors[std::string(part) + "/labels"] = labels;
  }
  return file;
}

struct Example {
  std::string network;
  nn::NetworkOptions options;
  index_t batch;
};

/// Adds "<network>/start/<name>", "<network>/input" [batch, ...], "<network>/labels" [tasks, batch]
/// and "<network>/<method>/loss" [steps, tasks], before each step. All in f64.
void add_steps(TensorFile& file, const Example& e) {
  constexpr index_t kFew = 5;
  constexpr double kRate = 0.002;
  ParameterStore store;
  const auto network = nn::make_network(e.network, Scope(store), e.options);
  const Theta start(store, DType::f64);
  start.initialize(Rng(1));
  const std::string prefix = e.network + "/";
  for (const auto& [name, t] : start.clone().state()) file.tensors[prefix + "start/" + name] = t;
  const auto tasks = static_cast<index_t>(e.options.outputs.size());
  const Tensor input = Tensor::empty(e.options.input.insert(0, e.batch), DType::f64);
  Rng(1).fork("input").fill_uniform(input, -1, 1);
  const Tensor labels = Tensor::empty({tasks, e.batch}, DType::i64);
  for (index_t i = 0; i < labels.numel(); ++i)
    labels.data<std::int64_t>()[i] = Rng(1).fork("labels").below(static_cast<std::uint64_t>(i), 10);
  file.tensors[prefix + "input"] = input;
  file.tensors[prefix + "labels"] = labels;

  const std::vector<std::pair<std::string, multitask::OptionMap>> methods{
      {"pcgrad", {{"order", "index"}}},
      {"mgda", {{"preset", "torchjd"}}},
      {"cagrad", {{"preset", "torchjd"}}},
      {"upgrad", {{"preset", "torchjd"}}}};
  for (const auto& [method, options] : methods) {
    const Theta theta = start.clone();
    const auto optimizer =
        optim::make_optimizer("sgd", theta, {.rate = kRate, .momentum = kMomentum});
    multitask::Step step(store, multitask::make_aggregator(method, options),
                         static_cast<int>(tasks), {.dtype = DType::f64});
    const Tensor loss = Tensor::empty({kFew, tasks}, DType::f64);
    Tape tape;
    std::vector<Var> outputs, losses(static_cast<std::size_t>(tasks));
    for (index_t s = 0; s < kFew; ++s) {
      tape.reset();
      network->forward({.theta = &theta, .tape = &tape, .training = true}, input, outputs);
      for (index_t t = 0; t < tasks; ++t) {
        losses[static_cast<std::size_t>(t)] =
            cross_entropy(outputs[static_cast<std::size_t>(t)], labels[t]);
        loss.data<double>()[s * tasks + t] = losses[static_cast<std::size_t>(t)].item();
      }
      step.backward(tape, losses, {.step = s});
      optimizer->step(theta, step.direction(), step.squared_norm());
    }
    file.tensors[prefix + method + "/loss"] = loss;
  }
  file.metadata = {{"rate", fmt::format("{}", kRate)}, {"momentum", fmt::format("{}", kMomentum)}};
}

TensorFile steps() {
  const auto heads = [](std::size_t tasks) { return std::vector<index_t>(tasks, 10); };
  TensorFile file;
  add_steps(file, {"lenet", {.input = {1, 36, 36}, .outputs = heads(3)}, 32});
  add_steps(file, {"mlp", {.input = {784}, .outputs = heads(10), .hidden = {1000, 780}}, 64});
  add_steps(file, {"resnet18-32", {.input = {3, 32, 32}, .outputs = heads(2)}, 8});
  return file;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  try {
    if (verb == "curves" && argc >= 3 && argc <= 5) {
      const std::string optimizer = argc > 3 ? argv[3] : "adam";
      save_safetensors(argv[2], curves(optimizer, argc > 4 ? std::atof(argv[4]) : 1e-3));
      return 0;
    }
    if (verb == "data" && argc == 3) {
      save_safetensors(argv[2], default_data());
      return 0;
    }
    if (verb == "steps" && argc == 3) {
      save_safetensors(argv[2], steps());
      return 0;
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  fmt::print(stderr,
             "usage: truth curves FILE [OPTIMIZER [RATE]]\n       truth data FILE\n       truth "
             "steps FILE\n");
  return 2;
}
