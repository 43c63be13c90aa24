// Methods that drive a training step, against their recurrences by hand; what holds for all.
#include <concord/autograd/gradcheck.h>
#include <concord/multitask/aggregate.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/rotograd.h>
#include <concord/multitask/telemetry.h>
#include <concord/optim/adam.h>
#include <concord/tests/multitask/counting_new.h>
#include <concord/tests/multitask/training_models.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

using namespace concord;
using namespace concord::multitask;
using concord::testing::error_text;

namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double distance(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

/// Rows of gradients by x of the tasks in a batch, as the model stands.
std::vector<Vector> rows(const Quadratic& m, int batch) {
  std::vector<Vector> g;
  for (int t = 0; t < static_cast<int>(m.tasks.size()); ++t) {
    g.push_back(m.gradient(t, batch, m.values(m.x), m.values(m.y[static_cast<std::size_t>(t)])));
  }
  return g;
}

Vector combine(const std::vector<Vector>& g, const Vector& w) {
  Vector d(g[0].size());
  for (std::size_t t = 0; t < g.size(); ++t) {
    for (std::size_t i = 0; i < d.size(); ++i) d[i] += w[t] * g[t][i];
  }
  return d;
}

/// The nearest point of the simplex by bisection on the level.
Vector on_simplex(const Vector& x) {
  double low = -1e3, high = 1e3;
  for (int i = 0; i < 200; ++i) {
    const double level = (low + high) / 2;
    double sum = 0;
    for (const double v : x) sum += std::max(v - level, 0.0);
    (sum > 1 ? low : high) = level;
  }
  Vector w;
  for (const double v : x) w.push_back(std::max(v - high, 0.0));
  return w;
}

std::vector<std::string> step_methods() {
  std::vector<std::string> names;
  for (const MethodInfo& info : all_methods()) {
    if (info.kind == Kind::step) names.emplace_back(info.name);
  }
  return names;
}

}  // namespace

TEST_CASE("a method on one matrix of gradients is Step and the optimiser, to the bit") {
  for (const char* name : {"pcgrad", "famo", "moco", "uw"}) {
    CAPTURE(name);
    Linear a(3, DType::f32), b(3, DType::f32);
    Loop<Linear> loop(a, name, {}, 0.1, 3);
    Step step(b.store, make_aggregator(name), 3,
              {.heads = find_method(name).kind == Kind::weighting ? Heads::weighted : Heads::own});
    optim::Sgd sgd(*b.theta, {.rate = 0.1});
    Tape tape;
    for (int i = 0; i < 4; ++i) {
      loop.step();
      tape.reset();
      const Context ctx{b.theta.get(), &tape, true, Rng()};
      std::vector<Var> losses;
      b.losses(ctx, 0, losses);
      step.backward(tape, losses, {.step = i, .epoch = 0, .rng = Rng(5)});
      sgd.step(*b.theta, step.direction(), step.squared_norm());
      if (step.method().needs_losses_after()) {
        b.losses({.theta = b.theta.get(), .training = true}, 0, losses);
        step.after(losses);
      }
      CHECK(loop.method->answer().weights == step.answer().weights);
    }
    CHECK(testing::relative_error(a.theta->values(), b.theta->values()) == 0);
    CHECK(loop.method->name() == name);
    CHECK(loop.method->batches() == 1);
  }
}

TEST_CASE("options of a step stand beside the method's own") {
  Linear model(3, DType::f64);
  Loop<Linear> features(model, "mgda", {{"level", "features"}, {"normalize", "l2"}}, 0.1, 3);
  CHECK(features.method->needs_features());
  CHECK(features.method->vectors() == 1);
  features.step();
  CHECK(features.method->inner()->gradients().tasks() == 1);

  Loop<Linear> refreshed(model, "mgda", {{"refresh", "2"}}, 0.1, 3);
  for (int i = 0; i < 4; ++i) {
    refreshed.step();
    CHECK(refreshed.method->fresh() == (i % 2 == 0));
    CHECK(refreshed.method->inputs().losses.size() == 3);
  }
  Loop<Linear> own(model, "uw", {{"heads", "own"}}, 0.1, 3);
  own.step();
  CHECK(own.method->inner()->direction().head_weights.empty());
  Loop<Linear> blocks(model, "gradvac", {{"granularity", "tensor"}, {"beta", "0.2"}}, 0.1, 3);
  blocks.step();
  CHECK(blocks.method->inner()->blocks()[0].name == "w");
  CHECK(error_text<ValueError>([&] {
          make_method("mgda", {{"granularty", "tensor"}}, *model.theta, 3);
        }).starts_with("unknown option of mgda 'granularty'"));
  CHECK(error_text<ValueError>([&] {
          make_method("modo", {{"granularity", "tensor"}}, *model.theta, 3);
        }).starts_with("unknown option of modo 'granularity'"));
}

TEST_CASE("micro-batches: one answer for the mean of the batches' gradients, and of their losses") {
  const double rate = 0.05;
  Quadratic model(three_tasks());
  Loop<Quadratic> loop(model, "mgda", {{"micro_batches", "3"}}, rate, 3);
  CHECK(loop.method->batches() == 3);
  for (int step = 0; step < 3; ++step) {
    const Vector x = model.values(model.x);
    std::vector<Vector> mean(3, Vector(5));
    Vector losses(3);
    for (int b = 0; b < 3; ++b) {
      const auto g = rows(model, b);
      for (std::size_t t = 0; t < 3; ++t) {
        losses[t] += model.loss(static_cast<int>(t), b, x, model.values(model.y[t])) / 3;
        for (std::size_t i = 0; i < 5; ++i) mean[t][i] += g[t][i] / 3;
      }
    }
    Vector flat;
    for (const Vector& g : mean) flat.insert(flat.end(), g.begin(), g.end());
    const auto answer = aggregate("mgda", {}, flat, 3, 5);
    loop.step();
    CHECK(distance(loop.method->answer().weights, answer.weights) <= 1e-9);
    const auto seen = loop.method->inputs().losses;
    CHECK(distance({seen.begin(), seen.end()}, losses) <= 1e-12);
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(model.values(model.x)[i] ==
            doctest::Approx(x[i] - rate * answer.direction[i]).epsilon(1e-9));
    }
  }
  Quadratic fresh(three_tasks());
  Loop<Quadratic> famo(fresh, "famo", {{"micro_batches", "2"}, {"low", "-9,-9,-9"}}, rate, 3);
  famo.step();
  CHECK(fresh.evaluations == 4);  // two batches, before and after
}

TEST_CASE("look_ahead: the weight that a brute-force search over single steps finds") {
  const double rate = 0.11;
  for (const bool fresh : {false, true}) {
    Quadratic model({three_tasks()[0], three_tasks()[1]});
    const Vector x = model.values(model.x), head = model.values(model.y[0]);
    const auto g = rows(model, 0);
    const Vector gh = model.head_gradient(0, x, head);
    const auto loss = [&](double l) {
      Vector at = x, phi = head;
      for (std::size_t i = 0; i < x.size(); ++i) {
        at[i] -= rate * (g[0][i] + l * g[1][i]);
        phi[i] -= rate * gh[i];
      }
      return model.loss(0, fresh ? 1 : 0, at, phi);
    };
    double best = 0;
    for (int i = 0; i <= 40000; ++i) {
      const double l = -2 + i * 1e-4;
      if (loss(l) < loss(best)) best = l;
    }
    REQUIRE(std::abs(best) > 0.01);
    REQUIRE(std::abs(best) < 1.9);
    Loop<Quadratic> loop(
        model, "look_ahead",
        {{"low", "-2"}, {"high", "2"}, {"sections", "30"}, {"batch", fresh ? "fresh" : "same"}},
        rate, 2);
    loop.step();
    CHECK(loop.method->answer().weights[0] == 1);
    CHECK(loop.method->answer().weights[1] == doctest::Approx(best).epsilon(1e-3));
    Vector expected = x;
    for (std::size_t i = 0; i < x.size(); ++i)
      expected[i] -= rate * (g[0][i] + loop.method->answer().weights[1] * g[1][i]);
    CHECK(distance(model.values(model.x), expected) <= 1e-13);
    CHECK(model.evaluations == 1 + 9 + 30);  // the gradients, the grid, the sections
  }
}

TEST_CASE("look_ahead: never worse for the main task than the main gradient alone") {
  Quadratic model(three_tasks());
  Loop<Quadratic> loop(model, "look_ahead", {{"main", "2"}}, 0.05, 3);
  for (int i = 0; i < 5; ++i) {
    const Vector x = model.values(model.x), head = model.values(model.y[2]);
    const Vector g = rows(model, 0)[2], gh = model.head_gradient(2, x, head);
    Vector alone = x, phi = head;
    for (std::size_t k = 0; k < x.size(); ++k) {
      alone[k] -= 0.05 * g[k];
      phi[k] -= 0.05 * gh[k];
    }
    loop.step();
    CHECK(model.loss(2, 0, model.values(model.x), model.values(model.y[2])) <=
          model.loss(2, 0, alone, phi) + 1e-13);
  }
  model.tasks[2].present = false;
  const Vector before = model.values(model.x);
  loop.step();
  CHECK(loop.method->answer().note == "main task absent");
  CHECK(model.values(model.x) == before);
}

TEST_CASE("auto_lambda: slopes in closed form, Adam's steps of lambda, weighted heads") {
  const double rate = 0.06;
  for (const char* product : {"exact", "difference"}) {
    CAPTURE(product);
    Quadratic model(three_tasks());
    Loop<Quadratic> loop(model, "auto_lambda",
                         {{"primary", "0,2"}, {"lr", "0.01"}, {"product", product}}, rate, 3);
    CHECK(loop.method->batches() == 2);
    Vector lambda(3, 0.1), m(3), v(3);
    for (int step = 1; step <= 3; ++step) {
      const auto g = rows(model, 0);
      const Vector x = model.values(model.x), d = combine(g, lambda);
      std::vector<Vector> y, gy;
      for (int t = 0; t < 3; ++t) {
        y.push_back(model.values(model.y[static_cast<std::size_t>(t)]));
        gy.push_back(model.head_gradient(t, x, y.back()));
      }
      Vector moved = x;
      for (std::size_t i = 0; i < x.size(); ++i) moved[i] -= rate * d[i];
      Vector slope_by_x(x.size());
      std::vector<Vector> slope_by_y(3, Vector(x.size()));
      for (const int k : {0, 2}) {
        Vector phi = y[static_cast<std::size_t>(k)];
        for (std::size_t i = 0; i < phi.size(); ++i)
          phi[i] -= rate * lambda[static_cast<std::size_t>(k)] * gy[static_cast<std::size_t>(k)][i];
        const Vector by_x = model.gradient(k, 1, moved, phi);
        for (std::size_t i = 0; i < by_x.size(); ++i) slope_by_x[i] += by_x[i];
        slope_by_y[static_cast<std::size_t>(k)] = model.head_gradient(k, moved, phi);
      }
      for (std::size_t t = 0; t < 3; ++t) {
        const double slope = -rate * (dot(g[t], slope_by_x) + dot(gy[t], slope_by_y[t]));
        m[t] = 0.9 * m[t] + 0.1 * slope;
        v[t] = 0.999 * v[t] + 0.001 * slope * slope;
        lambda[t] -= 0.01 * m[t] / (1 - std::pow(0.9, step)) /
                     (std::sqrt(v[t] / (1 - std::pow(0.999, step))) + 1e-8);
      }
      loop.step();
      CHECK(distance(loop.method->answer().weights, lambda) <= 1e-10);
      const Vector end = combine(g, lambda);
      for (std::size_t i = 0; i < x.size(); ++i)
        CHECK(model.values(model.x)[i] == doctest::Approx(x[i] - rate * end[i]).epsilon(1e-9));
      CHECK(model.values(model.y[1])[0] ==
            doctest::Approx(y[1][0] - rate * lambda[1] * gy[1][0]).epsilon(1e-9));
    }
    model.tasks[0].present = model.tasks[2].present =
        false;  // no primary task: lambda stands still
    loop.step();
    CHECK(loop.method->answer().weights[0] == doctest::Approx(lambda[1]).epsilon(1e-9));
  }
}

TEST_CASE("modo: lambda moves along J1 J2^T lambda, the step along J3^T lambda") {
  const double rate = 0.02, c = 0.3, rho = 0.4;
  Quadratic model(three_tasks());
  Loop<Quadratic> loop(model, "modo", {{"c", "0.3"}, {"rho", "0.4"}}, rate, 3);
  CHECK(loop.method->batches() == 3);
  Vector lambda(3, 1.0 / 3);
  for (int step = 0; step < 4; ++step) {
    const auto j1 = rows(model, 0), j2 = rows(model, 1), j3 = rows(model, 2);
    const Vector x = model.values(model.x), head = model.values(model.y[1]);
    const Vector second = combine(j2, lambda);
    Vector next = lambda;
    for (std::size_t t = 0; t < 3; ++t) next[t] -= c * (dot(j1[t], second) + rho * lambda[t]);
    lambda = on_simplex(next);
    loop.step();
    CHECK(distance(loop.method->answer().weights, lambda) <= 1e-12);
    Vector expected = x;
    const Vector d = combine(j3, lambda);
    for (std::size_t i = 0; i < x.size(); ++i) expected[i] -= rate * d[i];
    CHECK(distance(model.values(model.x), expected) <= 1e-13);
    const Vector gh = model.head_gradient(1, x, head);  // heads follow their own gradient
    CHECK(model.values(model.y[1])[2] == doctest::Approx(head[2] - rate * gh[2]).epsilon(1e-12));
  }
}

TEST_CASE("sdmgrad: the inner loop by hand on J1 J2^T, not on its transpose") {
  const double rate = 0.02;
  Quadratic model(three_tasks());
  Loop<Quadratic> loop(
      model, "sdmgrad",
      {{"lambda", "0.6"}, {"lr", "0.2"}, {"momentum", "0.25"}, {"iterations", "5"}}, rate, 3);
  Vector w(3, 1.0 / 3);
  for (int step = 0; step < 3; ++step) {
    const auto j1 = rows(model, 0), j2 = rows(model, 1), j3 = rows(model, 2);
    const Vector x = model.values(model.x);
    double scale = 0;
    for (std::size_t t = 0; t < 3; ++t)
      scale += std::pow(dot(j1[t], j1[t]) * dot(j2[t], j2[t]), 0.25) / 3;
    Vector velocity(3);
    for (int i = 0; i < 5; ++i) {
      Vector next = w;
      for (std::size_t r = 0; r < 3; ++r) {
        double slope = 0;
        for (std::size_t k = 0; k < 3; ++k)
          slope += dot(j1[r], j2[k]) / (scale * scale) * (w[k] + 0.6 / 3);
        velocity[r] = 0.25 * velocity[r] + slope;
        next[r] -= 0.2 * velocity[r];
      }
      w = on_simplex(next);
    }
    Vector weights = w;
    for (double& v : weights) v = (v + 0.6 / 3) / 1.6;
    loop.step();
    CHECK(distance(loop.method->answer().weights, weights) <= 1e-11);
    Vector expected = x;
    const Vector d = combine(j3, weights);
    for (std::size_t i = 0; i < x.size(); ++i) expected[i] -= rate * d[i];
    CHECK(distance(model.values(model.x), expected) <= 1e-12);
  }
}

TEST_CASE("mtadam: a naive loop over tasks and elements, with an absent task and weight decay") {
  const double rate = 0.03, decay = 0.2, eps = 1e-8;
  const Vector rank = {1, 0.5, 2};
  Quadratic model(three_tasks());
  Loop<Quadratic> loop(model, "mtadam", {{"rank", "1,0.5,2"}}, rate, 3);
  optim::Adam given(*model.theta, {.rate = rate, .decay = decay});  // its moments must not matter
  Vector norm(3), steps(3), zero(5);
  std::vector<Vector> m(3, zero), v(3, zero), mh(3, zero), vh(3, zero);
  for (int step = 0; step < 5; ++step) {
    model.tasks[0].present = step != 2;
    const auto g = rows(model, 0);
    const Vector x = model.values(model.x);
    Vector d(5), most(5), expected = x;
    double anchor = 0;
    std::vector<Vector> heads;
    for (std::size_t t = 0; t < 3; ++t) {
      const Vector y = model.values(model.y[t]);
      heads.push_back(y);
      if (!model.tasks[t].present) {
        for (std::size_t i = 0; i < 5; ++i) heads[t][i] -= rate * decay * y[i];
        continue;
      }
      steps[t] += 1;
      const double length = std::sqrt(dot(g[t], g[t]));
      norm[t] = steps[t] == 1 ? length : 0.9 * norm[t] + 0.1 * length;
      if (anchor == 0) anchor = norm[t];
      const Vector gh = model.head_gradient(static_cast<int>(t), x, y);
      const double b1 = 1 - std::pow(0.9, steps[t]), b2 = 1 - std::pow(0.999, steps[t]);
      for (std::size_t i = 0; i < 5; ++i) {
        const double h = rank[t] * anchor / norm[t] * g[t][i];
        m[t][i] = 0.9 * m[t][i] + 0.1 * h;
        v[t][i] = 0.999 * v[t][i] + 0.001 * h * h;
        d[i] += m[t][i] / b1;
        most[i] = std::max(most[i], std::sqrt(v[t][i] / b2) + eps);
        const double k = rank[t] * gh[i];
        mh[t][i] = 0.9 * mh[t][i] + 0.1 * k;
        vh[t][i] = 0.999 * vh[t][i] + 0.001 * k * k;
        heads[t][i] -= rate * (mh[t][i] / b1 / (std::sqrt(vh[t][i] / b2) + eps) + decay * y[i]);
      }
    }
    for (std::size_t i = 0; i < 5; ++i) expected[i] -= rate * (d[i] / most[i] + decay * x[i]);
    loop.method->step(model, {model.theta.get(), &loop.tape, true, Rng()}, given, {.step = step});
    CHECK(distance(model.values(model.x), expected) <= 1e-12);
    for (std::size_t t = 0; t < 3; ++t)
      CHECK(distance(model.values(model.y[t]), heads[t]) <= 1e-12);
  }
  CHECK(std::isnan(loop.method->answer().weights[0]));
}

TEST_CASE("rotograd: exp(w - w^T) is orthogonal, known in the plane, and its gradient is right") {
  for (const double size : {0.0, 0.01, 1.0, 30.0}) {
    CAPTURE(size);
    const Tensor w = Tensor::empty({7, 7}, DType::f64);
    Rng(8).fill_normal(w, 0, size);
    const Tensor r = rotation_of(w).value();
    const Tensor product = matmul(r, transpose(r, 0, 1)).value();
    for (index_t i = 0; i < 7; ++i) {
      for (index_t j = 0; j < 7; ++j)
        CHECK(std::abs(product.at({i, j}) - (i == j ? 1 : 0)) <= 1e-12);
    }
    const Tensor single = rotation_of(w.to(DType::f32)).value();
    CHECK(testing::relative_error(single, r) <= 1e-4);
  }
  const double angle = 0.9;
  const Tensor plane = rotation_of(Tensor::from<double>({0, 0, angle, 0}, {2, 2})).value();
  CHECK(plane.at({0, 0}) == doctest::Approx(std::cos(angle)).epsilon(1e-14));
  CHECK(plane.at({1, 0}) == doctest::Approx(std::sin(angle)).epsilon(1e-14));

  const Tensor w = Tensor::empty({4, 4}, DType::f64), v = Tensor::empty({3, 4}, DType::f64),
               n = Tensor::empty({3, 4}, DType::f64);
  Rng(9).fill_normal(w);
  Rng(10).fill_normal(v);
  Rng(11).fill_normal(n);
  const auto result = gradcheck(
      [&](std::span<const Var> in) {
        return sum(square(linear(v, rotation_of(in[0])) - Var(n))) * (1.0 / 3);
      },
      std::vector<Tensor>{w});
  CHECK_MESSAGE(result.ok, result.message);
  CHECK(error_text<ShapeError>([] {
          rotation_of(Tensor::zeros({2, 3}));
        }).starts_with("rotograd: a rotation needs a square matrix"));
}

TEST_CASE("rotograd: lengths brought together; the rotations turn the gradients to each other") {
  Linear model(3, DType::f64);
  Loop<Linear> loop(model, "rotograd", {{"lr", "0.02"}, {"burn_in", "3"}}, 0.0, 3);
  // Gradients with respect to the features, by hand: rotation at first the identity.
  const auto feature_gradients = [&] {
    Tape tape;
    const Context ctx{model.theta.get(), &tape, true, Rng()};
    const Var z = model.features(ctx, 0);
    std::vector<Var> inputs, losses;
    for (int t = 0; t < 3; ++t) inputs.push_back(loop.method->head_input(t, z));
    model.losses_at(ctx, 0, inputs, losses);
    std::vector<Tensor> gradients;
    GradientMatrix g(model.store, 3, DType::f64);
    SweepOptions options;
    options.wanted = {&z, 1};
    options.gradients = &gradients;
    tape.backward(losses, g, options);
    return gradients[0].clone();
  };
  const auto norm = [](const Tensor& x) {
    return std::sqrt(dot({x.values<double>().begin(), x.values<double>().end()},
                         {x.values<double>().begin(), x.values<double>().end()}));
  };
  const auto mean_cosine = [&](const Tensor& g) {
    double sum = 0;
    for (int i = 0; i < 3; ++i) {
      for (int j = i + 1; j < 3; ++j) {
        const auto a = g[i].values<double>(), b = g[j].values<double>();
        sum += dot({a.begin(), a.end()}, {b.begin(), b.end()}) / (norm(g[i]) * norm(g[j])) / 3;
      }
    }
    return sum;
  };
  const Tensor first = feature_gradients();
  loop.step();
  double mean = 0;  // of the norms: every ratio is 1 in the first step
  for (int t = 0; t < 3; ++t) mean += norm(first[t]) / 3;
  for (int t = 0; t < 3; ++t) {
    CHECK(loop.method->answer().weights[static_cast<std::size_t>(t)] * norm(first[t]) ==
          doctest::Approx(mean).epsilon(1e-12));
  }
  const Var probe = Tensor::full({2, Linear::kFeatures}, 1, DType::f64);
  CHECK(testing::relative_error(loop.method->head_input(1, probe).value(), probe.value()) > 1e-3);
  for (int i = 1; i < 200; ++i) loop.step();  // θ stands still (rate 0), the rotations turn
  const double before = mean_cosine(first), after = mean_cosine(feature_gradients());
  CHECK(after > before + 0.2);
  for (int t = 0; t < 3; ++t) {
    const Tensor turned = loop.method->head_input(t, probe).value();
    CHECK(norm(turned) == doctest::Approx(norm(probe.value())).epsilon(1e-12));
  }
}

TEST_CASE("rotograd: part of the features, losses divided by their first values") {
  Linear model(2, DType::f64);
  Loop<Linear> loop(model, "rotograd", {{"size", "3"}, {"lr", "0.1"}}, 0.1, 2);
  loop.step();
  Tensor x = Tensor::empty({4, Linear::kFeatures}, DType::f64);
  Rng(12).fill_normal(x);
  const Tensor turned = loop.method->head_input(0, x).value();
  for (index_t i = 0; i < 4; ++i) {
    CHECK(turned.at({i, 3}) == x.at({i, 3}));
    CHECK(turned.at({i, 0}) != x.at({i, 0}));
  }
  // Equal lengths: dividing by the losses changes the common length alone.
  Linear a(2, DType::f64), b(2, DType::f64);
  Loop<Linear> plain(a, "rotograd", {}, 0.1, 2),
      divided(b, "rotograd", {{"normalize", "losses"}}, 0.1, 2);
  plain.step();
  divided.step();
  const double loss0 = plain.method->inputs().losses[0], loss1 = plain.method->inputs().losses[1];
  const auto w = plain.method->answer().weights, v = divided.method->answer().weights;
  CHECK(v[0] / v[1] == doctest::Approx(w[0] * loss0 / (w[1] * loss1)).epsilon(1e-12));

  Linear small(2, DType::f64);
  Loop<Linear> wrong(small, "rotograd", {{"size", "6"}}, 0.1, 2);
  CHECK(error_text<ShapeError>([&] {
          wrong.step();
        }).starts_with("rotograd: features must be [n, d], with d at least 6"));
  Quadratic without(three_tasks());
  Loop<Quadratic> none(without, "rotograd", {}, 0.1, 3);
  CHECK(error_text<UsageError>([&] { none.step(); }) ==
        "model: no features, the method works between the shared part and the heads");
}

TEST_CASE("all that drive a step: continued from a checkpoint with the same bits, f32 and f64") {
  for (const std::string& name : step_methods()) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(name);
      Linear a(3, dtype), b(3, dtype);
      Loop<Linear> whole(a, name, {}, 0.05, 3), again(b, name, {}, 0.05, 3);
      const Theta start = a.theta->clone();
      for (int i = 0; i < 4; ++i) {
        a.present[1] = i != 2;
        whole.step();
      }
      CHECK(testing::relative_error(a.theta->values(), start.values()) > 1e-4);
      State state;
      whole.method->save(state);
      again.method->load(state);
      again.steps = whole.steps;
      b.theta->copy_from(*a.theta);
      again.sgd.steps(whole.sgd.steps());
      for (int i = 4; i < 7; ++i) {
        whole.step();
        again.step();
        CHECK(testing::relative_error(a.theta->values(), b.theta->values()) == 0);
      }
      State end, other;
      whole.method->save(end);
      again.method->save(other);
      CHECK(end == other);
    }
  }
}

TEST_CASE("all that drive a step: an absent task's state and head stand still, one task suffices") {
  for (const std::string& name : step_methods()) {
    CAPTURE(name);
    Linear model(3, DType::f64);
    Loop<Linear> loop(model, name, {}, 0.05, 3);
    loop.step();
    State before, after;
    loop.method->save(before);
    const Tensor head = (*model.theta)[model.heads[1]].clone(),
                 other = (*model.theta)[model.heads[2]].clone();
    model.present[1] = false;
    loop.step();
    loop.method->save(after);
    CHECK(testing::relative_error((*model.theta)[model.heads[1]], head) == 0);
    CHECK(testing::relative_error((*model.theta)[model.heads[2]], other) > 0);
    CHECK(loop.method->inputs().row_of(1) == -1);
    CHECK(loop.method->inputs().losses.size() == 2);
    for (const auto& entry : before) {
      const std::string& key = entry.first;
      const Vector& values = entry.second;
      CAPTURE(key);
      REQUIRE(after.at(key).size() == values.size());
      if (values.size() == 3) CHECK(values[1] == after.at(key)[1]);
      if (key.find(".1") != std::string::npos) CHECK(values == after.at(key));
    }
    model.present = {false, false, false};
    CHECK(error_text<ShapeError>([&] { loop.step(); }) ==
          name + ": no task is present, expected at least one");

    Linear single(1, DType::f32);
    Loop<Linear> alone(single, name, {}, 0.05, 1);
    Telemetry telemetry(1);
    for (int i = 0; i < 5; ++i) {
      alone.step();
      telemetry.record(alone.method->inputs(), alone.method->answer());
      const double weight = alone.method->answer().weights[0];
      if (name == "mtadam")
        CHECK(std::isnan(weight));
      else if (name != "auto_lambda")  // whose weight is learned
        CHECK(weight == doctest::Approx(1).epsilon(1e-12));
      CHECK(std::isfinite(alone.method->inputs().losses[0]));
    }
  }
}

TEST_CASE("all that drive a step: a NaN names method and task, and θ is as before") {
  for (const std::string& name : step_methods()) {
    CAPTURE(name);
    Linear model(3, DType::f64);
    Loop<Linear> loop(model, name, {}, 0.05, 3);
    loop.step();
    State before, after;
    loop.method->save(before);
    const Theta theta = model.theta->clone();
    model.targets[0][2].fill(std::numeric_limits<double>::quiet_NaN());
    const std::string text = error_text<NumericError>([&] { loop.step(); });
    CHECK(text.starts_with(name + ": "));
    CHECK(text.find("task 2") != std::string::npos);
    loop.method->save(after);
    CHECK(after == before);
    CHECK(testing::relative_error(model.theta->values(), theta.values()) == 0);
  }
}

TEST_CASE("errors: what cannot be served, and by whom") {
  CHECK(error_text<ValueError>([] { make_aggregator("modo"); }) ==
        "modo: a matrix of gradients, expected a training run: the method needs three independent "
        "batches, state");
  CHECK_THROWS_AS(make_aggregator("cr_mogm", {{"base", "sgsu"}}), ValueError);
  CHECK_THROWS_AS(aggregate("rotograd", {}, std::vector<double>{1, 2}, 1, 2), ValueError);
  Linear model(2, DType::f32);
  CHECK(error_text<ValueError>([&] {
          make_method("mtadam", {{"beta", "0.9"}}, *model.theta, 2);
        }).starts_with("unknown option of mtadam 'beta'"));
  CHECK(error_text<ValueError>([&] {
          make_method("modos", {}, *model.theta, 2);
        }).starts_with("unknown method 'modos'"));
  CHECK(error_text<ShapeError>([&] {
          make_method("mtadam", {{"rank", "1,2,3"}}, *model.theta, 2);
        }) == "mtadam: option rank has 3 numbers, expected one per task (2)");
  CHECK(error_text<ValueError>([&] {
          make_method("auto_lambda", {{"primary", "2"}}, *model.theta, 2);
        }) == "auto_lambda: primary task 2, expected one of 2 tasks");
  struct Shifting : Linear {  // another task is missing from the second batch
    using Linear::Linear;
    void losses(const Context& ctx, int batch, std::vector<Var>& out) override {
      Linear::losses(ctx, batch, out);
      if (batch == 1) out[0] = Var();
    }
  } shifting(2, DType::f32);
  Loop<Shifting> loop(shifting, "modo", {}, 0.1, 2);
  CHECK(error_text<ShapeError>([&] { loop.step(); }) ==
        "modo: batch 1 has other tasks than batch 0 of the same step");
  State empty;
  for (const std::string name : {"modo", "sdmgrad", "mtadam", "rotograd", "auto_lambda"}) {
    CAPTURE(name);
    const auto method = make_method(name, {}, *model.theta, 2);
    CHECK(error_text<ValueError>([&] {
            method->load(empty);
          }).starts_with(name + ": state has no entry"));
  }
  for (const MethodInfo& info : all_methods()) {
    CAPTURE(info.name);
    CHECK((info.make == nullptr) == (info.kind == Kind::step));
    CHECK((info.make_method == nullptr) == (info.kind != Kind::step));
    CHECK_NOTHROW(default_options(info.name));
  }
}

TEST_CASE("a steady step of every method that drives it takes no memory from the system") {
  for (const std::string& name : step_methods()) {
    CAPTURE(name);
    Linear model(3, DType::f32);
    Loop<Linear> loop(model, name, {}, 1e-3, 3);
    for (int i = 0; i < 3; ++i) loop.step();
    const auto before = Allocator::of(kCpu).stats();
    for (int i = 0; i < 4; ++i) loop.step();
    const auto after = Allocator::of(kCpu).stats();
    CHECK(after.in_use == before.in_use);
    if (testing::kCountsNew) CHECK(after.system_requests == before.system_requests);
  }
}
