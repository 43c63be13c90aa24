// Step on real networks: rows of one sweep against separate sweeps, absent tasks, and what a steady
// step costs in memory.
#include <concord/autograd/ops.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/step.h>
#include <concord/multitask/telemetry.h>
#include <concord/nn/network.h>
#include <concord/optim/adam.h>
#include <concord/optim/sgd.h>
#include <concord/tests/multitask/counting_new.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cstring>

using namespace concord;
using concord::testing::error_text;

namespace {

struct Problem {
  ParameterStore store;
  std::unique_ptr<nn::Network> net;
  Theta theta;
  Tensor x;
  std::vector<Tensor> labels;
  Tape tape;
  std::vector<Var> outputs, losses;

  Problem(const char* network, const Shape& input, index_t n, std::vector<index_t> classes)
      : net(nn::make_network(network, Scope(store), options(input, classes))), theta(store) {
    theta.initialize(Rng(5));
    Shape batch = input.insert(0, n);
    x = Tensor::empty(batch);
    Rng(6).fill_normal(x);
    for (std::size_t t = 0; t < classes.size(); ++t) {
      labels.push_back(Tensor::empty({n}, DType::i64));
      for (index_t i = 0; i < n; ++i)
        labels.back().data<std::int64_t>()[i] =
            Rng(7 + t).below(static_cast<std::uint64_t>(i), classes[t]);
    }
  }
  static nn::NetworkOptions options(const Shape& input, const std::vector<index_t>& classes) {
    nn::NetworkOptions o;
    o.input = input;
    o.outputs = classes;
    return o;
  }
  void forward() {
    tape.reset();
    const Context ctx{.theta = &theta, .tape = &tape, .training = true};
    net->forward(ctx, x, outputs);
    losses.clear();
    for (std::size_t t = 0; t < labels.size(); ++t)
      losses.push_back(cross_entropy(outputs[t], labels[t]));
  }
};

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("T rows from one sweep have the bits of T separate sweeps, in training mode") {
  struct Case {
    const char* network;
    Shape input;
    index_t n;
    std::vector<index_t> classes;
  };
  for (const Case& c :
       {Case{"lenet", {1, 36, 36}, 33, {10, 7}}, Case{"resnet18-32", {3, 32, 32}, 3, {5, 10, 3}}}) {
    CAPTURE(c.network);
    Problem p(c.network, c.input, c.n, c.classes);
    p.forward();
    const int tasks = static_cast<int>(c.classes.size());
    GradientMatrix together(p.store, tasks);
    p.tape.backward(p.losses, together);
    for (int t = 0; t < tasks; ++t) {
      GradientMatrix alone(p.store, tasks);
      const Seed seed{p.losses[static_cast<std::size_t>(t)], t, 1, {}};
      p.tape.backward(std::span(&seed, 1), tasks, &alone);
      CHECK(same_bits(together.row(t), alone.row(t)));
      for (const char* part : {"weight", "bias"}) {
        const SliceId head = p.store.find("heads." + std::to_string(t) + "." + part);
        REQUIRE(head >= 0);
        CHECK(same_bits(together.slice(head, t), alone.slice(head, t)));
      }
    }
    CHECK_FALSE(same_bits(together.row(0), together.row(1)));
  }
}

TEST_CASE("per-sample losses of LeNet as rows: each is the gradient of its sample's loss") {
  Problem p("lenet", {1, 20, 20}, 5, {4});
  p.forward();
  const Var losses = cross_entropy(p.outputs[0], p.labels[0], {.reduction = Reduction::none});
  GradientMatrix rows(p.store, 5, DType::f32, Columns::all);
  p.tape.backward_per_sample(losses, rows);
  for (index_t i = 0; i < 5; ++i) {
    Problem one("lenet", {1, 20, 20}, 1, {4});
    one.x.copy_from(p.x.rows(i, i + 1));
    one.labels[0].copy_from(p.labels[0].rows(i, i + 1));
    one.forward();
    GradientMatrix g(one.store, 1, DType::f32, Columns::all);
    one.tape.backward(one.losses, g);
    CHECK(testing::relative_error(rows.row(static_cast<int>(i)), g.row(0)) < 1e-5);
  }
}

TEST_CASE(
    "tasks with their own input batches: row t is the gradient of task t's loss on its batch") {
  Problem p("lenet", {1, 20, 20}, 4, {4, 3});
  const Tensor other = Tensor::empty({7, 1, 20, 20});
  Rng(11).fill_normal(other);
  const Tensor labels = Tensor::zeros({7}, DType::i64);
  const auto loss = [&](Tape& tape, int task) {
    const Context ctx{.theta = &p.theta, .tape = &tape, .training = true};
    const Var features = p.net->features(ctx, task == 0 ? p.x : other);
    return cross_entropy(p.net->head(ctx, task, features), task == 0 ? p.labels[0] : labels);
  };
  Tape tape;
  const std::vector<Var> losses{loss(tape, 0), loss(tape, 1)};
  GradientMatrix together(p.store, 2);
  tape.backward(losses, together);
  for (int t = 0; t < 2; ++t) {
    Tape own;
    const Seed seed{loss(own, t), t, 1, {}};
    GradientMatrix alone(p.store, 2);
    own.backward(std::span(&seed, 1), 2, &alone);
    CHECK(same_bits(together.row(t), alone.row(t)));
  }
}

TEST_CASE("a step of Step and Optimizer is the sum of losses' step for equal weights") {
  Problem p("lenet", {1, 20, 20}, 6, {4, 3}), q("lenet", {1, 20, 20}, 6, {4, 3});
  multitask::Step step(p.store, multitask::make_aggregator("sum"), 2);
  optim::Sgd sgd(p.theta, {.rate = 0.1, .momentum = 0.9}),
      reference(q.theta, {.rate = 0.1, .momentum = 0.9});
  GradientMatrix whole(q.store, 1, DType::f32, Columns::all);
  const double one = 1;
  for (int i = 0; i < 3; ++i) {
    p.forward();
    step.backward(p.tape, p.losses, {.step = i});
    sgd.step(p.theta, step.direction());
    q.forward();
    const Var total = q.losses[0] + q.losses[1];
    q.tape.backward({total}, whole);
    reference.step(q.theta, {whole, std::span(&one, 1)});
  }
  CHECK(testing::relative_error(p.theta.values(), q.theta.values()) < 1e-5);
}

TEST_CASE("an absent task has a zero row, the method does not see it, its head stands still") {
  Problem p("lenet", {1, 20, 20}, 6, {4, 3, 2});
  multitask::Step step(p.store, multitask::make_aggregator("mgda"), 3);
  optim::Sgd sgd(p.theta, {.rate = 0.1});
  p.forward();
  step.backward(p.tape, p.losses, {});  // all present: row 1 is filled
  p.forward();
  std::vector<Var> losses{p.losses[0], Var(), p.losses[2]};
  step.backward(p.tape, losses, {.step = 1});
  CHECK(step.gram().tasks() == 2);
  CHECK(std::vector<int>(step.present().begin(), step.present().end()) == std::vector<int>{0, 2});
  for (const float v : step.gradients().row(1).values<float>()) REQUIRE(v == 0);
  const auto d = step.direction();
  CHECK(d.weights.size() == 3);
  CHECK(d.weights[1] == 0);
  const SliceId head = p.store.find("heads.1.weight");
  const Tensor before = p.theta[head].clone();
  sgd.step(p.theta, d, step.squared_norm());
  CHECK(same_bits(before, p.theta[head]));
  CHECK(error_text<ShapeError>([&] { step.backward(p.tape, std::span(losses).first(2), {}); }) ==
        "step: 2 losses for 3 tasks");
}

TEST_CASE("methods on elements rewrite the rows of the tasks present, and nothing else changes") {
  Problem p("lenet", {1, 20, 20}, 6, {4, 3, 2});
  multitask::Step step(p.store, multitask::make_aggregator("trimmed_mean", {{"trim", "0"}}), 3),
      drop(p.store, multitask::make_aggregator("graddrop", {{"leak", "1,0,1"}}), 3);
  p.forward();
  const std::vector<Var> losses{p.losses[0], p.losses[1], Var()};
  step.backward(p.tape, losses, {});
  drop.backward(p.tape, losses, {.step = 3, .rng = Rng(2)});
  CHECK(same_bits(step.gradients().row(0), drop.gradients().row(0)));
  const auto whole = step.gradients().row(1).values<float>(),
             left = drop.gradients().row(1).values<float>();
  std::size_t dropped = 0;
  for (std::size_t k = 0; k < whole.size(); ++k) {
    REQUIRE((left[k] == whole[k] || left[k] == 0));
    dropped += left[k] != whole[k];
  }
  CHECK(dropped > whole.size() / 20);
  double squared = 0;  // of the direction, by the rows as they stand
  for (std::size_t k = 0; k < whole.size(); ++k) {
    const double d = static_cast<double>(drop.gradients().row(0).values<float>()[k]) + left[k];
    squared += d * d;
  }
  CHECK(drop.squared_norm() == doctest::Approx(squared).epsilon(1e-6));
  for (const float v : drop.gradients().row(2).values<float>()) REQUIRE(v == 0);
}

TEST_CASE("famo in a training loop: losses before, a step, losses after") {
  Problem p("lenet", {1, 20, 20}, 6, {4, 3});
  multitask::Step step(p.store, multitask::make_aggregator("famo"), 2,
                       {.heads = multitask::Heads::weighted});
  optim::Sgd sgd(p.theta, {.rate = 0.1});
  const double first = [&] {
    p.forward();
    return p.losses[0].item() + p.losses[1].item();
  }();
  for (int i = 0; i < 20; ++i) {
    p.forward();
    step.backward(p.tape, p.losses, {.step = i});
    sgd.step(p.theta, step.direction(), step.squared_norm());
    p.forward();
    step.after(p.losses);
  }
  CHECK(p.losses[0].item() + p.losses[1].item() < 0.9 * first);
  multitask::State state;
  step.method().save(state);
  CHECK(state["famo.xi"][0] != 0);
}

TEST_CASE("a steady training step takes no memory from the system") {
  for (const char* method : {"equal", "cosine_gate", "pcgrad", "mgda", "cagrad", "graddrop",
                             "trimmed_mean", "moco", "db_mtl", "excess_mtl", "m_config"}) {
    CAPTURE(method);
    Problem p("lenet", {1, 36, 36}, 16, {10, 10});
    multitask::Step step(p.store, multitask::make_aggregator(method), 2);
    optim::Adam adam(p.theta);
    multitask::Telemetry telemetry(2);
    const auto train = [&](int i) {
      p.forward();
      step.backward(p.tape, p.losses, {.step = i, .rng = Rng(3)});
      adam.step(p.theta, step.direction(), step.squared_norm());
      telemetry.record(step.inputs(), step.answer());
    };
    for (int i = 0; i < 3; ++i) train(i);
    const auto before = Allocator::of(kCpu).stats();
    const long mallocs_before = testing::new_calls;
    for (int i = 3; i < 8; ++i) train(i);
    const long asked = testing::new_calls - mallocs_before;
    const auto after = Allocator::of(kCpu).stats();
    CHECK(after.in_use == before.in_use);
    if (!testing::kCountsNew) continue;
    CHECK(after.system_requests == before.system_requests);
    CHECK(asked == 0);
  }
}
