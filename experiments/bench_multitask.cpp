// Benchmarks of the multitask layer: whole steps and their parts, the methods alone, memory.
#include <concord/experiments/bench_suite.h>
#include <concord/experiments/bench_trainee.h>
#include <concord/multitask/gram.h>
#include <concord/multitask/registry.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>

namespace concord::experiments {

namespace {

/// Equal weights are the yardstick: all that a step costs without a method.
constexpr std::array kMethods{"equal", "pcgrad", "mgda", "cagrad", "upgrad"};

Trainee::Options lenet(int tasks) {
  return {
      .network = "lenet", .input = {1, 36, 36}, .batch = 256, .tasks = tasks, .optimizer = "adam"};
}
Trainee::Options mlp(int tasks) {
  return {.network = "mlp", .input = {784}, .batch = 64, .tasks = tasks, .hidden = {1000, 780}};
}
Trainee::Options resnet18(int tasks, index_t batch) {
  return {.network = "resnet18-32", .input = {3, 32, 32}, .batch = batch, .tasks = tasks};
}

std::string title(const Trainee::Options& o) {
  return fmt::format("T = {}, batch {}", o.tasks, o.batch);
}

// --- Steps

/// The parts of a step with G and, in turns with them, whole steps: each method in the way that the
/// cost model picks, and one of them in both ways.
void add_steps(Timings& rows, const Trainee::Options& options, const Roofs& roofs, double seconds) {
  const int tasks = options.tasks;
  Trainee net(options);
  using multitask::Keep;
  std::vector<std::string> names;
  std::deque<multitask::Step> steps;
  const auto add = [&](const std::string& method, Keep keep, const std::string& name) {
    names.push_back(name);
    steps.emplace_back(net.store(), multitask::make_aggregator(method), tasks,
                       multitask::StepOptions{.keep = keep});
  };
  for (const char* method : kMethods) add(method, Keep::automatic, method);
  add("pcgrad", Keep::full, "pcgrad, with G");
  add("pcgrad", Keep::none, "pcgrad, without G");

  GradientMatrix g(net.store(), tasks);
  multitask::Gram gram;
  const std::vector<double> ones(static_cast<std::size_t>(tasks), 1.0);
  std::vector<std::function<void()>> parts{
      [&] { net.forward(); },
      [&] { net.tape().backward(net.losses(), g); },
      [&] { multitask::gram_of(g, {}, gram); },
      [&] {
        net.update({g, ones});
      },
  };
  const std::size_t first_step = parts.size();
  for (multitask::Step& step : steps) parts.push_back([&] { net.step(step); });
  const auto times = time_in_turns(parts, seconds);

  const std::string before = title(options) + ": ";
  const double row_bytes = sizeof(float) * static_cast<double>(g.columns()) * tasks;
  rows.add(before + "forward", times[0], {net.forward_flops(), Work::flops, roofs.gemm, "GEMM"});
  rows.add(before + "sweep", times[1], {net.backward_flops(), Work::flops, roofs.gemm, "GEMM"},
           fmt::format("{} x {} gradients", tasks, g.columns()));
  rows.add(before + "Gram", times[2], {row_bytes, Work::bytes, roofs.read, "read"});
  rows.add(before + "update", times[3], {row_bytes, Work::bytes, roofs.read, "read"},
           std::string(options.optimizer));
  for (std::size_t i = 0; i < steps.size(); ++i) {
    multitask::Step& step = steps[i];
    multitask::Direction answer;
    const Timing solver = time([&] { step.method().weights(step.inputs(), answer); }, 0.02);
    const bool with_g = step.gradients().tasks() == tasks;
    rows.add(before + names[i], times[first_step + i], {},
             fmt::format("{} G; method alone {}, residual {:.0e}", with_g ? "with" : "without",
                         time_text(solver.median), answer.residual),
             {{"with_g", with_g}, {"method_s", solver.median}, {"residual", answer.residual}});
  }
}

// --- The methods alone

constexpr std::array kTasks{2, 3, 10, 40, 128};
constexpr int kMatrices = 8;

/// 128 tasks: 200 columns; the same proportion for fewer.
std::int64_t columns_for(int tasks) { return (tasks * 200 + 127) / 128; }

/// Of Gaussian matrices.
std::vector<multitask::Gram> gaussian_grams(int tasks) {
  const std::int64_t columns = columns_for(tasks);
  const Tensor j = Tensor::empty({tasks, columns}, DType::f64);
  std::vector<multitask::Gram> grams;
  for (int i = 0; i < kMatrices; ++i) {
    Rng(1).fork("jacobian").fork(static_cast<std::uint64_t>(i)).fill_normal(j, 0, 1);
    grams.push_back(multitask::Gram::of(j.values<double>(), tasks, columns));
  }
  return grams;
}

/// Whether a Gram matrix (and losses) is all that a method needs, and its answer depends on it.
bool works_on_gram(const multitask::MethodInfo& info) {
  return info.kind == multitask::Kind::gradient &&
         !multitask::make_aggregator(info.name)->needs_elements();
}

struct Solved {
  Timing time;
  double residual = 0;  // the worst
};

Solved time_method(std::string_view name, const std::vector<multitask::Gram>& grams) {
  const auto method = multitask::make_aggregator(name);
  const std::vector<double> losses(static_cast<std::size_t>(grams[0].tasks()), 1.0);
  multitask::Direction answer;
  Solved s;
  std::int64_t step = 0;
  s.time = time(
      [&] {
        const multitask::Gram& gram = grams[static_cast<std::size_t>(step % kMatrices)];
        method->weights({.gram = gram, .losses = losses, .step = step, .rng = Rng(1)}, answer);
        s.residual = std::max(s.residual, answer.residual);
        ++step;
      },
      0.05);
  return s;
}

// --- Memory

/// The most bytes of cotangents that a sweep from all losses holds at once: those of a node are
/// there from its last user on the tape, which the sweep meets first, until the node's own visit.
double live_cotangents(const Tape& tape, std::span<const Var> losses) {
  const auto nodes = tape.nodes();
  std::vector<std::vector<bool>> reached(nodes.size(), std::vector<bool>(losses.size()));
  for (std::size_t t = 0; t < losses.size(); ++t)
    reached[static_cast<std::size_t>(losses[t].id())][t] = true;
  // f(node) for the inputs of a node that have a cotangent; parameters' lie in the gradient matrix.
  const auto for_inputs = [&](std::size_t id, const auto& f) {
    for (const int in : tape.inputs(nodes[id])) {
      if (in >= 0 && nodes[static_cast<std::size_t>(in)].parameter < 0)
        f(static_cast<std::size_t>(in));
    }
  };
  for (std::size_t id = nodes.size(); id-- > 0;) {
    for_inputs(id, [&](std::size_t in) {
      for (std::size_t t = 0; t < losses.size(); ++t)
        if (reached[id][t]) reached[in][t] = true;
    });
  }
  double live = 0, most = 0;
  std::vector<bool> there(nodes.size());
  const auto bytes = [&](std::size_t id) {
    const auto rows = std::count(reached[id].begin(), reached[id].end(), true);
    return static_cast<double>(rows * nodes[id].shape.numel()) *
           static_cast<double>(size_of(nodes[id].dtype));
  };
  const auto touch = [&](std::size_t id) {
    if (!there[id]) live += bytes(id);
    there[id] = true;
  };
  for (std::size_t id = nodes.size(); id-- > 0;) {
    if (nodes[id].parameter >= 0) continue;
    touch(id);  // a loss: nothing used it
    for_inputs(id, touch);
    most = std::max(most, live);
    live -= bytes(id);
  }
  return most;
}

/// One row of the table. All in bytes of whole blocks, except for what is computed from shapes:
/// cotangents and (T + 1 + v) P.
void add_memory(Section& section, const Trainee::Options& options,
                multitask::Keep keep = multitask::Keep::full) {
  Allocator& memory = Allocator::of(kCpu);
  const auto in_use = [&] { return static_cast<double>(memory.stats().in_use); };
  const double before = in_use();
  Trainee net(options);
  multitask::Step step(net.store(), multitask::make_aggregator("pcgrad"), options.tasks,
                       {.keep = keep});
  const double data = in_use() - before;
  net.forward();
  const double activations = in_use() - before - data;
  const double cotangents = live_cotangents(net.tape(), net.losses());
  const Requests requests = requests_per_step([&] { net.step(step); });
  memory.reset_peak();
  net.step(step);
  const double peak = static_cast<double>(memory.stats().peak) - before;

  const GradientMatrix& g = step.gradients();  // without G: the one combined row
  const double vectors = static_cast<double>(net.optimizer().state().size());
  const double parameters =
      sizeof(float) *
      (static_cast<double>(g.columns()) * g.tasks() + static_cast<double>(g.heads().numel()) +
       (1 + vectors) * static_cast<double>(net.store().size()));
  const double sum = activations + cotangents + parameters;
  const auto mb = [](double bytes) { return fmt::format("{:.2f}", bytes * 1e-6); };
  const std::string name = fmt::format("{}, {}{}", options.network, title(options),
                                       keep == multitask::Keep::none ? ", without G" : "");
  section.table.add({name, mb(activations), mb(cotangents),
                     fmt::format("{} = ({} + 1 + {:g}) P", mb(parameters), g.tasks(), vectors),
                     mb(peak - sum), mb(peak), fmt::format("{:.3f}", peak / sum),
                     fmt::format("{:g}", requests.system),
                     requests.operator_new ? fmt::format("{:g}", *requests.operator_new) : "-"});
  Json result = Json::object({{"name", name},
                              {"tasks", options.tasks},
                              {"batch", options.batch},
                              {"activations", activations},
                              {"cotangents", cotangents},
                              {"parameters", parameters},
                              {"workspace", peak - sum},
                              {"peak", peak},
                              {"system_requests", requests.system}});
  if (requests.operator_new) result.set("operator_new", *requests.operator_new);
  section.results.push_back(std::move(result));
}

}  // namespace

Section bench_multitask_lenet(const Roofs& roofs) {
  Timings rows;
  for (const int tasks : {2, 10, 40}) {
    if (tasks != 2) rows.rule();
    add_steps(rows, lenet(tasks), roofs, 0.2);
  }
  return rows.take();
}

Section bench_multitask_mlp(const Roofs& roofs) {
  Timings rows;
  for (const int tasks : {2, 10, 40}) {
    if (tasks != 2) rows.rule();
    add_steps(rows, mlp(tasks), roofs, 0.5);
  }
  return rows.take();
}

Section bench_multitask_resnet18(const Roofs& roofs) {
  Timings rows;
  add_steps(rows, resnet18(2, 32), roofs, 1);
  rows.rule();
  add_steps(rows, resnet18(10, 16), roofs, 1);
  return rows.take();
}

Section bench_multitask_solvers(const Roofs&) {
  std::vector<std::string> columns{"<method, median time"};
  std::vector<std::vector<multitask::Gram>> grams;
  for (const int tasks : kTasks) {
    columns.push_back(fmt::format("{} x {}", tasks, columns_for(tasks)));
    grams.push_back(gaussian_grams(tasks));
  }
  columns.emplace_back("residual");
  Section section{Table(columns), {}};
  for (const multitask::MethodInfo& info : multitask::methods()) {
    if (!works_on_gram(info)) continue;
    std::vector<std::string> cells{std::string(info.name)};
    double residual = 0;
    for (std::size_t i = 0; i < grams.size(); ++i) {
      if (info.name == "krum" && grams[i][0].tasks() < 4) {  // it looks for a task's neighbours
        cells.emplace_back("-");
        continue;
      }
      const Solved s = time_method(info.name, grams[i]);
      residual = std::max(residual, s.residual);
      cells.push_back(time_text(s.time.median));
      section.results.push_back(
          Json::object({{"name", fmt::format("{} {}", info.name, columns[i + 1])},
                        {"median_s", s.time.median},
                        {"minimum_s", s.time.minimum},
                        {"samples", s.time.samples},
                        {"residual", s.residual}}));
    }
    cells.push_back(fmt::format("{:.0e}", residual));
    section.table.add(std::move(cells));
  }
  return section;
}

Section bench_multitask_memory(const Roofs&) {
  Section section{Table({"<peak of a step, MB", "activations", "cotangents", "parameters",
                         "workspace", "peak", "over the sum", "from the system", "operator new"}),
                  {}};
  for (const int tasks : {2, 10, 40}) add_memory(section, lenet(tasks));
  for (const int tasks : {2, 10, 40}) add_memory(section, mlp(tasks));
  for (const int tasks : {2, 10, 40}) add_memory(section, mlp(tasks), multitask::Keep::none);
  add_memory(section, resnet18(2, 32));
  add_memory(section, resnet18(10, 16));
  add_memory(section, resnet18(10, 16), multitask::Keep::none);
  return section;
}

}  // namespace concord::experiments
