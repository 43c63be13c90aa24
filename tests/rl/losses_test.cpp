// Distributions and losses: hand values, finite differences, and what the clipping does to
// gradients.
#include <concord/autograd/gradcheck.h>
#include <concord/nn/layers.h>
#include <concord/rl/losses.h>
#include <concord/rl/popart.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <cmath>
#include <numbers>
#include <vector>

using namespace concord;
using namespace concord::rl;

namespace {

Tensor normal(const char* name, const Shape& shape, double deviation = 1) {
  const Tensor t = Tensor::empty(shape, DType::f64);
  Rng(5).fork(name).fill_normal(t, 0, deviation);
  return t;
}

void check_gradient(const std::function<Var(std::span<const Var>)>& f,
                    std::initializer_list<Tensor> inputs) {
  const std::vector<Tensor> list(inputs);
  const GradcheckResult r = gradcheck(f, list);
  CHECK_MESSAGE(r.ok, r.message);
}

/// d f / d x for one input.
Tensor gradient(const std::function<Var(const Var&)>& f, const Tensor& x) {
  Tape tape;
  const Var leaf = tape.leaf(x);
  const Var y = f(leaf);
  std::vector<Tensor> out;
  const Seed seed{y, 0, 1, {}};
  tape.backward(std::span<const Seed>(&seed, 1), 1, nullptr,
                {.wanted = std::span<const Var>(&leaf, 1), .gradients = &out});
  return out[0].view(x.shape());
}

}  // namespace

TEST_CASE("categorical: probabilities, entropy and divergence by hand") {
  const Tensor logits = Tensor::from<double>({std::log(1.0), std::log(3.0), 0, 0}, {2, 2});
  const Distribution d = categorical(Var(logits));
  const Tensor actions = Tensor::from<std::int64_t>({1, 0}, {2});
  CHECK(log_prob(d, actions).value().at({0}) == doctest::Approx(std::log(0.75)));
  CHECK(log_prob(d, actions).value().at({1}) == doctest::Approx(std::log(0.5)));
  CHECK(entropy(d).value().at({0}) ==
        doctest::Approx(-0.25 * std::log(0.25) - 0.75 * std::log(0.75)));
  const Distribution even = categorical(Var(Tensor::zeros({2, 2}, DType::f64)));
  CHECK(kl_divergence(d, even).value().at({0}) ==
        doctest::Approx(0.25 * std::log(0.5) + 0.75 * std::log(1.5)));
  CHECK(kl_divergence(d, even).value().at({1}) == doctest::Approx(0));
}

TEST_CASE("categorical: actions that do not exist have no probability, entropy or gradient") {
  const Tensor mask = mask_of(Tensor::from<std::uint8_t>({1, 0, 1}, {3}));
  CHECK_FALSE(mask_of(Tensor::full({3}, 1, DType::u8)).defined());
  const Tensor logits = Tensor::from<float>({0.3f, 50, 0.3f}, {1, 3});
  const Distribution d = categorical(Var(logits), mask);
  CHECK(entropy(d).value().item() == doctest::Approx(std::log(2.0)));
  const Tensor actions = Tensor::empty({1}, DType::i64);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    sample(d, Rng(i), 0, actions, {});
    CHECK(actions.data<std::int64_t>()[0] != 1);
  }
  mode(d, actions);
  CHECK(actions.data<std::int64_t>()[0] == 0);
  const Tensor g =
      gradient([&](const Var& x) { return sum(entropy(categorical(x, mask))); }, logits);
  CHECK(g.at({0, 1}) == 0);
}

TEST_CASE("categorical: draws have the probabilities, whatever the cut of the batch") {
  const index_t n = 40000;
  const Tensor row = Tensor::from<float>({std::log(0.1f), std::log(0.6f), std::log(0.3f)}, {1, 3});
  const Distribution d = categorical(broadcast_to(Var(row), {n, 3}));
  const Tensor actions = Tensor::empty({n}, DType::i64), log_probs = Tensor::empty({n});
  sample(d, Rng(1), 0, actions, log_probs);
  double count[3] = {};
  for (index_t i = 0; i < n; ++i) ++count[actions.data<std::int64_t>()[i]];
  const double p[3] = {0.1, 0.6, 0.3};
  for (int a = 0; a < 3; ++a)
    CHECK(std::abs(count[a] / n - p[a]) < 4 * std::sqrt(p[a] * (1 - p[a]) / n));
  CHECK(log_probs.data<float>()[7] ==
        doctest::Approx(std::log(p[actions.data<std::int64_t>()[7]])));
  const Tensor part = Tensor::empty({5}, DType::i64);
  sample(categorical(broadcast_to(Var(row), {5, 3})), Rng(1), 100, part, {});
  for (index_t i = 0; i < 5; ++i)
    CHECK(part.data<std::int64_t>()[i] == actions.data<std::int64_t>()[100 + i]);
}

TEST_CASE("Gaussian: density, entropy, divergence by hand; draws have mean and deviation") {
  const Distribution d{.mean = Var(Tensor::from<double>({1, -2}, {1, 2})),
                       .log_std = Var(Tensor::from<double>({std::log(2.0), 0}, {2}))};
  const Tensor x = Tensor::from<double>({2, -1}, {1, 2});
  const double two_pi = 2 * std::numbers::pi;
  CHECK(log_prob(d, x).value().item() ==
        doctest::Approx(-0.125 - std::log(2.0) - 0.5 - std::log(two_pi)));
  CHECK(entropy(d).value().item() ==
        doctest::Approx(std::log(2.0) + std::log(two_pi * std::numbers::e)));
  const Distribution q{.mean = Var(Tensor::from<double>({0, -2}, {1, 2})),
                       .log_std = Var(Tensor::zeros({2}, DType::f64))};
  CHECK(kl_divergence(d, q).value().item() ==
        doctest::Approx(-std::log(2.0) + 0.5 * (4 + 1) - 0.5));

  const index_t n = 20000;
  const Distribution wide{.mean = Var(Tensor::full({n, 1}, 3)),
                          .log_std = Var(Tensor::full({1}, std::log(0.5)))};
  const Tensor actions = Tensor::empty({n, 1}), log_probs = Tensor::empty({n});
  sample(wide, Rng(2), 0, actions, log_probs);
  double mean = 0, second = 0;
  for (const double a : actions.values<float>()) {
    mean += a / n;
    second += (a - 3) * (a - 3) / n;
  }
  CHECK(std::abs(mean - 3) < 4 * 0.5 / std::sqrt(double(n)));
  CHECK(std::abs(second - 0.25) < 4 * 0.25 * std::sqrt(2.0 / n));
}

TEST_CASE("squashed Gaussian: the density integrates to 1, and its gradient is right") {
  // Substituting a = tanh(u): sum over a fine grid of u of density(a) da/du.
  const index_t n = 4001;
  const double low = -2, high = 3, deviation = 0.8, centre = 0.7;
  const Tensor noise = Tensor::empty({n, 1}, DType::f64);
  const double width = 16.0 / (n - 1);
  for (index_t i = 0; i < n; ++i) noise.data<double>()[i] = -8 + width * static_cast<double>(i);
  const Distribution d{.mean = Var(Tensor::full({n, 1}, centre, DType::f64)),
                       .log_std = Var(Tensor::full({1}, std::log(deviation), DType::f64))};
  const Squashed s = squash(d, noise, low, high);
  double total = 0;
  for (index_t i = 0; i + 1 < n; ++i) {
    const double from = s.action.value().at({i, 0}), to = s.action.value().at({i + 1, 0});
    const double mid =
        0.5 * (std::exp(s.log_prob.value().at({i})) + std::exp(s.log_prob.value().at({i + 1})));
    total += mid * (to - from);
    CHECK(from >= low);
    CHECK(to <= high);
  }
  CHECK(total == doctest::Approx(1).epsilon(1e-4));
  // Where tanh rounds to 1 the correction is still finite: log(1 - tanh(u)^2) = log 4 - 2 u.
  const Distribution far{.mean = Var(Tensor::full({1, 1}, 30, DType::f64)),
                         .log_std = Var(Tensor::zeros({1}, DType::f64))};
  const double lp = squash(far, Tensor::zeros({1, 1}, DType::f64), -1, 1).log_prob.value().item();
  CHECK(lp == doctest::Approx(-0.5 * std::log(2 * std::numbers::pi) - std::log(4.0) + 60));

  const Tensor z = normal("noise", {3, 2});
  check_gradient(
      [&](std::span<const Var> v) {
        const Squashed q = squash({.mean = v[0], .log_std = v[1]}, z, -2, 5);
        return concat({q.action, view(q.log_prob, {-1, 1})}, 1);
      },
      {normal("mean", {3, 2}, 2), normal("log_std", {3, 2}, 0.3)});
}

TEST_CASE("losses: gradients against finite differences") {
  const index_t b = 7, a = 3;
  const Tensor logits = normal("logits", {b, a}), other = normal("other", {b, a}, 0.4);
  const Tensor advantage = normal("advantage", {b}), old = normal("old", {b}, 0.4);
  const Tensor actions = Tensor::empty({b}, DType::i64);
  for (index_t i = 0; i < b; ++i) actions.data<std::int64_t>()[i] = i % a;
  const Tensor value = normal("value", {b}), old_value = normal("old_value", {b}, 0.3);
  const Tensor before = Tensor::empty({b}, DType::f64);
  for (index_t i = 0; i < b; ++i)
    before.data<double>()[i] =
        log_prob(categorical(Var(logits)), actions).value().at({i}) + old.at({i});

  check_gradient(
      [&](std::span<const Var> v) {
        return policy_gradient_loss(log_prob(categorical(v[0]), actions), advantage);
      },
      {logits});
  check_gradient(
      [&](std::span<const Var> v) {
        return clipped_policy_loss(log_prob(categorical(v[0]), actions), before, advantage, 0.2);
      },
      {logits});
  check_gradient([&](std::span<const Var> v) { return mean(entropy(categorical(v[0]))); },
                 {logits});
  check_gradient([&](std::span<const Var> v) { return value_loss(v[0], advantage); }, {value});
  check_gradient(
      [&](std::span<const Var> v) { return clipped_value_loss(v[0], old_value, advantage, 0.3); },
      {value});
  check_gradient(
      [&](std::span<const Var> v) {
        return distillation_loss(categorical(Var(other)), categorical(v[0]));
      },
      {logits});
  check_gradient(
      [&](std::span<const Var> v) {
        return mean(kl_divergence(categorical(v[0]), categorical(v[1])));
      },
      {logits, other});
  check_gradient(
      [&](std::span<const Var> v) {
        return mean(
            kl_divergence({.mean = v[0], .log_std = v[1]}, {.mean = v[2], .log_std = v[3]}));
      },
      {normal("m1", {4, 2}), normal("s1", {2}, 0.3), normal("m2", {4, 2}), normal("s2", {2}, 0.3)});
}

TEST_CASE("PPO: outside the clip range, on the side that gains, the gradient is zero") {
  // ratio 2, 0.5, 1.1, 2, 0.5; clip 0.2
  const Tensor log_ratio = Tensor::from<double>(
      {std::log(2.), std::log(.5), std::log(1.1), std::log(2.), std::log(.5)}, {5});
  const Tensor advantage = Tensor::from<double>({1, -1, 1, -1, 1}, {5});
  const Tensor old = Tensor::zeros({5}, DType::f64);
  const auto loss = [&](const Var& x) { return clipped_policy_loss(x, old, advantage, 0.2); };
  CHECK(loss(Var(log_ratio)).item() == doctest::Approx(-(1.2 - 0.8 + 1.1 - 2 + 0.5) / 5));
  const Tensor g = gradient(loss, log_ratio);
  CHECK(g.at({0}) == 0);
  CHECK(g.at({1}) == 0);
  CHECK(g.at({2}) == doctest::Approx(-1.1 / 5));
  CHECK(g.at({3}) == doctest::Approx(2.0 / 5));  // the pessimistic side keeps its gradient
  CHECK(g.at({4}) == doctest::Approx(-0.5 / 5));
}

TEST_CASE("kickstarting has distillation's gradient; its value differs by the teacher's entropy") {
  const Tensor student = normal("student", {4, 3}), teacher = normal("teacher", {4, 3});
  const Distribution t = categorical(Var(teacher));
  const auto kl = [&](const Var& x) { return distillation_loss(t, categorical(x)); };
  const auto ce = [&](const Var& x) { return kickstarting_loss(t, categorical(x)); };
  CHECK(testing::relative_error(gradient(kl, student), gradient(ce, student)) < 1e-12);
  CHECK(ce(Var(student)).item() - kl(Var(student)).item() ==
        doctest::Approx(mean(entropy(t)).item()));
  CHECK(kl(Var(teacher)).item() == doctest::Approx(0));
}

TEST_CASE("teacher's weight: linear, then constant") {
  const TeacherSchedule s{.start = 2, .end = 0.5, .steps = 100};
  CHECK(s(0) == 2);
  CHECK(s(50) == 1.25);
  CHECK(s(100) == 0.5);
  CHECK(s(1000) == 0.5);
  CHECK(TeacherSchedule{.start = 3}(1000) == 3);
}

TEST_CASE("PopArt: statistics follow the targets, the outputs stay") {
  ParameterStore store;
  const nn::Linear first(Scope(store, "value.0").task(0), 5, 1);
  const nn::Linear second(Scope(store, "value.1").task(1), 5, 1);
  const Theta theta(store, DType::f64);
  theta.initialize(Rng(1));
  PopArt popart(store, "value", 2, 0.25);
  const Var x(normal("features", {6, 5}));
  const Tensor before = first({.theta = &theta}, x).value();
  const Tensor other = second({.theta = &theta}, x).value();
  const std::vector<float> targets{100, 300};  // mean 200, second moment 50,000
  popart.update(theta, 0, targets);
  CHECK(popart.mean(0) == doctest::Approx(50));
  CHECK(popart.deviation(0) == doctest::Approx(std::sqrt(0.75 + 0.25 * 50000 - 2500)));
  CHECK(popart.mean(1) == 0);
  CHECK(popart.deviation(1) == 1);
  const Tensor after = first({.theta = &theta}, x).value();
  const Tensor value =
      (popart.deviation(0) * Var(after) + Var(Tensor::full({}, 50, DType::f64))).value();
  CHECK(testing::relative_error(value, before) < 1e-12);
  CHECK(testing::relative_error(second({.theta = &theta}, x).value(), other) == 0);
}
