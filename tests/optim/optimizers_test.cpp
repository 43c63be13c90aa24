#include <concord/autograd/ops.h>
#include <concord/autograd/tape.h>
#include <concord/nn/layers.h>
#include <concord/nn/losses.h>
#include <concord/optim/adam.h>
#include <concord/optim/average.h>
#include <concord/optim/registry.h>
#include <concord/optim/rmsprop.h>
#include <concord/optim/sgd.h>
#include <concord/tests/golden.h>

#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

using namespace concord;
using namespace concord::testing;
namespace optim = concord::optim;

namespace {

/// generate.py's network: fc1 5 -> 7, tanh, fc2 7 -> 3, mean squared error on one batch.
struct Problem {
  explicit Problem(DType dtype)
      : fc1(Scope(store) / "fc1", 5, 7), fc2(Scope(store) / "fc2", 7, 3), dtype(dtype) {}

  /// One pass; the gradient goes to row 0.
  double gradient(const Theta& theta, GradientMatrix& g) {
    tape.reset();
    const Context ctx{.theta = &theta, .tape = &tape, .training = true};
    const Var y = fc2(ctx, tanh(fc1(ctx, named_uniform("mlp/x", {11, 5}, -1, 1, dtype))));
    const Var loss = nn::mse_loss(y, named_uniform("mlp/target", {11, 3}, -1, 1, dtype));
    tape.backward({loss}, g);
    return loss.item();
  }

  ParameterStore store;
  nn::Linear fc1, fc2;
  DType dtype;
  Tape tape;
};

using Make = std::function<std::unique_ptr<optim::Optimizer>(const Theta&)>;

template <class O, class Options>
Make maker(const Options& options, optim::Clip clip = {}) {
  return [=](const Theta& theta) {
    auto o = std::make_unique<O>(theta, options);
    o->clip = clip;
    return o;
  };
}

constexpr double kWeights[] = {1};

void check_curve(
    const std::string& name, const Make& make,
    const std::function<void(ParameterStore&)>& prepare = [](ParameterStore&) {}) {
  static const Golden golden("optimizers");
  for (const DType dtype : {DType::f64, DType::f32}) {
    CAPTURE(name);
    CAPTURE(static_cast<int>(dtype));
    Problem problem(dtype);
    prepare(problem.store);
    const Theta theta(problem.store, dtype);
    fill_by_name(theta);
    GradientMatrix g(problem.store, 1, dtype);
    const auto optimizer = make(theta);
    const Tensor losses = Tensor::empty({10}, DType::f64);
    for (int step = 0; step < 10; ++step) {
      losses.data<double>()[step] = problem.gradient(theta, g);
      optimizer->step(theta, {g, kWeights});
    }
    CHECK(optimizer->steps() == 10);
    // RMSprop and Adam divide by the root of small numbers, which costs f32 a digit.
    CHECK(relative_error(losses, golden[name + "/losses"]) < (dtype == DType::f64 ? 1e-12 : 1e-5));
    for (const auto& entry : theta.state()) {
      const std::string& parameter = entry.first;
      CAPTURE(parameter);
      CHECK(relative_error(entry.second, golden[name + "/" + parameter]) <
            (dtype == DType::f64 ? 1e-11 : 1e-4));
    }
  }
}

}  // namespace

TEST_CASE("ten steps agree with PyTorch: sgd") {
  check_curve("sgd", maker<optim::Sgd>(optim::SgdOptions{.rate = 0.5}));
  check_curve("sgd_momentum", maker<optim::Sgd>(optim::SgdOptions{.rate = 0.1, .momentum = 0.9}));
  check_curve("sgd_dampening",
              maker<optim::Sgd>(optim::SgdOptions{.rate = 0.2, .momentum = 0.9, .dampening = 0.3}));
  check_curve("sgd_nesterov",
              maker<optim::Sgd>(optim::SgdOptions{.rate = 0.1, .momentum = 0.9, .nesterov = true}));
  check_curve("sgd_decay",
              maker<optim::Sgd>(optim::SgdOptions{.rate = 0.1, .momentum = 0.8, .decay = 0.05}));
}

TEST_CASE("ten steps agree with PyTorch: adam and adamw") {
  check_curve("adam", maker<optim::Adam>(optim::AdamOptions{.rate = 0.05}));
  check_curve("adam_decay", maker<optim::Adam>(optim::AdamOptions{
                                .rate = 0.05, .beta1 = 0.8, .beta2 = 0.95, .decay = 0.1}));
  check_curve("adamw", maker<optim::Adam>(optim::AdamOptions{
                           .rate = 0.05, .decay = 0.2, .form = optim::Decay::decoupled}));
}

TEST_CASE("ten steps agree with PyTorch: rmsprop") {
  check_curve("rmsprop", maker<optim::Rmsprop>(optim::RmspropOptions{.rate = 0.02}));
  check_curve("rmsprop_momentum", maker<optim::Rmsprop>(optim::RmspropOptions{
                                      .rate = 0.01, .alpha = 0.9, .momentum = 0.7, .decay = 0.1}));
  check_curve("rmsprop_centered", maker<optim::Rmsprop>(optim::RmspropOptions{
                                      .rate = 0.01, .alpha = 0.9, .centered = true}));
  check_curve("rmsprop_centered_momentum",
              maker<optim::Rmsprop>(optim::RmspropOptions{
                  .rate = 0.005, .alpha = 0.9, .momentum = 0.7, .centered = true}));
}

TEST_CASE("ten steps agree with PyTorch: parameter groups, one frozen") {
  check_curve("groups",
              maker<optim::Sgd>(optim::SgdOptions{.rate = 0.2, .momentum = 0.9, .decay = 0.1}),
              [](ParameterStore& store) {
                store.for_each("fc1", [](Slice& s) { s.rate_factor = 0.1; });
                store.slice(store.find("fc1.weight")).decay_factor = 0.5;
                store.slice(store.find("fc1.bias")).decay_factor = 0;
                store.slice(store.find("fc2.bias")).frozen = true;
              });
}

TEST_CASE("ten steps agree with PyTorch: clipping by norm and by value") {
  check_curve("clip_norm", maker<optim::Sgd>(optim::SgdOptions{.rate = 0.5}, {.norm = 0.3}));
  check_curve("clip_value", maker<optim::Adam>(optim::AdamOptions{.rate = 0.05}, {.value = 0.05}));
}

namespace {

/// Two shared slices and a head for each of two tasks; gradient rows filled by name.
struct TwoTasks {
  TwoTasks() {
    const Scope scope(store);
    scope.parameter("a", {3, 7}, nn::init::zeros());
    scope.parameter("b", {70}, nn::init::zeros());
    scope.task(0).parameter("head0", {5}, nn::init::zeros());
    scope.task(1).parameter("head1", {2, 3}, nn::init::zeros());
    theta = std::make_unique<Theta>(store, DType::f64);
    fill_by_name(*theta);
    g = std::make_unique<GradientMatrix>(store, 2, DType::f64);
    for (int t = 0; t < 2; ++t) {
      for (const char* name : {"a", "b"}) set(name, t);
      set(t == 0 ? "head0" : "head1", t);
    }
  }

  void set(const std::string& name, int task) {
    const SliceId id = store.find(name);
    Rng(9)
        .fork(name)
        .fork(static_cast<std::uint64_t>(task))
        .fill_uniform(g->slice(id, task), -1, 1);
  }
  Tensor values(const std::string& name) const { return (*theta)[store.find(name)]; }
  Tensor row(const std::string& name, int task) const { return g->slice(store.find(name), task); }

  ParameterStore store;
  std::unique_ptr<Theta> theta;
  std::unique_ptr<GradientMatrix> g;
};

double squared(const Tensor& t) {
  double sum = 0;
  for (const double v : t.values<double>()) sum += v * v;
  return sum;
}

}  // namespace

TEST_CASE("direction: weights combine the shared rows, heads follow their own gradient") {
  TwoTasks p;
  const Theta before = p.theta->clone();
  const double weights[] = {0.7, -1.5}, head_weights[] = {2, 0.25};
  for (const bool weighted : {false, true}) {
    p.theta->copy_from(before);
    optim::Sgd sgd(*p.theta, {.rate = 0.1});
    sgd.step(*p.theta,
             {*p.g, weights,
              weighted ? std::span<const double>(head_weights) : std::span<const double>()});
    for (const char* name : {"a", "b"}) {
      const Tensor now = p.values(name), old = before[p.store.find(name)];
      for (index_t i = 0; i < now.numel(); ++i) {
        const double d =
            0.7 * p.row(name, 0).data<double>()[i] - 1.5 * p.row(name, 1).data<double>()[i];
        CHECK(now.data<double>()[i] ==
              doctest::Approx(old.data<double>()[i] - 0.1 * d).epsilon(1e-14));
      }
    }
    for (int t = 0; t < 2; ++t) {
      const std::string name = "head" + std::to_string(t);
      const Tensor now = p.values(name), old = before[p.store.find(name)];
      for (index_t i = 0; i < now.numel(); ++i) {
        const double d = (weighted ? head_weights[t] : 1) * p.row(name, t).data<double>()[i];
        CHECK(now.data<double>()[i] ==
              doctest::Approx(old.data<double>()[i] - 0.1 * d).epsilon(1e-14));
      }
    }
  }
}

TEST_CASE("clipping by norm: of shared part and heads together; a known norm is taken as it is") {
  TwoTasks p;
  const Theta before = p.theta->clone();
  const double weights[] = {0.7, -1.5};
  double shared = 0;
  for (const char* name : {"a", "b"}) {
    for (index_t i = 0; i < p.row(name, 0).numel(); ++i) {
      const double d =
          0.7 * p.row(name, 0).data<double>()[i] - 1.5 * p.row(name, 1).data<double>()[i];
      shared += d * d;
    }
  }
  const double heads = squared(p.row("head0", 0)) + squared(p.row("head1", 1));
  const auto moved = [&](double known) {
    p.theta->copy_from(before);
    optim::Sgd sgd(*p.theta, {.rate = 1});
    sgd.clip.norm = 0.5;
    sgd.step(*p.theta, {*p.g, weights}, known);
    double sum = 0;
    for (index_t i = 0; i < before.values().numel(); ++i) {
      const double d = p.theta->values().data<double>()[i] - before.values().data<double>()[i];
      sum += d * d;
    }
    return std::sqrt(sum);
  };
  CHECK(moved(-1) == doctest::Approx(0.5).epsilon(1e-5));
  CHECK(moved(shared) == doctest::Approx(moved(-1)).epsilon(1e-12));
  // Twice the norm claimed for all: half the length.
  CHECK(moved(4 * shared + 3 * heads) == doctest::Approx(0.25).epsilon(1e-5));
}

TEST_CASE("a step in two parts, heads and shared, is the whole step; each part is clipped alone") {
  TwoTasks p, q;
  const double weights[] = {0.7, -1.5};
  optim::Adam whole(*p.theta, {.rate = 0.1, .decay = 0.3}),
      parts(*q.theta, {.rate = 0.1, .decay = 0.3});
  for (int i = 0; i < 3; ++i) {
    whole.step(*p.theta, {*p.g, weights});
    for (const optim::Part part : {optim::Part::heads, optim::Part::shared}) {
      const Theta before = q.theta->clone();
      parts.steps(i);
      optim::Direction d{*q.g, weights};
      d.part = part;
      parts.step(*q.theta, d);
      const bool heads = part == optim::Part::heads;
      const auto moved = [&](const char* name) {
        return relative_error(q.values(name), before[q.store.find(name)]) > 0;
      };
      CHECK(moved("head1") == heads);
      CHECK(moved("b") == !heads);
    }
  }
  CHECK(relative_error(q.theta->values(), p.theta->values()) == 0);
  CHECK(parts.steps() == 3);

  const Theta before = q.theta->clone();
  optim::Sgd sgd(*q.theta, {.rate = 1});
  sgd.clip.norm = 0.5;
  for (const optim::Part part : {optim::Part::heads, optim::Part::shared}) {
    optim::Direction d{*q.g, weights};
    d.part = part;
    sgd.step(*q.theta, d);
  }
  double sum = 0;
  for (index_t i = 0; i < before.values().numel(); ++i) {
    const double d = q.theta->values().data<double>()[i] - before.values().data<double>()[i];
    sum += d * d;
  }
  CHECK(std::sqrt(sum) == doctest::Approx(0.5 * std::sqrt(2.0)).epsilon(1e-5));
  const GradientMatrix all(q.store, 1, DType::f64, Columns::all);
  optim::Direction d{all, std::span(weights, 1)};
  d.part = optim::Part::heads;
  CHECK(error_text<UsageError>([&] { sgd.step(*q.theta, d); }) ==
        "optimizer: clipping a part needs gradients whose heads stand apart");
}

TEST_CASE("frozen slices are neither moved nor decayed, and their state rests") {
  TwoTasks p;
  p.store.slice(p.store.find("b")).frozen = true;
  p.store.slice(p.store.find("head0")).frozen = true;
  const Theta before = p.theta->clone();
  optim::Adam adam(*p.theta, {.rate = 0.1, .decay = 0.5, .form = optim::Decay::decoupled});
  const double weights[] = {1, 1};
  adam.step(*p.theta, {*p.g, weights});
  const auto differs = [&](const char* name) {
    return relative_error(p.values(name), before[p.store.find(name)]) > 0;
  };
  CHECK(differs("a"));
  CHECK_FALSE(differs("b"));
  CHECK_FALSE(differs("head0"));
  CHECK(differs("head1"));
  const Slice& b = p.store.slice(p.store.find("b"));
  CHECK(squared(adam.state().at("v").rows(b.offset, b.offset + b.shape.numel())) == 0);
}

TEST_CASE("continuing from the state is bitwise the uninterrupted run") {
  for (const auto& entry : std::vector<std::pair<std::string, Make>>{
           {"sgd",
            maker<optim::Sgd>(optim::SgdOptions{.rate = 0.1, .momentum = 0.9, .dampening = 0.2})},
           {"adam", maker<optim::Adam>(optim::AdamOptions{.rate = 0.01, .decay = 0.1})},
           {"rmsprop",
            maker<optim::Rmsprop>(optim::RmspropOptions{.momentum = 0.5, .centered = true})}}) {
    const Make& make = entry.second;
    CAPTURE(entry.first);
    Problem problem(DType::f32);
    const Theta theta(problem.store);
    fill_by_name(theta);
    GradientMatrix g(problem.store, 1);
    const auto run = [&](optim::Optimizer& o, const Theta& at, int steps) {
      for (int i = 0; i < steps; ++i) {
        problem.gradient(at, g);
        o.step(at, {g, kWeights});
      }
    };
    const auto whole = make(theta);
    run(*whole, theta, 4);
    const Theta later = theta.clone();
    std::map<std::string, Tensor> saved;
    for (const auto& [key, t] : whole->state()) saved.emplace(key, t.clone());
    run(*whole, theta, 5);

    const auto resumed = make(later);
    for (const auto& [key, t] : resumed->state()) t.copy_from(saved.at(key));
    resumed->steps(4);
    run(*resumed, later, 5);
    CHECK(std::memcmp(later.values().raw(), theta.values().raw(), theta.values().bytes()) == 0);
  }
}

TEST_CASE("moving average: parameters and buffers, on a network of its own") {
  ParameterStore store;
  const nn::BatchNorm1d norm(Scope(store, "bn"), 3);
  const Theta theta(store, DType::f64);
  theta.initialize(Rng(1));
  optim::MovingAverage average(theta, 0.75);
  theta.values().fill(5);
  theta.buffers().fill(3);
  average.update(theta);
  average.update(theta);
  // weight: 5 + (1 - 5) 0.75^2; running_var: 3 + (1 - 3) 0.75^2
  CHECK(average.theta().state().at("bn.weight").at({1}) == doctest::Approx(2.75));
  CHECK(average.theta().state().at("bn.running_var").at({2}) == doctest::Approx(1.875));
  CHECK(theta.state().at("bn.weight").at({1}) == 5);
  CHECK(error_text<ValueError>([&] { optim::MovingAverage(theta, 1); }) ==
        "moving average: momentum must be in [0, 1)");
}

TEST_CASE("optimisers by name") {
  TwoTasks p;
  for (const std::string_view name : optim::optimizer_names()) {
    const auto o = optim::make_optimizer(name, *p.theta, {.rate = 0.25});
    CHECK(o->rate() == 0.25);
    o->rate(0.5);
    CHECK(o->rate() == 0.5);
  }
  CHECK(error_text<ValueError>([&] { optim::make_optimizer("adan", *p.theta, {}); }) ==
        "unknown optimizer 'adan'\n"
        "  nearest  adam, adamw\n"
        "  valid    adam, adamw, rmsprop, sgd");
}

TEST_CASE("optimisers: errors") {
  TwoTasks p, other;
  const double one[] = {1}, two[] = {1, 1};
  optim::Sgd sgd(*p.theta);
  CHECK(error_text<ShapeError>([&] {
          sgd.step(*p.theta, {*p.g, one});
        }) == "optimizer: 1 weights for 2 gradient rows");
  CHECK(error_text<ShapeError>([&] {
          sgd.step(*p.theta, {*p.g, two, one});
        }) == "optimizer: 1 head weights for 2 tasks");
  CHECK(error_text<UsageError>([&] {
          sgd.step(*other.theta, {*p.g, two});
        }) == "optimizer: θ, gradients and optimiser belong to different parameter stores");
  CHECK(error_text<ValueError>([&] { optim::Sgd(*p.theta, {.nesterov = true}); }) ==
        "sgd: Nesterov's form needs a momentum above 0 and no dampening");
  CHECK(error_text<ValueError>([&] { optim::Sgd(*p.theta, {.rate = -1}); }) ==
        "sgd: rate, momentum and decay must not be negative");
  CHECK(error_text<ValueError>([&] { optim::Adam(*p.theta, {.beta2 = 1}); }) ==
        "adam: beta1 and beta2 must be in [0, 1)");
  CHECK(error_text<ValueError>([&] { optim::Rmsprop(*p.theta, {.alpha = -0.1}); }) ==
        "rmsprop: alpha must be in [0, 1)");
  // A direction that is not finite has no norm to clip by.
  p.row("a", 1).fill(std::nan(""));
  sgd.clip.norm = 1;
  CHECK(error_text<NumericError>([&] {
          sgd.step(*p.theta, {*p.g, two});
        }) == "optimizer: the direction's norm is nan, clipping needs a finite one");
}
