// Methods with a memory: their recurrences by hand, checkpoints, tasks that are absent.
#include <concord/multitask/aggregate.h>
#include <concord/tensor/check.h>
#include <concord/tests/multitask/run.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

using namespace concord;
using namespace concord::multitask;

namespace {

std::vector<double> losses_of(int step) { return {1.0 + step, 2.0 / (1 + step), 0.5 + 0.1 * step}; }

Matrix rows_of(int step) { return gaussian(3, 9, Rng(13).fork(static_cast<std::uint64_t>(step))); }

/// Partial derivatives by central differences.
std::vector<double> derivatives(const std::function<double(const std::vector<double>&)>& f,
                                std::vector<double> x) {
  std::vector<double> slopes;
  for (double& v : x) {
    const double at = v, h = 1e-6;
    v = at + h;
    const double above = f(x);
    v = at - h;
    slopes.push_back((above - f(x)) / (2 * h));
    v = at;
  }
  return slopes;
}

}  // namespace

TEST_CASE("checkpoints: every method continues with the same bits") {
  for (const MethodInfo& info : methods()) {
    CAPTURE(info.name);
    const OptionMap options = info.name == "constant" ? OptionMap{{"w", "1,2,3"}}
                              : info.name == "krum"   ? OptionMap{{"byzantine", "0"}}
                                                      : OptionMap{};
    Run whole(info.name, options), again(info.name, options);
    for (int i = 0; i < 5; ++i) {
      whole.epoch = i / 2;
      whole.step(rows_of(i), losses_of(i));
    }
    State state;
    whole.method->save(state);
    again.method->load(state);
    again.steps = whole.steps;
    for (int i = 5; i < 8; ++i) {
      whole.epoch = again.epoch = i / 2;
      CHECK(whole.step(rows_of(i), losses_of(i)) == again.step(rows_of(i), losses_of(i)));
    }
  }
}

TEST_CASE("an absent task's state stands still, in every method") {
  // Task 1 misses two steps; what is stored for it must not move.
  for (const char* name : {"uw", "imtl_l", "gradnorm", "famo", "excess_mtl", "moco", "db_mtl",
                           "m_config", "pcd", "cr_mogm", "gradvac"}) {
    CAPTURE(name);
    Run run(name);
    run.step(rows_of(0), losses_of(0));
    State before, after;
    run.method->save(before);
    for (int i = 1; i < 3; ++i) {
      const Matrix all = rows_of(i);
      Matrix two = zeros(2, 9);
      std::copy_n(all.values.begin(), 9, two.values.begin());
      std::copy_n(all.values.begin() + 18, 9, two.values.begin() + 9);
      run.step(two, {losses_of(i)[0], losses_of(i)[2]}, {0, 2});
    }
    run.method->save(after);
    int moved = 0;
    for (const auto& [key, values] : before) {
      CAPTURE(key);
      REQUIRE(after[key].size() == values.size());
      moved += values != after[key];
      // (The logarithms of excess_mtl's weights are relative to the largest one.)
      if (values.size() == 3 && key != "excess_mtl.log_weights") CHECK(values[1] == after[key][1]);
      if (key.ends_with(".1") && key != "m_config.shared.1") CHECK(values == after[key]);
    }
    CHECK(moved > 0);
  }
}

TEST_CASE("pcd: constraints, nearness and length") {
  for (int i = 0; i < 200; ++i) {
    const Rng rng = Rng(61).fork(static_cast<std::uint64_t>(i));
    const int tasks = 2 + i % 7;
    Matrix m = gaussian(tasks, tasks + 1 + i % 3, rng);
    for (int t = 0; t < tasks; ++t) {
      const double scale =
          std::pow(10.0, 4 * rng.fork("scale").uniform(static_cast<std::uint64_t>(t)) - 2);
      for (std::int64_t k = 0; k < m.columns; ++k) m.at(t, k) *= scale;
    }
    Run run("pcd");
    const auto d = run.step(m);
    CAPTURE(i);
    REQUIRE(run.answer.note.empty());  // independent rows: always feasible
    CHECK(run.answer.residual <= 1e-9);
    CHECK(length(d) == doctest::Approx(row_length(m, 0)).epsilon(1e-9));
    // d~ = sum_t y_t u_t with y_0 = 1, and d = factor d~ = sum_t w_t g_t.
    const auto unit = [&](int t) { return std::hypot(row_length(m, t), 1e-4); };
    const double factor = run.answer.weights[0] * unit(0);
    for (int t = 1; t < tasks; ++t) {
      const double length_of_u = row_length(m, t) / unit(t);
      const double share = progress(m, t, d) / (unit(t) * factor * length_of_u * length_of_u);
      const double y = run.answer.weights[static_cast<std::size_t>(t)] * unit(t) / factor;
      CHECK(y >= 0);
      CHECK(share >= 0.02 - 1e-8);
      if (y > 1e-6) CHECK(share == doctest::Approx(0.02).epsilon(1e-6));
    }
  }
}

TEST_CASE("pcd: two tasks in closed form; infeasible, zero and absent main tasks by name") {
  const double c = -0.6;
  Run run("pcd");
  // Unit rows (1, 0), (c, s): mu = tau - c, d~ = u_0 + mu u_1.
  auto d = run.step({2, 2, {5, 0, 7 * c, 7 * .8}});
  const double mu = 0.02 - c, x = 1 + mu * c, y = mu * .8, norm = std::hypot(x, y);
  CHECK(distance(d, {5 * x / norm, 5 * y / norm}) <= 1e-7);
  Run opposite("pcd");
  d = opposite.step({3, 2, {1, 2, 1, 0, -1, 0}});
  CHECK(opposite.answer.note == "infeasible");
  CHECK(distance(d, {1, 2}) <= 1e-12);
  CHECK(Run("pcd").step({2, 2, {0, 0, 1, 1}}) == std::vector<double>{0, 0});
  Run absent("pcd", {{"main", "1"}});
  absent.step({1, 2, {1, 1}}, {}, {0});
  CHECK(absent.answer.note == "main task absent");
}

TEST_CASE(
    "cagrad_fast: all tasks sampled is cagrad; else the best point for the sample and the rest") {
  const Matrix m = gaussian(7, 9, Rng(67));
  const auto all = aggregate("cagrad_fast", {{"sample", "7"}}, m.values, 7, 9);
  const auto plain = aggregate("cagrad", {{"scale", "1+c"}}, m.values, 7, 9);
  CHECK(distance(all.direction, plain.direction) <= 1e-12);
  for (int i = 0; i < 100; ++i) {
    const int tasks = 3 + i % 6;
    const Matrix g = gaussian(tasks, tasks + 2, Rng(68).fork(static_cast<std::uint64_t>(i)));
    const auto r = aggregate("cagrad_fast", {{"sample", "2"}, {"scale", "none"}}, g.values, tasks,
                             g.columns, {}, static_cast<std::uint64_t>(i));
    CHECK(r.residual <= 1e-12);
    double sum = 0;
    for (const double w : r.weights) sum += w - 1.0 / tasks;
    std::vector<double> w = r.weights;
    for (double& v : w) v = (v - 1.0 / tasks) / sum;
    std::sort(w.begin(), w.end());
    CHECK(w[0] >= -1e-12);
    const auto g0 = combine(g, std::vector<double>(static_cast<std::size_t>(tasks), 1.0 / tasks));
    CHECK(distance(r.direction, g0) == doctest::Approx(0.5 * length(g0)).epsilon(1e-9));
  }
}

TEST_CASE("cr_mogm: the moving average of the base method's weights") {
  Run base("imtl_g"), smooth("cr_mogm", {{"base", "imtl_g"}, {"ema", "0.75"}}),
      none("cr_mogm", {{"base", "imtl_g"}, {"ema", "0"}});
  std::vector<double> w;
  for (int i = 0; i < 4; ++i) {
    base.step(rows_of(i));
    smooth.step(rows_of(i));
    none.step(rows_of(i));
    if (i == 0) w = base.answer.weights;
    for (std::size_t t = 0; t < 3; ++t) w[t] = 0.75 * w[t] + 0.25 * base.answer.weights[t];
    CHECK(distance(smooth.answer.weights, w) <= 1e-14);
    CHECK(none.answer.weights == base.answer.weights);
  }
  Run elements("cr_mogm", {{"base", "graddrop"}});
  Run plain("graddrop");
  CHECK(elements.step(rows_of(0)) == plain.step(rows_of(0)));
  CHECK_THROWS_AS(make_aggregator("cr_mogm", {{"base", "cr_mogm"}}), ValueError);
  CHECK_THROWS_AS(make_aggregator("cr_mogm", {{"base", "mgda"}, {"c", "1"}}), ValueError);
}

TEST_CASE("gradnorm: starts equal, first step in the sign of the derivative, balances the norms") {
  const Matrix m = {2, 2, {1, 0, 0, 3}};
  Run run("gradnorm", {{"lr", "0.01"}});
  CHECK(run.step(m, {4, 2}) == std::vector<double>{1, 3});
  State state;
  run.method->save(state);
  CHECK(state["gradnorm.s"][0] == doctest::Approx(0.01).epsilon(1e-6));
  CHECK(state["gradnorm.s"][1] == doctest::Approx(-0.01).epsilon(1e-6));
  for (int i = 0; i < 600; ++i) run.step(m, {4, 2});
  CHECK(run.answer.weights[0] + run.answer.weights[1] == doctest::Approx(2).epsilon(1e-12));
  CHECK(run.answer.weights[0] == doctest::Approx(1.5).epsilon(0.03));
  // A task that trains slower is pulled up: rates 1 and 1/2, targets in the ratio 2^1.5.
  for (int i = 0; i < 600; ++i) run.step(m, {4, 1});
  CHECK(run.answer.weights[0] / (3 * run.answer.weights[1]) ==
        doctest::Approx(std::pow(2.0, 1.5)).epsilon(0.05));
}

TEST_CASE("cosmos and pbi: weights are the derivatives of their scalar") {
  const std::vector<double> l = {2, .5, 1}, p = {1, 3, .5}, z = {.1, 0, .2};
  const Matrix m = gaussian(3, 2, Rng(1));
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  const auto cosmos = derivatives(
      [&](const std::vector<double>& x) {
        return dot(p, x) - 2 * dot(p, x) / (length(p) * length(x));
      },
      l);
  CHECK(
      distance(aggregate("cosmos", {{"preference", "1,3,0.5"}, {"lambda", "2"}}, m.values, 3, 2, l)
                   .weights,
               cosmos) <= 1e-8);
  const auto pbi = derivatives(
      [&](std::vector<double> x) {
        for (std::size_t i = 0; i < 3; ++i) x[i] -= z[i];
        const double along = dot(x, p) / length(p);
        return along + 5 * std::sqrt(dot(x, x) - along * along);
      },
      l);
  CHECK(
      distance(aggregate("pbi", {{"preference", "1,3,0.5"}, {"z", "0.1,0,0.2"}}, m.values, 3, 2, l)
                   .weights,
               pbi) <= 1e-8);
  const auto on_the_line =
      aggregate("pbi", {{"preference", "3,4,0"}}, m.values, 3, 2, std::vector<double>{6, 8, 0});
  CHECK(distance(on_the_line.weights, {.6, .8, 0}) <= 1e-15);
}

TEST_CASE("famo: weights and the step of its logits by hand; the order of calls is kept") {
  const auto famo = make_aggregator("famo", {{"gamma", "0"}});
  const Gram gram = Gram::of(std::vector<double>{1, 0, 0, 1}, 2, 2);
  const std::vector<double> losses = {2, .5}, after = {1, .5};
  Direction d;
  CHECK_THROWS_AS(famo->after_step(after), UsageError);
  famo->weights({.gram = gram, .losses = losses}, d);
  CHECK(distance(d.weights, {.2, .8}) <= 1e-8);
  CHECK_THROWS_AS(famo->weights({.gram = gram, .losses = losses}, d), UsageError);
  CHECK_THROWS_AS(famo->after_step(std::vector<double>{1}), ShapeError);
  famo->after_step(after);
  // Task 0 fell, task 1 did not: the gradient is z (delta - mean) = (+, -) log(2) / 4; Adam's first
  // step is lr.
  State state;
  famo->save(state);
  CHECK(state["famo.xi"][0] == doctest::Approx(-0.025).epsilon(1e-6));
  CHECK(state["famo.xi"][1] == doctest::Approx(0.025).epsilon(1e-6));
  CHECK(state["famo.xi.m"][0] == doctest::Approx(0.1 * std::log(2.0) / 4).epsilon(1e-7));
  famo->weights({.gram = gram, .losses = losses}, d);
  const double a = std::exp(-0.025) / 2, b = std::exp(0.025) / .5;
  CHECK(distance(d.weights, {a / (a + b), b / (a + b)}) <= 1e-7);
}

TEST_CASE("cosine gate with averages: the gate follows the trend") {
  const Matrix with = {2, 2, {1, 0, .8, .6}}, against = {2, 2, {1, 0, -.6, .8}};
  Run gate("cosine_gate", {{"beta", "0.5"}, {"form", "weighted"}});
  gate.step(with);
  CHECK(gate.answer.weights[1] == doctest::Approx(.8).epsilon(1e-14));
  gate.step(against);  // (.25 * .8 - .5 * .6) / .75
  CHECK(gate.answer.weights[1] == 0);
  gate.step(with);  // (.125 * .8 - .25 * .6 + .5 * .8) / .875
  CHECK(gate.answer.weights[1] == doctest::Approx(.4).epsilon(1e-14));
}
