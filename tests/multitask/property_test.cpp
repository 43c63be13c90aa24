// What methods claim, as properties over the typical matrices; the tolerances are TorchJD's or
// tighter.
#include <concord/multitask/aggregate.h>
#include <concord/tests/multitask/matrices.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <string>

using namespace concord;
using namespace concord::multitask;

namespace {

struct Claim {
  std::string method;
  OptionMap options;
  bool one_task_is_identity;
  bool permutes;         // permuting the tasks leaves the direction
  bool non_conflicting;  // <g_t, d> >= 0 for all t
  bool homogeneous;      // scaling all gradients scales the direction
};

const std::vector<Claim> kClaims = {
    {"sum", {}, true, true, false, true},
    {"mean", {}, true, true, false, true},
    {"equal", {}, true, true, false, true},
    {"equal", {{"scale", "mean"}}, true, true, false, true},
    {"single", {}, true, false, false, true},
    {"cosine_gate", {}, true, false, false, true},
    {"cosine_gate", {{"form", "weighted"}}, true, false, false, true},
    {"pcgrad", {}, true, false, false, true},
    {"pcgrad", {{"scale", "mean"}}, true, false, false, true},
    {"mgda", {}, true, true, true, true},
    {"cagrad", {{"scale", "1+c"}}, true, true, false, true},
    {"cagrad", {{"c", "1"}, {"scale", "1+c"}}, true, true, true, true},
    {"cagrad", {{"c", "2"}}, false, true, true, true},
    {"upgrad", {}, true, true, true, true},
    {"dualproj", {}, true, true, true, true},
    {"imtl_g", {}, true, true, false, true},
    {"config", {}, true, true, false, true},
    {"aligned_mtl", {}, true, true, false, true},
    {"aligned_mtl", {{"scale", "median"}}, true, true, false, true},
    {"aligned_mtl", {{"scale", "rmse"}}, true, true, false, true},
    {"gradvac", {}, true, false, false, true},
    {"fairgrad", {{"alpha", "0"}}, true, true, false, true},
    {"fairgrad", {}, false, true, true, false},
    {"fairgrad", {{"alpha", "0.1"}}, false, true, true, false},
    {"fairgrad", {{"alpha", "2"}}, false, true, true, false},
    {"nash_mtl", {}, false, true, true, false},
    {"nash_mtl", {{"preset", "libmtl"}}, false, true, true, false},
};

AggregateResult apply(const Claim& claim, const Matrix& m) {
  return aggregate(claim.method, claim.options, m.values, m.tasks, m.columns);
}

Matrix permuted(const Matrix& m, const std::vector<index_t>& order) {
  Matrix p = m;
  for (int t = 0; t < m.tasks; ++t) {
    for (std::int64_t k = 0; k < m.columns; ++k)
      p.at(t, k) = m.at(static_cast<int>(order[static_cast<std::size_t>(t)]), k);
  }
  return p;
}

}  // namespace

TEST_CASE("finite, and of the right size, at every scale") {
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    for (const double scale : {0.0, 1e-10, 1e3, 1e5, 1e10, 1e15}) {
      for (const Claim& claim : kClaims) {
        CAPTURE(name);
        CAPTURE(scale);
        CAPTURE(claim.method);
        const auto r = apply(claim, scaled(matrix, scale));
        REQUIRE(r.weights.size() == static_cast<std::size_t>(matrix.tasks));
        REQUIRE(r.direction.size() == static_cast<std::size_t>(matrix.columns));
        for (const double d : r.direction) CHECK(std::isfinite(d));
      }
    }
  }
}

TEST_CASE("one task: the direction is its gradient") {
  const Matrix m = gaussian(1, 5, Rng(2));
  for (const Claim& claim : kClaims) {
    if (!claim.one_task_is_identity) continue;
    CAPTURE(claim.method);
    CHECK(distance(apply(claim, m).direction, m.values) <= 1e-15 * length(m.values));
  }
}

TEST_CASE("the order of the tasks does not matter") {
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    std::vector<index_t> order(static_cast<std::size_t>(matrix.tasks));
    Rng(4).permutation(order);
    for (const Claim& claim : kClaims) {
      if (!claim.permutes) continue;
      CAPTURE(name);
      CAPTURE(claim.method);
      const auto a = apply(claim, matrix).direction,
                 b = apply(claim, permuted(matrix, order)).direction;
      CHECK(distance(a, b) <= 1e-7 * longest_row(matrix));
    }
  }
}

TEST_CASE("non-conflicting methods make no task worse") {
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    for (const Claim& claim : kClaims) {
      if (!claim.non_conflicting) continue;
      CAPTURE(name);
      CAPTURE(claim.method);
      const auto d = apply(claim, matrix).direction;
      const double most = longest_row(matrix);
      for (int t = 0; t < matrix.tasks; ++t) CHECK(progress(matrix, t, d) >= -1e-8 * most * most);
    }
  }
}

TEST_CASE("scaling all gradients scales the direction") {
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    for (const Claim& claim : kClaims) {
      if (!claim.homogeneous) continue;
      CAPTURE(name);
      CAPTURE(claim.method);
      auto expected = apply(claim, matrix).direction;
      for (double& v : expected) v *= 1024;  // a power of two: bit for bit
      CHECK(distance(apply(claim, scaled(matrix, 1024)).direction, expected) <=
            1e-12 * 1024 * longest_row(matrix));
    }
  }
}

TEST_CASE("upgrad is linear in the length of each gradient") {
  const Rng rng(51);
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    CAPTURE(name);
    std::vector<double> a(static_cast<std::size_t>(matrix.tasks)), b = a;
    Matrix with_a = matrix, with_b = matrix, with_both = matrix;
    for (int t = 0; t < matrix.tasks; ++t) {
      const auto i = static_cast<std::uint64_t>(t);
      const double ca = std::exp(rng.fork("a").normal(i)), cb = std::exp(rng.fork("b").normal(i));
      for (std::int64_t k = 0; k < matrix.columns; ++k) {
        with_a.at(t, k) *= ca, with_b.at(t, k) *= cb, with_both.at(t, k) *= ca + cb;
      }
    }
    for (const char* method : {"upgrad", "sum"}) {
      const Claim claim{method, {}, true, true, true, true};
      auto sum = apply(claim, with_a).direction;
      const auto other = apply(claim, with_b).direction;
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += other[k];
      CHECK(distance(apply(claim, with_both).direction, sum) <= 1e-8 * longest_row(with_both));
    }
  }
}

TEST_CASE("solvers report residuals at rounding on matrices without degenerate rows") {
  for (int i = 0; i < 100; ++i) {
    const Rng rng = Rng(53).fork(static_cast<std::uint64_t>(i));
    const int tasks = 2 + i % 11;
    const Matrix m = gaussian(tasks, tasks + 5, rng);
    for (const char* method : {"upgrad", "dualproj", "mgda", "cagrad"}) {
      CAPTURE(method);
      CHECK(aggregate(method, {}, m.values, tasks, m.columns).residual <= 1e-13);
    }
    for (const char* method : {"nash_mtl", "fairgrad", "imtl_g", "config"}) {
      CAPTURE(method);
      CHECK(aggregate(method, {}, m.values, tasks, m.columns).residual <= 1e-9);
    }
  }
}

TEST_CASE("nash_mtl: |d|^2 = T; fairgrad: each task's progress is w^(-1/alpha)") {
  for (int i = 0; i < 60; ++i) {
    const int tasks = 2 + i % 9;
    const Matrix m = gaussian(tasks, tasks + 3, Rng(57).fork(static_cast<std::uint64_t>(i)));
    const double norm = length(aggregate("nash_mtl", {}, m.values, tasks, m.columns).direction);
    CHECK(norm * norm == doctest::Approx(tasks).epsilon(1e-9));
    for (const double alpha : {0.1, 0.5, 2.0, 5.0}) {
      const auto r =
          aggregate("fairgrad", {{"alpha", std::to_string(alpha)}}, m.values, tasks, m.columns);
      CAPTURE(alpha);
      for (int t = 0; t < tasks; ++t) {
        CHECK(progress(m, t, r.direction) ==
              doctest::Approx(std::pow(r.weights[static_cast<std::size_t>(t)], -1 / alpha))
                  .epsilon(1e-7));
      }
    }
  }
}

TEST_CASE("aligned_mtl: the gradients' principal components all count the same") {
  // The directions for p = e_t are orthogonal vectors of one length.
  const Matrix m = gaussian(3, 6, Rng(59));
  std::vector<std::vector<double>> d;
  for (const char* p : {"1,0,0", "0,1,0", "0,0,1"}) {
    d.push_back(aggregate("aligned_mtl", {{"preference", p}}, m.values, 3, 6).direction);
  }
  const double sigma = length(d[0]);
  for (int i = 0; i < 3; ++i) {
    CHECK(length(d[static_cast<std::size_t>(i)]) == doctest::Approx(sigma).epsilon(1e-12));
    for (int j = 0; j < i; ++j) {
      double dot = 0;
      for (std::size_t k = 0; k < 6; ++k)
        dot += d[static_cast<std::size_t>(i)][k] * d[static_cast<std::size_t>(j)][k];
      CHECK(std::abs(dot) <= 1e-12 * sigma * sigma);
    }
  }
}

TEST_CASE("gradvac: the second step by hand; reloading its state repeats it") {
  const Gram first = Gram::of(std::vector<double>{1, 0, 0.6, 0.8}, 2, 2);
  const Gram second = Gram::of(std::vector<double>{1, 0, 0, 2}, 2, 2);
  const auto aggregator = make_aggregator("gradvac", {{"beta", "0.5"}});
  Direction d;
  aggregator->weights({.gram = first}, d);
  CHECK(d.weights ==
        std::vector<double>{1, 1});  // cosine 0.6 is above the goal 0; the goal is 0.3 now
  State state;
  aggregator->save(state);
  CHECK(state.at("gradvac.goal")[1] == doctest::Approx(0.3).epsilon(1e-15));
  aggregator->weights({.gram = second}, d);
  // rho = 0: p_i += |g_i| 0.3 / (|g_j| sqrt(1 - 0.09)) g_j, after which the cosine is 0.3.
  const double step = 0.3 / std::sqrt(0.91);
  CHECK(d.weights[0] == doctest::Approx(1 + 2 * step).epsilon(1e-14));
  CHECK(d.weights[1] == doctest::Approx(1 + step / 2).epsilon(1e-14));
  const auto again = make_aggregator("gradvac", {{"beta", "0.5"}});
  again->load(state);
  Direction repeated;
  again->weights({.gram = second}, repeated);
  CHECK(repeated.weights == d.weights);
}

TEST_CASE("on conflicting gradients the methods differ") {
  const Matrix m = {2, 3, {-4, 1, 1, 6, 1, 1}};
  std::vector<std::vector<double>> seen;
  for (const char* method : {"sum", "mean", "single", "cosine_gate", "pcgrad", "mgda", "cagrad"}) {
    if (std::string(method) == "cosine_gate")
      continue;  // closed gate: equals `single` here, as it must
    const auto d = aggregate(method, {}, m.values, 2, 3).direction;
    for (const auto& other : seen) CHECK(distance(d, other) > 0.05);
    seen.push_back(d);
  }
}

TEST_CASE("opposite gradients cancel") {
  for (const char* method : {"pcgrad", "mgda", "upgrad", "dualproj", "nash_mtl"}) {
    CHECK(length(aggregate(method, {}, std::vector<double>{1, 0, -2, 0}, 2, 2).direction) <= 1e-15);
  }
}

TEST_CASE("cosine gate: a closed gate leaves the main task alone, exactly") {
  const std::vector<double> conflict = {3, 4, -1, -2, 4, -2.9};
  for (const char* form : {"unweighted", "weighted"}) {
    const auto r = aggregate("cosine_gate", {{"form", form}}, conflict, 3, 2);
    CHECK(r.weights[0] == 1.0);
    CHECK(r.weights[1] == 0.0);
    CHECK(r.weights[2] > 0.0);
    CHECK(aggregate("cosine_gate", {{"form", form}, {"main", "1"}}, conflict, 3, 2).weights[0] ==
          0.0);
  }
  CHECK(aggregate("cosine_gate", {{"form", "weighted"}}, std::vector<double>{1, 2, 2, 4}, 2, 2)
            .weights[1] == doctest::Approx(1.0).epsilon(1e-15));
  CHECK(aggregate("cosine_gate", {{"form", "weighted"}}, std::vector<double>{1, 0, 3, 4}, 2, 2)
            .weights[1] == doctest::Approx(0.6).epsilon(1e-15));
}

TEST_CASE(
    "cosine gate: zero gradients count as orthogonal; scaling a loss does not move the gate") {
  CHECK(aggregate("cosine_gate", {}, std::vector<double>{0, 0, 3, 4}, 2, 2).weights ==
        std::vector<double>{1, 1});
  CHECK(aggregate("cosine_gate", {{"form", "weighted"}}, std::vector<double>{0, 0, 3, 4}, 2, 2)
            .weights == std::vector<double>{1, 0});
  const Matrix m = gaussian(6, 5, Rng(31));
  Matrix louder = m;
  for (int k = 0; k < 5; ++k) louder.at(0, k) *= 1e-6, louder.at(3, k) *= 1e6;
  CHECK(aggregate("cosine_gate", {}, m.values, 6, 5).weights ==
        aggregate("cosine_gate", {}, louder.values, 6, 5).weights);
}

TEST_CASE("cosine gate: each step descends on the main loss at least as gradient descent does") {
  for (int i = 0; i < 200; ++i) {
    const Matrix m = gaussian(4, 3, Rng(33).fork(static_cast<std::uint64_t>(i)));
    for (const char* form : {"unweighted", "weighted"}) {
      const auto d =
          aggregate("cosine_gate", {{"form", form}, {"main", "2"}}, m.values, 4, 3).direction;
      CHECK(progress(m, 2, d) >= row_length(m, 2) * row_length(m, 2) * (1 - 1e-14));
    }
  }
}

TEST_CASE("cosine gate in pairs: each auxiliary is judged by its own main task alone") {
  const std::string mains = "0,1,2,0,1,2";
  for (int i = 0; i < 50; ++i) {
    const Matrix m = gaussian(6, 5, Rng(37).fork(static_cast<std::uint64_t>(i)));
    for (const char* form : {"unweighted", "weighted"}) {
      const auto all = aggregate("cosine_gate", {{"form", form}, {"mains", mains}}, m.values, 6, 5);
      for (int t = 0; t < 3; ++t) {
        std::vector<double> pair(m.values.begin() + 5 * t, m.values.begin() + 5 * (t + 1));
        pair.insert(pair.end(), m.values.begin() + 5 * (t + 3), m.values.begin() + 5 * (t + 4));
        const auto alone = aggregate("cosine_gate", {{"form", form}}, pair, 2, 5);
        CHECK(all.weights[t] == 1);
        CHECK(all.weights[t + 3] == doctest::Approx(alone.weights[1]).epsilon(1e-14));
      }
    }
  }
}

TEST_CASE("pcgrad: from the Gram matrix as from the vectors") {
  for (int i = 0; i < 100; ++i) {
    const Rng rng = Rng(41).fork(static_cast<std::uint64_t>(i));
    const int tasks = 2 + i % 7, columns = 3 + i % 5;
    const Matrix m = gaussian(tasks, columns, rng);
    std::vector<index_t> order(static_cast<std::size_t>(tasks));
    rng.fork("order").permutation(order);
    std::string text;
    for (const index_t t : order) text += (text.empty() ? "" : ",") + std::to_string(t);

    std::vector<double> expected(static_cast<std::size_t>(columns), 0.0);
    for (int task = 0; task < tasks; ++task) {
      std::vector<double> p(m.values.begin() + task * columns,
                            m.values.begin() + (task + 1) * columns);
      for (const index_t t : order) {
        const int j = static_cast<int>(t);
        if (j == task) continue;
        const double dot = progress(m, j, p);
        if (dot < 0) {
          for (int k = 0; k < columns; ++k)
            p[static_cast<std::size_t>(k)] -=
                dot / (row_length(m, j) * row_length(m, j)) * m.at(j, k);
        }
      }
      for (std::size_t k = 0; k < p.size(); ++k) expected[k] += p[k];
    }
    CHECK(distance(aggregate("pcgrad", {{"order", text}}, m.values, tasks, columns).direction,
                   expected) <= 1e-12 * longest_row(m) * tasks);
  }
}

TEST_CASE("pcgrad: two tasks, closed form; both tasks make progress") {
  for (int i = 0; i < 100; ++i) {
    const Matrix m = gaussian(2, 3, Rng(43).fork(static_cast<std::uint64_t>(i)));
    const Gram g = Gram::of(m.values, 2, 3);
    const auto r = aggregate("pcgrad", {}, m.values, 2, 3);
    const double conflict = std::min(0.0, g(0, 1));
    CHECK(distance(r.weights, {1 - conflict / g(0, 0), 1 - conflict / g(1, 1)}) <= 1e-12);
    for (int t : {0, 1}) CHECK(progress(m, t, r.direction) >= -1e-14);
  }
}

TEST_CASE("pcgrad: random orders repeat per seed and step, and differ between them") {
  const Matrix m = of_rank(6, 3, 3, Rng(47));
  const Gram gram = Gram::of(m.values, 6, 3);
  const auto at = [&](std::uint64_t seed, std::int64_t step) {
    Direction d;
    make_aggregator("pcgrad")->weights({.gram = gram, .step = step, .rng = Rng(seed)}, d);
    return d.weights;
  };
  CHECK(at(1, 5) == at(1, 5));
  int different_steps = 0, different_seeds = 0;
  for (int step = 1; step < 20; ++step) {
    different_steps += at(1, step) != at(1, 0);
    different_seeds += at(1, step) != at(2, step);
  }
  CHECK(different_steps > 10);
  CHECK(different_seeds > 10);
}
