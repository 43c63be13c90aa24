// Benchmarks of passes and training steps.
#include <concord/autograd/ops.h>
#include <concord/experiments/bench_suite.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/step.h>
#include <concord/nn/network.h>
#include <concord/optim/registry.h>

#include <fmt/format.h>

#include <memory>
#include <optional>

namespace concord::experiments {

namespace {

/// A network with tasks of ten classes each on one batch of noise, and all that a step of training
/// needs.
class Trainee {
 public:
  Trainee(std::string_view network, const Shape& image, index_t batch, int tasks,
          std::string_view method, std::string_view optimizer)
      : network_(nn::make_network(
            network, Scope(store_),
            {.input = image,
             .outputs = std::vector<index_t>(static_cast<std::size_t>(tasks), kClasses)})),
        theta_(store_),
        step_(store_, multitask::make_aggregator(method), tasks),
        optimizer_(optim::make_optimizer(optimizer, theta_, {.rate = 1e-3, .momentum = 0.9})),
        input_(Tensor::empty({batch, image[0], image[1], image[2]})),
        losses_(static_cast<std::size_t>(tasks)) {
    theta_.initialize(Rng(1));
    Rng(1).fork("input").fill_uniform(input_, -1, 1);
    for (int t = 0; t < tasks; ++t) {
      const Rng rng = Rng(1).fork("labels").fork(static_cast<std::uint64_t>(t));
      const Tensor& labels = labels_.emplace_back(Tensor::empty({batch}, DType::i64));
      for (index_t i = 0; i < batch; ++i)
        labels.data<std::int64_t>()[i] = rng.below(static_cast<std::uint64_t>(i), kClasses);
    }
  }

  /// Records the losses anew.
  void forward() {
    tape_.reset();
    network_->forward({.theta = &theta_, .tape = &tape_, .training = true}, input_, outputs_);
    for (std::size_t t = 0; t < losses_.size(); ++t)
      losses_[t] = cross_entropy(outputs_[t], labels_[t]);
  }
  void step() {
    forward();
    step_.backward(tape_, losses_, {.step = steps_++, .rng = Rng(1)});
    optimizer_->step(theta_, step_.direction(), step_.squared_norm());
  }

  /// FLOP of a step in linear layers and convolutions: the forward pass, and as much again for
  /// the gradient of each operand and each task that reaches it. From a recorded forward pass.
  double flops() const {
    double sum = 0;
    for (const Tape::Node& node : tape_.nodes()) {
      const std::string_view op = node.op.name;
      if (op != "linear" && op != "conv2d") continue;
      int gradients = 0, rows = tasks();
      for (const int id : tape_.inputs(node).first(2)) {
        if (id < 0) continue;
        ++gradients;
        const SliceId slice = tape_.nodes()[static_cast<std::size_t>(id)].parameter;
        if (slice >= 0 && store_.slice(slice).group != kShared) rows = 1;
      }
      sum += static_cast<double>(node.op.flops) * (1 + gradients * rows);
    }
    return sum;
  }

  int tasks() const { return static_cast<int>(losses_.size()); }
  Tape& tape() { return tape_; }
  std::span<const Var> losses() const { return losses_; }
  const ParameterStore& store() const { return store_; }

 private:
  static constexpr index_t kClasses = 10;

  ParameterStore store_;
  std::unique_ptr<nn::Network> network_;
  Theta theta_;
  multitask::Step step_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  Tape tape_;
  Tensor input_;
  std::vector<Tensor> labels_;
  std::vector<Var> outputs_, losses_;
  std::int64_t steps_ = 0;
};

Trainee lenet(std::string_view method) { return {"lenet", {1, 36, 36}, 256, 2, method, "adam"}; }
Trainee resnet18(index_t batch, int tasks) {
  return {"resnet18-32", {3, 32, 32}, batch, tasks, "equal", "sgd"};
}

void add_step(Timings& rows, const std::string& name, Trainee&& net, const Roofs& roofs,
              double seconds, index_t batch) {
  const Timing t = time([&] { net.step(); }, seconds);
  rows.add(name, t, {net.flops(), Work::flops, roofs.gemm, "GEMM"},
           fmt::format("{:.0f} images/s", static_cast<double>(batch) / t.minimum));
}

}  // namespace

Section bench_mlp(const Roofs&) {
  ParameterStore store;
  constexpr index_t kBatch = 4, kInputs = 16;
  const auto network = nn::make_network("mlp", Scope(store),
                                        {.input = {kInputs}, .outputs = {4}, .hidden = {64, 64}});
  const Theta theta(store);
  theta.initialize(Rng(1));
  const Tensor x = Tensor::empty({kBatch, kInputs});
  Rng(1).fork("input").fill_uniform(x, -1, 1);
  std::vector<Var> outputs;
  const Context context{.theta = &theta};
  Timings rows;
  rows.add("forward", time([&] { network->forward(context, x, outputs); }), {},
           "target: under 20 us");
  return rows.take();
}

Section bench_lenet(const Roofs& roofs) {
  Timings rows;
  for (const char* method : {"pcgrad", "equal"})
    add_step(rows, method, lenet(method), roofs, 1.5, 256);
  return rows.take();
}

Section bench_resnet18(const Roofs& roofs) {
  Timings rows;
  add_step(rows, "step", resnet18(32, 1), roofs, 6, 32);
  return rows.take();
}

Section bench_rows(const Roofs&) {
  Timings rows;
  const auto compare = [&](const std::string& name, Trainee&& net, double seconds) {
    net.forward();
    const int tasks = net.tasks();
    const ParameterStore& store = net.store();
    GradientMatrix all(store, tasks), one(store, 1, DType::f32, Columns::all);
    const auto times =
        time_in_turns({[&] { net.tape().backward(net.losses(), all); },
                       [&] {
                         for (int t = 0; t < tasks; ++t)
                           net.tape().backward({net.losses()[static_cast<std::size_t>(t)]}, one);
                       }},
                      seconds);
    const double ratio = times[0].minimum / times[1].minimum;
    rows.add(fmt::format("{}, one sweep", name), times[0], {},
             fmt::format("{:.2f} of {} sweeps", ratio, tasks), {{"over_separate_sweeps", ratio}});
    rows.add(fmt::format("{}, {} sweeps", name, tasks), times[1]);
  };
  compare("lenet, 2 tasks, batch 256", lenet("equal"), 1);
  compare("resnet18, 2 tasks, batch 16", resnet18(16, 2), 2);
  compare("resnet18, 3 tasks, batch 16", resnet18(16, 3), 2);
  return rows.take();
}

Section bench_mallocs(const Roofs&) {
  Section section{Table({"<per step", "blocks handed out", "from the system", "operator new"}), {}};
  const auto count = [&](const std::string& name, Trainee&& net) {
    constexpr int kWarmUp = 5, kSteps = 10;
    for (int i = 0; i < kWarmUp; ++i) net.step();
    const AllocatorStats before = Allocator::of(kCpu).stats();
    const auto calls_before = operator_new_calls();
    for (int i = 0; i < kSteps; ++i) net.step();
    const AllocatorStats after = Allocator::of(kCpu).stats();
    const auto calls_after = operator_new_calls();
    const auto per_step = [](std::uint64_t from, std::uint64_t to) {
      return static_cast<double>(to - from) / kSteps;
    };
    const double blocks = per_step(before.requests, after.requests);
    const double system = per_step(before.system_requests, after.system_requests);
    Json result = Json::object({{"name", name}, {"blocks", blocks}, {"system_requests", system}});
    std::string calls = "-";
    if (calls_before && calls_after) {
      const double n = per_step(*calls_before, *calls_after);
      result.set("operator_new", n);
      calls = fmt::format("{:g}", n);
    }
    section.table.add({name, fmt::format("{:g}", blocks), fmt::format("{:g}", system), calls});
    section.results.push_back(std::move(result));
  };
  count("lenet, pcgrad, batch 256", lenet("pcgrad"));
  count("resnet18, batch 8", resnet18(8, 1));
  return section;
}

}  // namespace concord::experiments
