#include <concord/autograd/ops.h>
#include <concord/experiments/bench_trainee.h>
#include <concord/optim/registry.h>

namespace concord::experiments {

namespace {

constexpr index_t kClasses = 10;
/// Small: the gradients stay what they are at the start, however long a benchmark trains.
constexpr double kRate = 1e-5;

bool is_product(const Tape::Node& node) {
  const std::string_view op = node.op.name;
  return op == "linear" || op == "conv2d";
}

}  // namespace

Trainee::Trainee(const Options& o)
    : network_(nn::make_network(
          o.network, Scope(store_),
          {.input = o.input,
           .outputs = std::vector<index_t>(static_cast<std::size_t>(o.tasks), kClasses),
           .hidden = o.hidden})),
      theta_(store_, DType::f32, o.device),
      optimizer_(optim::make_optimizer(o.optimizer, theta_, {.rate = kRate, .momentum = 0.9})),
      input_(Tensor::empty(o.input.insert(0, o.batch))),
      losses_(static_cast<std::size_t>(o.tasks)) {
  theta_.initialize(Rng(1));
  Rng(1).fork("input").fill_uniform(input_, -1, 1);
  input_ = input_.to(o.device);
  for (int t = 0; t < o.tasks; ++t) {
    const Rng rng = Rng(1).fork("labels").fork(static_cast<std::uint64_t>(t));
    const Tensor labels = Tensor::empty({o.batch}, DType::i64);
    for (index_t i = 0; i < o.batch; ++i)
      labels.data<std::int64_t>()[i] = rng.below(static_cast<std::uint64_t>(i), kClasses);
    labels_.push_back(labels.to(o.device));
  }
}

void Trainee::forward() {
  tape_.reset();
  network_->forward({.theta = &theta_, .tape = &tape_, .training = true}, input_, outputs_);
  for (std::size_t t = 0; t < losses_.size(); ++t)
    losses_[t] = cross_entropy(outputs_[t], labels_[t]);
}

void Trainee::update(const optim::Direction& d, double squared_norm) {
  optimizer_->step(theta_, d, squared_norm);
}

void Trainee::step(multitask::Step& step) {
  forward();
  step.backward(tape_, losses_, {.step = steps_++, .rng = Rng(1)});
  update(step.direction(), step.squared_norm());
}

double Trainee::forward_flops() const {
  double sum = 0;
  for (const Tape::Node& node : tape_.nodes()) {
    if (is_product(node)) sum += static_cast<double>(node.op.flops);
  }
  return sum;
}

double Trainee::backward_flops() const {
  double sum = 0;
  for (const Tape::Node& node : tape_.nodes()) {
    if (!is_product(node)) continue;
    int gradients = 0, rows = tasks();
    for (const int id : tape_.inputs(node).first(2)) {
      if (id < 0) continue;
      ++gradients;
      const SliceId slice = tape_.nodes()[static_cast<std::size_t>(id)].parameter;
      if (slice >= 0 && store_.slice(slice).group != kShared) rows = 1;
    }
    sum += static_cast<double>(node.op.flops) * gradients * rows;
  }
  return sum;
}

}  // namespace concord::experiments
