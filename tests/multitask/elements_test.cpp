// Methods that work on elements, against plain loops over the vectors.
#include <concord/multitask/aggregate.h>
#include <concord/tensor/check.h>
#include <concord/tests/multitask/run.h>

#include <doctest/doctest.h>

#include <algorithm>

using namespace concord;
using namespace concord::multitask;

namespace {

const Matrix kB = {3, 4, {3, 0, 1, -1, -2, 1, 0, 2, 1, -3, 1, 0}};

std::vector<double> row(const Matrix& m, int t) {
  const auto first = m.values.begin() + t * m.columns;
  return {first, first + m.columns};
}

}  // namespace

TEST_CASE("graddrop: published example; leaks; the sign of a pure column is never dropped") {
  const OptionMap u = {{"u", "0.2,0.5,0.7,0.4"}};
  CHECK(aggregate("graddrop", u, kB.values, 3, 4).direction == std::vector<double>{4, -3, 2, 2});
  OptionMap leaky = u;
  leaky["leak"] = "1";
  CHECK(aggregate("graddrop", leaky, kB.values, 3, 4).direction ==
        std::vector<double>{2, -2, 2, 1});
  leaky["leak"] = "0,0.5,0";  // column 0 drops task 1's -2, column 1 task 1's 1
  CHECK(aggregate("graddrop", leaky, kB.values, 3, 4).direction ==
        std::vector<double>{3, -2.5, 2, 2});
  for (const double w : aggregate("graddrop", u, kB.values, 3, 4).weights) CHECK(std::isnan(w));
}

TEST_CASE("graddrop: drawn anew in each step, repeatable, keeps each sign with its purity") {
  Matrix m = zeros(2, 20000);
  for (int k = 0; k < 20000; ++k) m.at(0, k) = 3, m.at(1, k) = -1;
  Run a("graddrop"), b("graddrop");
  const auto first = a.step(m), second = a.step(m);
  CHECK(first == b.step(m));
  CHECK(first != second);
  double positive = 0;
  for (const double d : first) {
    CHECK((d == 3 || d == -1));
    positive += d > 0;
  }
  CHECK(std::abs(positive / 20000 - 0.75) < 0.02);
}

TEST_CASE("trimmed_mean: published example; against sorting") {
  const std::vector<double> rows = {1e11, 3, 1, -1e11, -1e10, 1e10, 2, 2};
  CHECK(aggregate("trimmed_mean", {{"trim", "1"}}, rows, 4, 2).direction ==
        std::vector<double>{1.5, 2.5});
  for (const int trim : {0, 1, 3}) {
    Matrix m = gaussian(8, 3000, Rng(3));
    for (double& v : m.values) v = std::round(4 * v);  // many ties
    const auto d = aggregate("trimmed_mean", {{"trim", std::to_string(trim)}}, m.values, 8, 3000);
    for (int k = 0; k < 3000; ++k) {
      std::vector<double> column;
      for (int t = 0; t < 8; ++t) column.push_back(m.at(t, k));
      std::sort(column.begin(), column.end());
      double sum = 0;
      for (int i = trim; i < 8 - trim; ++i) sum += column[static_cast<std::size_t>(i)];
      REQUIRE(d.direction[static_cast<std::size_t>(k)] ==
              doctest::Approx(sum / (8 - 2 * trim)).epsilon(1e-12));
    }
  }
  CHECK_THROWS_WITH_AS(aggregate("trimmed_mean", {{"trim", "2"}}, rows, 4, 2),
                       "trimmed_mean: 4 tasks, expected more than 4 for trim=2", ShapeError);
}

TEST_CASE("moco: two steps of the algorithm by hand, projection and softmax") {
  // Orthogonal rows: Y Y^T is diagonal. beta = 1 tracks the gradient itself in step 1.
  const Matrix m = {2, 2, {2, 0, 0, 1}};
  Run paper("moco", {{"beta", "1"}, {"beta_decay", "1"}, {"gamma", "0.1"}, {"gamma_decay", "0"}});
  // lambda = (.5, .5) - .1 (4 * .5, 1 * .5) = (.3, .45), projected: + .125 each.
  CHECK(distance(paper.step(m), {2 * .425, .575}) <= 1e-15);
  // Step 2 with half the rate: y stays at the same gradient; lambda - .1 (1.7, .575) = (.255,
  // .5175).
  CHECK(distance(paper.step(m), {2 * .36875, .63125}) <= 1e-15);

  Run libmtl("moco", {{"preset", "libmtl"}, {"gamma", "0"}});
  // y = .5 L u: lengths 1.5 and .25; softmax of (.5, .5) is even.
  CHECK(distance(libmtl.step(m, {3, .5}), {.75, .125}) <= 1e-15);
}

TEST_CASE("db_mtl: gradients of log-losses, averaged, made equally long") {
  const Matrix m = {2, 2, {3, 4, 0, 2}};
  Run run("db_mtl", {{"beta", "0.5"}});
  // h = (6, 8), (0, 1); q = h / 2: lengths 5 and .5.
  CHECK(distance(run.step(m, {.5, 2}), {3, 4 + 5}) <= 1e-6);
  // h = (3, 4), (0, 2): q = (3, 4), (0, 1.25).
  CHECK(distance(run.step(m, {1, 1}), {3, 4 + 5}) <= 1e-6);
  CHECK(run.answer.weights[1] == doctest::Approx(4).epsilon(1e-7));
  CHECK_THROWS_WITH_AS(run.step(m, {1, -1}), "db_mtl: loss of task 1 is -1, expected a value >= 0",
                       NumericError);
}

TEST_CASE("excess_mtl: against plain loops, in all presets") {
  for (const char* preset : {"paper", "torchjd", "libmtl"}) {
    CAPTURE(preset);
    const int tasks = 3, columns = 2500;
    Run run("excess_mtl", {{"preset", preset}, {"lr", "0.3"}});
    std::vector<double> s(tasks * columns, 0.0), first(3, 0.0), w(3, 1.0 / 3);
    for (int step = 0; step < 4; ++step) {
      const Matrix m = gaussian(tasks, columns, Rng(7).fork(static_cast<std::uint64_t>(step)));
      double total = 0;
      for (std::size_t t = 0; t < 3; ++t) {
        double e = 0;
        for (std::size_t k = 0; k < columns; ++k) {
          const double g = m.values[t * columns + k];
          s[t * columns + k] += g * g;
          e += g * g / std::sqrt(s[t * columns + k] + 1e-7);
        }
        if (step == 0) first[t] = e;
        if (step > 0) w[t] *= std::exp(0.3 * e / (first[t] + 1e-7));
        if (step == 0 && std::string(preset) == "torchjd") w[t] *= std::exp(0.3 * (e - 1900));
        total += w[t];
      }
      run.step(m);
      for (std::size_t t = 0; t < 3; ++t) {
        const double scale = std::string(preset) == "libmtl" ? 3 : 1;
        CHECK(run.answer.weights[t] == doctest::Approx(scale * w[t] / total).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("m_config: the first step is the sign of ConFIG's direction; the third by plain loops") {
  std::vector<double> m(3 * 40, 0.0), last(40, 0.0), s(40, 0.0), expected(40);
  Run run("m_config", {{"beta1", "0.8"}, {"beta2", "0.9"}});
  for (int step = 1; step <= 3; ++step) {
    const Matrix g = gaussian(3, 40, Rng(9).fork(static_cast<std::uint64_t>(step)));
    Matrix corrected = zeros(3, 40);
    for (std::size_t i = 0; i < m.size(); ++i) {
      m[i] = 0.8 * m[i] + 0.2 * g.values[i];
      corrected.values[i] = m[i] / (1 - std::pow(0.8, step));
    }
    const auto c = aggregate("config", {}, corrected.values, 3, 40).direction;
    for (std::size_t k = 0; k < 40; ++k) {
      const double now = c[k] * (1 - std::pow(0.8, step)), pseudo = (now - 0.8 * last[k]) / 0.2;
      last[k] = now;
      s[k] = 0.9 * s[k] + 0.1 * pseudo * pseudo;
      expected[k] = c[k] / (std::sqrt(s[k] / (1 - std::pow(0.9, step))) + 1e-8);
    }
    const auto d = run.step(g);
    CHECK(distance(d, expected) <= 1e-12 * length(expected));
    if (step == 1) {
      for (const double x : d) CHECK(std::abs(x) == doctest::Approx(1).epsilon(1e-5));
    }
  }
}

TEST_CASE("methods on elements refuse a Gram matrix alone; bad gradients leave rows and state") {
  const Gram gram = Gram::of(kB.values, 3, 4);
  const std::vector<double> losses = {1, 2, 3};
  for (const MethodInfo& info : methods()) {
    const auto method = make_aggregator(info.name);
    if (!method->needs_elements()) continue;
    CAPTURE(info.name);
    Direction d;
    CHECK_THROWS_WITH_AS(method->weights({.gram = gram, .losses = losses}, d),
                         (std::string(info.name) +
                          ": a Gram matrix alone, expected rewrite() first: the method works on "
                          "elements")
                             .c_str(),
                         UsageError);
    Matrix bad = kB;
    bad.at(1, 2) = std::nan("");
    const Matrix before = bad;
    const Gram bad_gram = Gram::of(bad.values, 3, 4);
    CHECK_THROWS_AS(method->rewrite({.gram = bad_gram, .losses = losses},
                                    {4, kernels::Rows<double>{bad.values.data(), 4, nullptr, 3}}),
                    NumericError);
    CHECK(row(bad, 0) == row(before, 0));
    State state;
    method->save(state);
    for (const auto& [name, values] : state) {
      for (const double v : values) CHECK(v == 0);
    }
  }
}
