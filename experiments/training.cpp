#include <concord/autograd/ops.h>
#include <concord/experiments/training.h>
#include <concord/multitask/registry.h>
#include <concord/optim/registry.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::experiments {
namespace {

/// One loader per batch of a step; the first has the order that every method sees.
std::vector<std::unique_ptr<data::Loader>> make_loaders(int batches, data::LoaderOptions options,
                                                        const data::DatasetPtr& set,
                                                        const Rng& rng) {
  std::vector<std::unique_ptr<data::Loader>> loaders;
  for (int b = 0; b < batches; ++b) {
    const Rng order = rng.fork("order");
    options.seed = (b == 0 ? order : order.fork(static_cast<std::uint64_t>(b))).stream();
    loaders.push_back(std::make_unique<data::Loader>(set, options));
  }
  return loaders;
}

std::unique_ptr<nn::Network> make(const Arm& arm, const TrainingOptions& options,
                                  const data::Dataset& set, ParameterStore& store) {
  nn::NetworkOptions o;
  o.input = set.input_shape();
  for (const int t : arm.tasks) {
    const data::Target& target = set.targets().at(static_cast<std::size_t>(t));
    if (target.classes == 0)
      throw ValueError(fmt::format("training: task '{}' has no classes", target.name));
    o.outputs.push_back(target.classes);
  }
  return nn::make_network(options.network, Scope(store), o);
}

Theta initialised(const ParameterStore& store, const Rng& rng, Device device) {
  Theta theta(store, DType::f32, device);
  theta.initialize(rng);
  return theta;
}

/// How many rows of logits [n, classes] have their largest value at the label; ignored labels count
/// as wrong. Both on the CPU.
index_t count_correct(const Tensor& logits, const Tensor& labels) {
  const index_t n = logits.dim(0), classes = logits.dim(1);
  const float* x = logits.data<float>();
  index_t correct = 0;
  for (index_t i = 0; i < n; ++i, x += classes) {
    correct += std::max_element(x, x + classes) - x == labels.data<std::int64_t>()[i];
  }
  return correct;
}

Tensor tensor_of(const std::vector<double>& values) {
  return Tensor::from(std::span<const double>(values), {static_cast<index_t>(values.size())});
}

std::vector<double> vector_of(const Tensor& t) {
  const auto v = t.values<double>();
  return {v.begin(), v.end()};
}

/// Steps around an aggregator keep the Gram matrices of the layers for telemetry.
multitask::OptionMap measuring_layers(const Arm& arm) {
  multitask::OptionMap options = arm.options;
  if (multitask::find_method(arm.method).kind != multitask::Kind::step)
    options.emplace("measure", "layer");
  return options;
}

std::vector<std::string> layers_of(multitask::Method& method) {
  std::vector<std::string> names;
  if (method.inner()) {
    for (const multitask::Block& block : method.inner()->measured()) names.push_back(block.name);
  }
  return names;
}

}  // namespace

Training::Training(Arm arm, const TrainingOptions& options, data::DatasetPtr train)
    : arm_(std::move(arm)),
      options_(options),
      rng_(options.seed),
      network_(make(arm_, options, *train, store_)),
      theta_(initialised(store_, rng_, options.device)),
      optimizer_(optim::make_optimizer(
          options.optimizer, theta_,
          {.rate = options.rate, .momentum = options.momentum, .decay = options.decay})),
      method_(multitask::make_method(arm_.method, measuring_layers(arm_), theta_,
                                     static_cast<int>(arm_.tasks.size()))),
      loaders_(make_loaders(method_->batches(), options.loader, train, rng_)),
      schedule_(optim::make_schedule(options.schedule, total_steps())),
      telemetry_(static_cast<int>(arm_.tasks.size())),
      layers_(layers_of(*method_), static_cast<int>(arm_.tasks.size())),
      loss_sums_(arm_.tasks.size()),
      loss_counts_(arm_.tasks.size()),
      batches_(loaders_.size()) {
  for (const auto& loader : loaders_) feeds_.emplace_back(*loader, options.device);
  optimizer_->clip.norm = options.clip_norm;
  method_->graphs(options.graphs);
  tape_.watch_nonfinite(options.watch);
}

Var Training::features(const Context& ctx, int batch) {
  return network_->features(ctx, batches_[static_cast<std::size_t>(batch)].input);
}

void Training::losses_at(const Context& ctx, int batch, std::span<const Var> features,
                         std::vector<Var>& losses) {
  losses.clear();
  for (std::size_t t = 0; t < arm_.tasks.size(); ++t) {
    const Tensor& labels =
        batches_[static_cast<std::size_t>(batch)].targets[static_cast<std::size_t>(arm_.tasks[t])];
    losses.push_back(cross_entropy(network_->head(ctx, static_cast<int>(t), features[t]), labels));
  }
}

void Training::losses(const Context& ctx, int batch, std::vector<Var>& losses) {
  inputs_.assign(arm_.tasks.size(), features(ctx, batch));
  losses_at(ctx, batch, inputs_, losses);
  inputs_.clear();  // Vars hold on to tensors
}

index_t Training::step() {
  for (std::size_t b = 0; b < feeds_.size(); ++b) feeds_[b].next(batches_[b]);
  const Context ctx{.theta = &theta_,
                    .tape = &tape_,
                    .training = true,
                    .rng = rng_.fork("step").fork(static_cast<std::uint64_t>(steps_))};
  optimizer_->rate(options_.rate * schedule_(steps_));
  method_->step(*this, ctx, *optimizer_,
                {.step = steps_, .epoch = epoch(), .rng = rng_.fork("method")});

  const multitask::StepInputs seen = method_->inputs();
  if (method_->fresh()) record();
  for (std::size_t r = 0; r < seen.tasks.size(); ++r) {
    const auto t = static_cast<std::size_t>(seen.tasks[r]);
    loss_sums_[t] += seen.losses[r];
    ++loss_counts_[t];
  }
  ++steps_;
  return batches_.front().size;
}

void Training::record() {
  const multitask::StepInputs seen = method_->inputs();
  telemetry_.record(seen, method_->answer());
  const multitask::Step* step = method_->inner();
  if (!step) return;
  int block = 0;  // with the answer for this layer: layers are as fine as blocks, in the same order
  for (std::size_t m = 0; m < step->measured_grams().size(); ++m) {
    const multitask::Block& b = step->blocks()[static_cast<std::size_t>(block)];
    if (step->measured()[m].first >= b.first + b.size) ++block;
    layers_.record(
        m, {step->measured_grams()[m], seen.losses, seen.step, seen.epoch, seen.rng, seen.tasks},
        step->answer(block));
  }
}

std::map<std::string, Tensor> Training::weights() const {
  auto state = theta_.state();
  const auto on_host = [&] {
    for (auto& [name, values] : state) values = values.to(kCpu);
    return state;
  };
  if (!method_->needs_features()) return on_host();
  // Row i of the mapped unit matrix is what feature i alone becomes: head_input(z) = z M, and the
  // head's (z M) W^T = z (W M^T)^T.
  const index_t d = network_->trunk().features();
  const Tensor unit = Tensor::zeros({d, d});
  for (index_t i = 0; i < d; ++i) unit.data<float>()[i * (d + 1)] = 1;
  for (int t = 0; t < network_->tasks(); ++t) {
    Tensor& weight =
        state.at(network_->tasks() == 1 ? "fc.weight" : fmt::format("heads.{}.weight", t));
    weight = linear(weight, method_->head_input(t, unit.to(options_.device))).value();
  }
  return on_host();
}

std::vector<double> Training::take_losses() {
  std::vector<double> means = loss_sums_;
  for (std::size_t t = 0; t < means.size(); ++t) means[t] /= std::max(loss_counts_[t], 1.0);
  std::fill(loss_sums_.begin(), loss_sums_.end(), 0.0);
  std::fill(loss_counts_.begin(), loss_counts_.end(), 0.0);
  return means;
}

std::vector<Score> Training::evaluate(const data::Dataset& set) const {
  constexpr index_t kBatch = 500;
  const Context ctx{.theta = &theta_};
  std::vector<Score> scores(arm_.tasks.size());
  std::vector<index_t> items;
  data::Batch batch;
  for (index_t first = 0; first < set.size(); first += kBatch) {
    items.clear();
    for (index_t i = first; i < std::min(first + kBatch, set.size()); ++i) items.push_back(i);
    set.read(items, Rng(), batch);
    const Var features = network_->features(ctx, batch.input.to(options_.device));
    for (std::size_t t = 0; t < scores.size(); ++t) {
      const int task = static_cast<int>(t);
      const Var output = network_->head(ctx, task, method_->head_input(task, features));
      const Tensor& labels = batch.targets[static_cast<std::size_t>(arm_.tasks[t])];
      const Tensor logits = output.value().to(kCpu);
      scores[t].loss += cross_entropy(logits, labels, {.reduction = Reduction::sum}).item();
      scores[t].accuracy += static_cast<double>(count_correct(logits, labels));
    }
  }
  for (Score& s : scores) {
    s.loss /= static_cast<double>(set.size());
    s.accuracy /= static_cast<double>(set.size());
  }
  return scores;
}

void Training::save(TensorFile& file) const {
  file.metadata["training.arm"] = arm_.name;
  file.metadata["training.seed"] = std::to_string(options_.seed);
  file.tensors["theta"] = theta_.values().to(kCpu);
  file.tensors["buffers"] = theta_.buffers().to(kCpu);
  for (const auto& [name, tensor] : optimizer_->state())
    file.tensors["optimizer/" + name] = tensor.to(kCpu);
  multitask::State method, telemetry, layers;
  method_->save(method);
  telemetry_.save(telemetry);
  layers_.save(layers);
  for (const auto& [name, values] : method) file.tensors["method/" + name] = tensor_of(values);
  for (const auto& [name, values] : telemetry)
    file.tensors["telemetry/" + name] = tensor_of(values);
  for (const auto& [name, values] : layers) file.tensors["layers/" + name] = tensor_of(values);
  file.tensors["loss_sums"] = tensor_of(loss_sums_);
  file.tensors["loss_counts"] = tensor_of(loss_counts_);
  file.tensors["counts"] = Tensor::from<std::int64_t>({steps_, optimizer_->steps()}, {2});
}

void Training::load(const TensorFile& file) {
  const auto text = [&](const std::string& key) {
    const auto it = file.metadata.find(key);
    return it == file.metadata.end() ? std::string() : it->second;
  };
  if (text("training.arm") != arm_.name || text("training.seed") != std::to_string(options_.seed)) {
    throw FileError(fmt::format("checkpoint: it is of '{}', seed {}; expected '{}', seed {}",
                                text("training.arm"), text("training.seed"), arm_.name,
                                options_.seed));
  }
  const auto tensor = [&](const std::string& name) -> const Tensor& {
    const auto it = file.tensors.find(name);
    if (it == file.tensors.end())
      throw FileError(fmt::format("checkpoint: tensor '{}' is missing", name));
    return it->second;
  };
  const auto group = [&](const std::string& prefix) {
    multitask::State state;
    for (const auto& [name, t] : file.tensors) {
      if (name.starts_with(prefix)) state[name.substr(prefix.size())] = vector_of(t);
    }
    return state;
  };
  theta_.values().copy_from(tensor("theta"));
  theta_.buffers().copy_from(tensor("buffers"));
  for (const auto& [name, to] : optimizer_->state()) to.copy_from(tensor("optimizer/" + name));
  method_->load(group("method/"));
  telemetry_.load(group("telemetry/"));
  layers_.load(group("layers/"));
  loss_sums_ = vector_of(tensor("loss_sums"));
  loss_counts_ = vector_of(tensor("loss_counts"));
  const auto counts = tensor("counts").values<std::int64_t>();
  steps_ = counts[0];
  optimizer_->steps(counts[1]);
  for (data::DeviceLoader& batches : feeds_)
    batches.seek({steps_ / steps_per_epoch(), steps_ % steps_per_epoch()});
}

}  // namespace concord::experiments
