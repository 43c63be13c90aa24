#include <concord/autograd/ops.h>
#include <concord/experiments/training.h>
#include <concord/multitask/registry.h>
#include <concord/optim/registry.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::experiments {
namespace {

data::LoaderOptions seeded(data::LoaderOptions options, const Rng& rng) {
  options.seed = rng.fork("order").stream();
  return options;
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

Theta initialised(const ParameterStore& store, const Rng& rng) {
  Theta theta(store);
  theta.initialize(rng);
  return theta;
}

multitask::Heads heads_of(const Arm& arm) {
  return multitask::find_method(arm.method).kind == multitask::Kind::weighting
             ? multitask::Heads::weighted
             : multitask::Heads::own;
}

/// How many rows of logits [n, classes] have their largest value at the label; ignored labels count
/// as wrong.
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

}  // namespace

Training::Training(Arm arm, const TrainingOptions& options, data::DatasetPtr train)
    : arm_(std::move(arm)),
      options_(options),
      loader_(std::move(train), seeded(options.loader, Rng(options.seed))),
      rng_(options.seed),
      network_(make(arm_, options, loader_.dataset(), store_)),
      theta_(initialised(store_, rng_)),
      optimizer_(optim::make_optimizer(
          options.optimizer, theta_,
          {.rate = options.rate, .momentum = options.momentum, .decay = options.decay})),
      schedule_(optim::make_schedule(options.schedule, total_steps())),
      step_(store_, multitask::make_aggregator(arm_.method, arm_.options),
            static_cast<int>(arm_.tasks.size()), {.heads = heads_of(arm_)}),
      telemetry_(static_cast<int>(arm_.tasks.size())),
      loss_sums_(arm_.tasks.size()) {
  optimizer_->clip.norm = options.clip_norm;
  tape_.watch_nonfinite(options.watch);
}

void Training::compute_losses(const Context& ctx) {
  network_->forward(ctx, batch_.input, outputs_);
  losses_.clear();
  for (std::size_t t = 0; t < arm_.tasks.size(); ++t) {
    losses_.push_back(
        cross_entropy(outputs_[t], batch_.targets[static_cast<std::size_t>(arm_.tasks[t])]));
  }
}

index_t Training::step() {
  loader_.next(batch_);
  tape_.reset();
  const Context ctx{.theta = &theta_,
                    .tape = &tape_,
                    .training = true,
                    .rng = rng_.fork("step").fork(static_cast<std::uint64_t>(steps_))};
  compute_losses(ctx);
  step_.backward(tape_, losses_, {.step = steps_, .epoch = epoch(), .rng = rng_.fork("method")});
  optimizer_->rate(options_.rate * schedule_(steps_));
  optimizer_->step(theta_, step_.direction(), step_.squared_norm());
  if (step_.method().needs_losses_after()) {
    Context after = ctx;
    after.tape = nullptr;
    compute_losses(after);
    step_.after(losses_);
  }

  telemetry_.record(step_.inputs(), step_.answer());
  for (std::size_t t = 0; t < loss_sums_.size(); ++t) loss_sums_[t] += step_.losses()[t];
  ++loss_count_;
  ++steps_;
  return batch_.size;
}

std::vector<double> Training::take_losses() {
  std::vector<double> means = loss_sums_;
  for (double& m : means) m /= static_cast<double>(std::max<std::int64_t>(loss_count_, 1));
  std::fill(loss_sums_.begin(), loss_sums_.end(), 0.0);
  loss_count_ = 0;
  return means;
}

std::vector<Score> Training::evaluate(const data::Dataset& set) const {
  constexpr index_t kBatch = 500;
  const Context ctx{.theta = &theta_};
  std::vector<Score> scores(arm_.tasks.size());
  std::vector<index_t> items;
  std::vector<Var> outputs;
  data::Batch batch;
  for (index_t first = 0; first < set.size(); first += kBatch) {
    items.clear();
    for (index_t i = first; i < std::min(first + kBatch, set.size()); ++i) items.push_back(i);
    set.read(items, Rng(), batch);
    network_->forward(ctx, batch.input, outputs);
    for (std::size_t t = 0; t < scores.size(); ++t) {
      const Tensor& labels = batch.targets[static_cast<std::size_t>(arm_.tasks[t])];
      scores[t].loss += cross_entropy(outputs[t], labels, {.reduction = Reduction::sum}).item();
      scores[t].accuracy += static_cast<double>(count_correct(outputs[t].value(), labels));
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
  file.tensors["theta"] = theta_.values();
  file.tensors["buffers"] = theta_.buffers();
  for (const auto& [name, tensor] : optimizer_->state()) file.tensors["optimizer/" + name] = tensor;
  multitask::State method, telemetry;
  step_.method().save(method);
  telemetry_.save(telemetry);
  for (const auto& [name, values] : method) file.tensors["method/" + name] = tensor_of(values);
  for (const auto& [name, values] : telemetry)
    file.tensors["telemetry/" + name] = tensor_of(values);
  file.tensors["loss_sums"] = tensor_of(loss_sums_);
  file.tensors["counts"] =
      Tensor::from<std::int64_t>({steps_, loss_count_, optimizer_->steps()}, {3});
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
  step_.method().load(group("method/"));
  telemetry_.load(group("telemetry/"));
  loss_sums_ = vector_of(tensor("loss_sums"));
  const auto counts = tensor("counts").values<std::int64_t>();
  steps_ = counts[0];
  loss_count_ = counts[1];
  optimizer_->steps(counts[2]);
  loader_.seek({steps_ / loader_.batches_per_epoch(), steps_ % loader_.batches_per_epoch()});
}

}  // namespace concord::experiments
