// Benchmarks of passes and training steps.
#include <concord/autograd/ops.h>
#include <concord/experiments/bench_suite.h>
#include <concord/experiments/bench_trainee.h>
#include <concord/multitask/registry.h>
#include <concord/nn/network.h>

#include <fmt/format.h>

#include <optional>

namespace concord::experiments {

namespace {

/// A network and the method it is trained with.
struct Training {
  Training(const Trainee::Options& options, std::string_view method)
      : net(options), method(net.store(), multitask::make_aggregator(method), options.tasks) {}
  void step() { net.step(method); }

  Trainee net;
  multitask::Step method;
};

const Trainee::Options kLenet{
    .network = "lenet", .input = {1, 36, 36}, .batch = 256, .tasks = 2, .optimizer = "adam"};
Trainee::Options resnet18(index_t batch, int tasks) {
  return {.network = "resnet18-32", .input = {3, 32, 32}, .batch = batch, .tasks = tasks};
}

void add_step(Timings& rows, const std::string& name, Training&& training, const Roofs& roofs,
              double seconds) {
  const Timing t = time([&] { training.step(); }, seconds);
  rows.add(name, t, {training.net.flops(), Work::flops, roofs.gemm, "GEMM"},
           fmt::format("{:.0f} images/s", static_cast<double>(training.net.batch()) / t.minimum));
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
    add_step(rows, method, {kLenet, method}, roofs, 1.5);
  return rows.take();
}

Section bench_resnet18(const Roofs& roofs) {
  Timings rows;
  add_step(rows, "step", {resnet18(32, 1), "equal"}, roofs, 6);
  return rows.take();
}

Section bench_rows(const Roofs&) {
  Timings rows;
  const auto compare = [&](const std::string& name, const Trainee::Options& options,
                           double seconds) {
    Trainee net(options);
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
  compare("lenet, 2 tasks, batch 256", kLenet, 1);
  compare("resnet18, 2 tasks, batch 16", resnet18(16, 2), 2);
  compare("resnet18, 3 tasks, batch 16", resnet18(16, 3), 2);
  return rows.take();
}

Requests requests_per_step(const std::function<void()>& step) {
  constexpr int kWarmUp = 5, kSteps = 10;
  for (int i = 0; i < kWarmUp; ++i) step();
  const AllocatorStats before = Allocator::of(kCpu).stats();
  const auto calls_before = operator_new_calls();
  for (int i = 0; i < kSteps; ++i) step();
  const AllocatorStats after = Allocator::of(kCpu).stats();
  const auto calls_after = operator_new_calls();
  const auto per_step = [](std::uint64_t from, std::uint64_t to) {
    return static_cast<double>(to - from) / kSteps;
  };
  Requests r{.blocks = per_step(before.requests, after.requests),
             .system = per_step(before.system_requests, after.system_requests),
             .operator_new = {}};
  if (calls_before && calls_after) r.operator_new = per_step(*calls_before, *calls_after);
  return r;
}

Section bench_mallocs(const Roofs&) {
  Section section{Table({"<per step", "blocks handed out", "from the system", "operator new"}), {}};
  const auto count = [&](const std::string& name, Training&& training) {
    const Requests r = requests_per_step([&] { training.step(); });
    section.table.add({name, fmt::format("{:g}", r.blocks), fmt::format("{:g}", r.system),
                       r.operator_new ? fmt::format("{:g}", *r.operator_new) : "-"});
    Json result =
        Json::object({{"name", name}, {"blocks", r.blocks}, {"system_requests", r.system}});
    if (r.operator_new) result.set("operator_new", *r.operator_new);
    section.results.push_back(std::move(result));
  };
  count("lenet, pcgrad, batch 256", {kLenet, "pcgrad"});
  count("resnet18, batch 8", {resnet18(8, 1), "equal"});
  return section;
}

}  // namespace concord::experiments
