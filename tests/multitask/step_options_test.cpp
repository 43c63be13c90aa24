// What StepOptions promise: blocks, features, old weights, samples of tasks, micro-batches, scales.
#include <concord/autograd/ops.h>
#include <concord/multitask/elements.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/step.h>
#include <concord/nn/network.h>
#include <concord/optim/sgd.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

using namespace concord;
using namespace concord::multitask;
using concord::testing::error_text;
using doctest::Approx;

namespace {

/// An MLP 5-7-6 with a head per task, sizes 2, 3, 4 ..., in f64; mean squares to fixed targets.
struct Problem {
  ParameterStore store;
  std::unique_ptr<nn::Network> net;
  Theta theta;
  Tape tape;
  Var features;
  std::vector<Var> outputs, losses;
  int tasks;

  explicit Problem(int tasks_) : net(make(store, tasks_)), theta(store, DType::f64), tasks(tasks_) {
    theta.initialize(Rng(5));
  }
  static std::unique_ptr<nn::Network> make(ParameterStore& store, int tasks) {
    nn::NetworkOptions o{.input = {5}, .hidden = {7, 6}, .activation = "tanh"};
    for (int t = 0; t < tasks; ++t) o.outputs.push_back(2 + t);
    return nn::make_network("mlp", Scope(store), o);
  }
  static Tensor input(index_t n, std::uint64_t seed) {
    const Tensor x = Tensor::empty({n, 5}, DType::f64);
    Rng(seed).fill_normal(x);
    return x;
  }
  void forward(const Tensor& x) {
    tape.reset();
    const Context ctx{.theta = &theta, .tape = &tape, .training = true};
    features = net->features(ctx, x);
    losses.clear();
    for (int t = 0; t < tasks; ++t) {
      const Var y = net->head(ctx, t, features);
      const Var error = y - Var(Tensor::full(y.shape(), 1.0 + t, DType::f64));
      losses.push_back(mean(error * error) * (1.0 + t * t));
    }
  }
};

Step::Make maker(const std::string& name, const OptionMap& options = {}) {
  return [name, options] { return make_aggregator(name, options); };
}

constexpr StepOptions kF64{.dtype = DType::f64};

/// θ after one plain step of length 1 from the problem's values: what a direction does.
Tensor moved(const Problem& p, const Step& step) {
  const Theta theta = p.theta.clone();
  optim::Sgd sgd(theta, {.rate = 1});
  sgd.step(theta, step.direction(), step.squared_norm());
  return theta.values();
}

void check_close(const Tensor& a, const Tensor& b) { CHECK(testing::relative_error(a, b) < 1e-12); }

double squared(const Tensor& row, index_t first, index_t size) {
  double s = 0;
  for (index_t i = first; i < first + size; ++i) s += row.at({i}) * row.at({i});
  return s;
}

}  // namespace

TEST_CASE("blocks partition the shared columns, by name") {
  Problem p(2);
  const auto whole = blocks_of(p.store, Granularity::whole);
  REQUIRE(whole.size() == 1);
  CHECK(whole[0].name == "shared");
  CHECK(whole[0].size == p.store.shared_size());
  for (const Granularity g : {Granularity::part, Granularity::layer, Granularity::tensor}) {
    const auto blocks = blocks_of(p.store, g);
    index_t end = 0;
    std::set<std::string> names;
    for (const Block& b : blocks) {
      CHECK(b.first == end);
      end = b.first + b.size;
      CHECK(names.insert(b.name).second);
    }
    CHECK(end == p.store.shared_size());
    CHECK(blocks.size() == (g == Granularity::part ? 1u : g == Granularity::layer ? 2u : 4u));
  }
  ParameterStore apart;
  const auto zero = [](const Tensor& t, const Rng&) { t.zero(); };
  for (const char* name : {"a.w", "b.w", "a.b"}) apart.add(name, {2}, zero);
  CHECK(error_text<UsageError>([&] { blocks_of(apart, Granularity::layer); }) ==
        "blocks: the parameters of 'a' do not lie side by side; 'a.b' comes after 'b'");
  CHECK(blocks_of(apart, Granularity::tensor).size() == 3);
}

TEST_CASE("per layer, each block gets the method's answer to its own rows") {
  Problem p(3);
  p.forward(Problem::input(8, 1));
  for (const std::string method : {"mgda", "cosine_gate", "pcgrad", "upgrad", "trimmed_mean"}) {
    CAPTURE(method);
    OptionMap options;
    if (method == "pcgrad") options["order"] = "index";
    if (method == "trimmed_mean") options["trim"] = "1";
    StepOptions o = kF64;
    o.granularity = Granularity::layer;
    Step step(p.store, maker(method, options), 3, o);
    Step whole(p.store, make_aggregator("sum"), 3, kF64);
    whole.backward(p.tape, p.losses, {});
    step.backward(p.tape, p.losses, {});
    REQUIRE(step.blocks().size() == 2);
    const Tensor after = moved(p, step);
    double total = 0;
    for (const Block& block : step.blocks()) {
      std::vector<double> jacobian;
      for (int t = 0; t < 3; ++t)
        for (index_t i = 0; i < block.size; ++i)
          jacobian.push_back(whole.gradients().row(t).at({block.first + i}));
      Tensor d = Tensor::empty({block.size}, DType::f64);
      if (method == "trimmed_mean") {
        for (index_t i = 0; i < block.size; ++i) {
          double v[3];
          for (int t = 0; t < 3; ++t) v[t] = jacobian[static_cast<std::size_t>(t * block.size + i)];
          std::sort(v, v + 3);
          d.data<double>()[i] = v[1];
        }
      } else {
        const Gram gram = Gram::of(jacobian, 3, block.size);
        Direction answer;
        make_aggregator(method, options)->weights({.gram = gram}, answer);
        for (index_t i = 0; i < block.size; ++i) {
          double v = 0;
          for (std::size_t t = 0; t < 3; ++t)
            v += answer.weights[t] *
                 jacobian[t * static_cast<std::size_t>(block.size) + static_cast<std::size_t>(i)];
          d.data<double>()[i] = v;
        }
      }
      total += squared(d, 0, block.size);
      for (index_t i = 0; i < block.size; ++i)
        REQUIRE(p.theta.values().at({block.first + i}) - after.at({block.first + i}) ==
                Approx(d.at({i})).epsilon(1e-9));
    }
    CHECK(step.squared_norm() == Approx(total).epsilon(1e-9));
  }
}

TEST_CASE("every gradient combination works per tensor, on features, and in micro-batches") {
  Problem p(5);
  const auto finite = [](const Step& step) {
    return std::isfinite(step.squared_norm()) && step.squared_norm() > 0;
  };
  for (const MethodInfo& info : methods()) {
    if (info.kind != Kind::gradient) continue;
    CAPTURE(std::string(info.name));
    StepOptions tensors = kF64, features = kF64;
    tensors.granularity = Granularity::tensor;
    features.level = Level::features;
    const Step::Make make = maker(std::string(info.name));
    Step per_tensor(p.store, make, 5, tensors), at_features(p.store, make, 5, features),
        parts(p.store, make, 5, kF64);
    for (int i = 0; i < 2; ++i) {
      const Step::When when{.step = i, .rng = Rng(2)};
      p.forward(Problem::input(8, static_cast<std::uint64_t>(i)));
      per_tensor.backward(p.tape, p.losses, when);
      CHECK(finite(per_tensor));
      at_features.backward(p.tape, p.losses, when, p.features);
      CHECK(finite(at_features));
      parts.accumulate(p.tape, p.losses, when, 0.5);
      p.forward(Problem::input(8, static_cast<std::uint64_t>(10 + i)));
      parts.accumulate(p.tape, p.losses, when, 0.5);
      parts.combine();
      CHECK(finite(parts));
    }
    CHECK(per_tensor.blocks().size() == 4);
  }
}

TEST_CASE("Gram matrices of finer blocks are kept, and sum up to the method's") {
  Problem p(2);
  p.forward(Problem::input(8, 1));
  StepOptions o = kF64;
  o.measure = Granularity::tensor;
  Step fine(p.store, make_aggregator("mgda"), 2, o),
      plain(p.store, make_aggregator("mgda"), 2, kF64);
  fine.backward(p.tape, p.losses, {});
  plain.backward(p.tape, p.losses, {});
  CHECK(fine.measured().size() == 4);
  CHECK(fine.measured().size() == fine.measured_grams().size());
  double sum = 0;
  for (const Gram& gram : fine.measured_grams()) sum += gram(0, 1);
  CHECK(sum == Approx(plain.gram()(0, 1)).epsilon(1e-12));
  CHECK(fine.weights()[0] == Approx(plain.weights()[0]).epsilon(1e-9));
}

TEST_CASE("at the features, the weights come from the representation's gradients") {
  for (const std::string method : {"mgda", "sum", "graddrop"}) {
    CAPTURE(method);
    Problem p(3);
    p.forward(Problem::input(8, 1));
    StepOptions o = kF64;
    o.level = Level::features;
    o.heads = Heads::weighted;
    Step step(p.store, make_aggregator(method), 3, o);
    const std::vector<Var> losses{p.losses[0], Var(), p.losses[2]};  // a task is absent
    step.backward(p.tape, losses, {.step = 2, .rng = Rng(4)}, p.features);
    CHECK(step.present().size() == 2);

    // By hand: the cotangents, the method on them, one sweep from the features.
    std::vector<Tensor> cotangents;
    const std::vector<Seed> seeds{{p.losses[0], 0, 1, {}}, {p.losses[2], 2, 1, {}}};
    p.tape.backward(seeds, 3, nullptr,
                    {.wanted = std::span(&p.features, 1), .gradients = &cotangents});
    const Tensor& c = cotangents[0];
    const int present[] = {0, 2};
    const Gram gram = [&] {
      std::vector<double> j;
      for (const int t : present)
        for (const double v : c[t].values<double>()) j.push_back(v);
      return Gram::of(j, 2, p.features.value().numel());
    }();
    const auto by_hand = make_aggregator(method);
    const StepInputs in{.gram = gram, .step = 2, .rng = Rng(4), .tasks = present};
    if (by_hand->needs_elements()) {
      by_hand->rewrite(in, {c.numel() / 3, kernels::Rows<double>{c.data<double>(), c.numel() / 3,
                                                                 present, 2, false}});
    }
    Direction answer;
    by_hand->weights(in, answer);
    GradientMatrix g(p.store, 1, DType::f64);
    const std::vector<Seed> from{{p.features, 0, answer.weights[0], c[0]},
                                 {p.features, 0, answer.weights[1], c[2]}};
    p.tape.backward(from, 1, &g);
    check_close(step.gradients().row(0), g.row(0));
    CHECK(step.squared_norm() == Approx(squared(g.row(0), 0, g.columns())).epsilon(1e-12));

    // Heads: their own gradients, weighted by the optimiser.
    GradientMatrix rows(p.store, 3, DType::f64);
    p.tape.backward(seeds, 3, &rows);
    check_close(step.gradients().heads(), rows.heads());
    const auto d = step.direction();
    CHECK(d.head_weights[2] == Approx(answer.weights[1]).epsilon(1e-12));
    if (method == "sum") {
      Step plain(p.store, make_aggregator("sum"), 3, kF64);
      plain.backward(p.tape, losses, {});
      check_close(moved(p, step), moved(p, plain));
    }
  }
}

TEST_CASE("between refreshes the last weights go into one combined row") {
  Problem p(3);
  StepOptions o = kF64;
  o.refresh = 3;
  Step step(p.store, make_aggregator("cagrad"), 3, o),
      every(p.store, make_aggregator("cagrad"), 3, kF64);
  std::vector<double> weights;
  for (int i = 0; i < 7; ++i) {
    p.forward(Problem::input(8, static_cast<std::uint64_t>(i)));
    step.backward(p.tape, p.losses, {.step = i});
    every.backward(p.tape, p.losses, {.step = i});
    CHECK(step.fresh() == (i % 3 == 0));
    if (step.fresh()) {
      weights.assign(step.weights().begin(), step.weights().end());
      CHECK(std::equal(weights.begin(), weights.end(), every.weights().begin()));
    }
    const Theta theta = p.theta.clone();
    optim::Sgd sgd(theta, {.rate = 1});
    sgd.step(theta, {every.gradients(), weights});
    check_close(moved(p, step), theta.values());
    CHECK(step.losses()[1] == every.losses()[1]);
  }
  // A checkpoint keeps the weights and when they were made.
  State state;
  step.save(state);
  Step resumed(p.store, make_aggregator("cagrad"), 3, o);
  resumed.load(state);
  p.forward(Problem::input(8, 9));
  resumed.backward(p.tape, p.losses, {.step = 7});
  CHECK_FALSE(resumed.fresh());
  CHECK(std::equal(weights.begin(), weights.end(), resumed.weights().begin()));

  // A task without a weight brings new ones.
  Step late(p.store, make_aggregator("cagrad"), 3, o);
  const std::vector<Var> two{p.losses[0], Var(), p.losses[2]};
  late.backward(p.tape, two, {.step = 0});
  late.backward(p.tape, two, {.step = 1});
  CHECK_FALSE(late.fresh());
  late.backward(p.tape, p.losses, {.step = 2});
  CHECK(late.fresh());

  // Nothing that is not finite gets through without a Gram matrix.
  const double before = p.theta.values().at({0});
  p.theta.values().data<double>()[0] = std::numeric_limits<double>::infinity();
  p.forward(Problem::input(8, 3));
  CHECK_FALSE(
      error_text<NumericError>([&] { late.backward(p.tape, p.losses, {.step = 3}); }).empty());
  p.theta.values().data<double>()[0] = before;
}

TEST_CASE("sampled tasks: each step takes so many, all get their turn, the others are absent") {
  Problem p(5);
  StepOptions o = kF64;
  o.tasks_per_step = 2;
  Step step(p.store, make_aggregator("pcgrad"), 5, o);
  p.forward(Problem::input(8, 1));
  std::vector<int> times(5);
  for (int i = 0; i < 500; ++i) {
    step.backward(p.tape, p.losses, {.step = i, .rng = Rng(3)});
    REQUIRE(step.present().size() == 2);
    for (const int t : step.present()) ++times[static_cast<std::size_t>(t)];
  }
  for (const int n : times) CHECK(std::abs(n - 200) < 4 * 11);  // four standard deviations
  std::vector<Var> losses = p.losses;
  losses[1] = losses[3] = losses[4] = Var();
  step.backward(p.tape, losses, {.step = 0, .rng = Rng(3)});
  CHECK(std::vector<int>(step.present().begin(), step.present().end()) == std::vector<int>{0, 2});
}

TEST_CASE("micro-batches add up to the batch before one answer is given") {
  Problem p(3);
  const Tensor x = Problem::input(8, 1);
  Step whole(p.store, make_aggregator("mgda"), 3, kF64),
      parts(p.store, make_aggregator("mgda"), 3, kF64);
  p.forward(x);
  whole.backward(p.tape, p.losses, {});
  for (int repeat = 0; repeat < 2; ++repeat) {  // nothing is left over from the last step
    for (const index_t first : {index_t{0}, index_t{4}}) {
      p.forward(x.rows(first, first + 4));
      parts.accumulate(p.tape, p.losses, {}, 0.5);
    }
    parts.combine();
    check_close(moved(p, parts), moved(p, whole));
    CHECK(parts.losses()[2] == Approx(whole.losses()[2]).epsilon(1e-12));
  }
  CHECK(error_text<UsageError>([&] { parts.combine(); }) ==
        "step: combine() comes after accumulate()");

  // With old weights as well.
  StepOptions o = kF64;
  o.refresh = 2;
  Step old(p.store, make_aggregator("mgda"), 3, o);
  for (int i = 0; i < 2; ++i) {
    for (const index_t first : {index_t{0}, index_t{4}}) {
      p.forward(x.rows(first, first + 4));
      old.accumulate(p.tape, p.losses, {.step = i}, 0.5);
    }
    old.combine();
    CHECK(old.fresh() == (i == 0));
    check_close(moved(p, old), moved(p, whole));
  }
}

TEST_CASE("before the first step there are rows of zeros") {
  Problem p(3);
  Step step(p.store, make_aggregator("mgda"), 3, kF64);
  CHECK(step.gradients().tasks() == 3);
  CHECK(squared(step.gradients().row(2), 0, step.gradients().columns()) == 0);
  Step without(p.store, make_aggregator("mgda"), 3, {.keep = Keep::none});
  CHECK(without.gradients().tasks() == 1);
}

TEST_CASE("scales") {
  Problem p(3);
  p.forward(Problem::input(8, 1));
  const auto run = [&](Rescale rescale) {
    StepOptions o = kF64;
    o.rescale = rescale;
    Step step(p.store, make_aggregator("mgda"), 3, o);
    step.backward(p.tape, p.losses, {});
    return std::pair{step.weights()[2], step.squared_norm()};
  };
  const auto plain = run(Rescale::none);
  CHECK(run(Rescale::times_tasks).first == Approx(3 * plain.first));
  CHECK(run(Rescale::over_tasks).first == Approx(plain.first / 3));
  Step sum(p.store, make_aggregator("sum"), 3, kF64);
  sum.backward(p.tape, p.losses, {});
  CHECK(run(Rescale::sum_length).second == Approx(sum.squared_norm()).epsilon(1e-12));
}

TEST_CASE("step options by name") {
  Options given("mgda", {{"granularity", "layer"}, {"rescale", "times_tasks"}, {"refresh", "4"}});
  const StepOptions o = read_step_options(given, {.heads = Heads::weighted});
  given.finish();
  CHECK(o.granularity == Granularity::layer);
  CHECK(o.rescale == Rescale::times_tasks);
  CHECK(o.refresh == 4);
  CHECK(o.heads == Heads::weighted);
  CHECK(o.level == Level::parameters);
  Options wrong("mgda", {{"level", "feature"}});
  CHECK(error_text<ValueError>([&] { read_step_options(wrong, {}); }) ==
        "mgda: option level is 'feature', expected one of parameters, features");
}

TEST_CASE("options that exclude each other are named") {
  Problem p(2);
  const auto text = [&](const StepOptions& o, const std::string& method = "mgda") {
    return error_text<UsageError>([&] { Step(p.store, maker(method), 2, o); });
  };
  CHECK(text({.heads = Heads::weighted, .granularity = Granularity::layer}) ==
        "step: heads take the task's weight, but there is one per block; use granularity whole");
  CHECK(text({.level = Level::features,
              .granularity = Granularity::layer,
              .measure = Granularity::layer}) ==
        "step: features are not made of blocks of parameters");
  CHECK(text({.refresh = 2}, "graddrop") ==
        "step: old weights serve whole rows of the same tasks only (refresh > 1)");
  CHECK(text({.keep = Keep::bf16}, "graddrop") ==
        "step: the method, or the level, works on rows of full precision; use keep = full");
  CHECK(text({.granularity = Granularity::layer, .keep = Keep::none}) ==
        "step: without G there is one weight per task, not one per block; use keep = full or bf16");
  Step step(p.store, make_aggregator("mgda"), 2, kF64);
  p.forward(Problem::input(4, 1));
  CHECK(error_text<UsageError>([&] { step.backward(p.tape, p.losses, {}, p.features); }) ==
        "step: features are given, but the level is parameters");
  Step without(p.store, make_aggregator("mgda"), 2, {.keep = Keep::none, .dtype = DType::f64});
  without.accumulate(p.tape, p.losses, {}, 0.5);
  CHECK(error_text<UsageError>([&] { without.accumulate(p.tape, p.losses, {}, 0.5); }) ==
        "step: micro-batches add up in rows of parameters; use level = parameters, keep = full");
  Step at_features(p.store, make_aggregator("mgda"), 2,
                   {.level = Level::features, .dtype = DType::f64});
  CHECK(error_text<UsageError>([&] { at_features.backward(p.tape, p.losses, {}); }) ==
        "step: the features are missing, the level asks for them");
}

TEST_CASE("without G, and with rows of bf16, the direction is the same") {
  for (const char* network : {"mlp", "lenet", "resnet18-32"}) {
    CAPTURE(std::string(network));
    ParameterStore store;
    nn::NetworkOptions options{.input = {1, 32, 32}, .hidden = {24, 17}};
    if (std::string_view(network) == "resnet18-32") options.input = {3, 32, 32};
    options.outputs = {3, 5, 2};  // heads of unequal size
    const auto net = nn::make_network(network, Scope(store), options);
    store.slice(store.layout()[0]).frozen = true;
    const Theta theta(store);
    theta.initialize(Rng(3));
    const Tensor x = Tensor::empty(options.input.insert(0, 4));
    Rng(4).fill_normal(x);
    Tape tape;
    std::vector<Var> losses;
    const auto forward = [&] {
      tape.reset();
      const Context ctx{.theta = &theta, .tape = &tape, .training = true};
      losses.clear();
      for (const Var& y : (*net)(ctx, x)) losses.push_back(mean(y * y));
      losses[1] = Var();  // a task is absent
    };
    const auto run = [&](Keep keep) {
      Step step(store, make_aggregator("mgda"), 3, {.keep = keep});
      for (int i = 0; i < 2; ++i) {
        forward();
        step.backward(tape, losses, {.step = i});
      }
      CHECK(step.answer().weights.size() == 2);
      const Theta moved = theta.clone();
      optim::Sgd sgd(moved, {.rate = 1});
      sgd.step(moved, step.direction(), step.squared_norm());
      const Tensor d = theta.values().clone();
      for (index_t i = 0; i < d.numel(); ++i) d.data<float>()[i] -= moved.values().data<float>()[i];
      return std::pair{d, step.squared_norm()};
    };
    const auto [full, norm] = run(Keep::full);
    for (const Keep keep : {Keep::none, Keep::automatic, Keep::bf16}) {
      const double tolerance = keep == Keep::bf16 ? 1e-2 : 2e-5;
      const auto [d, squared_norm] = run(keep);
      CHECK(testing::relative_error(d, full) < tolerance);
      CHECK(squared_norm == Approx(norm).epsilon(tolerance));
    }
  }
}

TEST_CASE("without G no T rows of the trunk exist at any time") {
  constexpr int kTasks = 12;
  ParameterStore store;
  const nn::NetworkOptions options{
      .input = {64}, .outputs = std::vector<index_t>(kTasks, 2), .hidden = {256, 256, 256, 256}};
  const auto net = nn::make_network("mlp", Scope(store), options);
  const Theta theta(store);
  theta.initialize(Rng(3));
  const Tensor x = Tensor::empty({8, 64});
  Rng(4).fill_normal(x);
  const auto peak = [&](Keep keep) {
    Tape tape;
    Step step(store, make_aggregator("pcgrad"), kTasks, {.keep = keep});
    Allocator::of(kCpu).reset_peak();
    for (int i = 0; i < 2; ++i) {
      tape.reset();
      const Context ctx{.theta = &theta, .tape = &tape, .training = true};
      std::vector<Var> losses;
      for (const Var& y : (*net)(ctx, x)) losses.push_back(mean(y * y));
      step.backward(tape, losses, {.step = i});
    }
    return Allocator::of(kCpu).stats().peak;
  };
  const auto row = static_cast<std::size_t>(store.shared_size()) * sizeof(float);
  CHECK(peak(Keep::full) > kTasks * row);
  CHECK(peak(Keep::none) < 6 * row);  // θ, the combined row, a layer's rows: 12 / 4, activations
}
