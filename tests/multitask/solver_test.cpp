// The solvers against certificates of optimality computed from the vectors themselves, and against
// searches that know nothing of active sets.
#include <concord/multitask/aggregate.h>
#include <concord/multitask/solvers/active_factor.h>
#include <concord/multitask/solvers/cone.h>
#include <concord/multitask/solvers/simplex.h>
#include <concord/multitask/solvers/symmetric_eigen.h>
#include <concord/tests/multitask/matrices.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <string>

using namespace concord;
using namespace concord::multitask;

namespace {

AggregateResult apply(const std::string& method, const Matrix& m, const OptionMap& options = {}) {
  return aggregate(method, options, m.values, m.tasks, m.columns);
}

double least_progress(const Matrix& m, const std::vector<double>& d) {
  double least = std::numeric_limits<double>::infinity();
  for (int t = 0; t < m.tasks; ++t) least = std::min(least, progress(m, t, d));
  return least;
}

std::vector<double> mean_row(const Matrix& m) {
  return combine(m, std::vector<double>(static_cast<std::size_t>(m.tasks), 1.0 / m.tasks));
}

/// <g_w, g_0> + c |g_0| |g_w|, from the vectors.
double cagrad_dual(const Matrix& m, double c, const std::vector<double>& w) {
  const auto g0 = mean_row(m), gw = combine(m, w);
  double dot = 0;
  for (std::size_t k = 0; k < g0.size(); ++k) dot += g0[k] * gw[k];
  return dot + c * length(g0) * length(gw);
}

/// Minimum of a convex function on [low, high] by golden sections.
template <class F>
double golden(F f, double low, double high) {
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double a = high - ratio * (high - low), b = low + ratio * (high - low), fa = f(a), fb = f(b);
  for (int i = 0; i < 80; ++i) {
    if (fa < fb) {
      high = b, b = a, fb = fa, a = high - ratio * (high - low), fa = f(a);
    } else {
      low = a, a = b, fa = fb, b = low + ratio * (high - low), fb = f(b);
    }
  }
  return std::min({fa, fb, f(low), f(high)});
}

}  // namespace

TEST_CASE("active factor: appending and removing solves the same systems as starting afresh") {
  const Matrix m = gaussian(7, 9, Rng(3));
  const Gram gram = Gram::of(m.values, m.tasks, m.columns);
  ActiveFactor changed, fresh;
  changed.reset(gram, 0.5);
  for (int t : {4, 1, 6, 0, 3}) REQUIRE(changed.append(t));
  changed.remove(1);
  changed.remove(0);
  REQUIRE(changed.append(2));
  fresh.reset(gram, 0.5);
  for (int t : {6, 0, 3, 2}) REQUIRE(fresh.append(t));
  REQUIRE(changed.size() == 4);
  std::vector<double> x = {1, -2, 3, 0.5}, y = x, back(4, 0.0);
  changed.solve(x);
  fresh.solve(y);
  CHECK(distance(x, y) <= 1e-13 * length(y));
  for (int i = 0; i < 4; ++i) {
    CHECK(changed[i] == fresh[i]);
    for (int j = 0; j < 4; ++j)
      back[static_cast<std::size_t>(i)] +=
          (gram(fresh[i], fresh[j]) + 0.5) * x[static_cast<std::size_t>(j)];
  }
  CHECK(distance(back, {1, -2, 3, 0.5}) <= 1e-12);
  Gram twins = Gram::of(std::vector<double>{1, 2, 1, 2, 0, 1}, 3, 2);
  changed.reset(twins, 0);
  CHECK(changed.append(0));
  CHECK_FALSE(changed.append(1));
  CHECK(changed.append(2));
}

TEST_CASE("active factor: a whole set at once is the same as one by one; dependence is noticed") {
  for (const int tasks : {1, 3, 4, 5, 11, 30}) {
    const Matrix m = gaussian(tasks, tasks + 4, Rng(4).fork(static_cast<std::uint64_t>(tasks)));
    const Gram gram = Gram::of(m.values, m.tasks, m.columns);
    std::vector<int> set;
    for (int t = tasks - 1; t >= 0; t -= 1 + t % 2) set.push_back(t);
    ActiveFactor whole, single;
    whole.reset(gram, 0);
    single.reset(gram, 0);
    REQUIRE(whole.assign(set));
    for (const int t : set) REQUIRE(single.append(t));
    std::vector<double> x(set.size(), 1.0), y = x;
    whole.solve(x);
    single.solve(y);
    CHECK(distance(x, y) <= 1e-10 * length(y));
  }
  const Gram twins = Gram::of(std::vector<double>{1, 2, 1, 2, 0, 1}, 3, 2);
  ActiveFactor factor;
  factor.reset(twins, 0);
  CHECK_FALSE(factor.assign(std::vector<int>{2, 0, 1}));
  CHECK(factor.size() == 0);
  CHECK(factor.assign(std::vector<int>{1, 2}));
}

TEST_CASE(
    "symmetric eigen: V diag(lambda) V^T is the matrix, V is orthogonal, all typical matrices") {
  for (const Named& typical : typical_matrices()) {
    for (const double scale : {1e-10, 1.0, 1e15}) {
      CAPTURE(typical.name);
      CAPTURE(scale);
      const Matrix m = scaled(typical.matrix, scale);
      const Gram gram = Gram::of(m.values, m.tasks, m.columns);
      SymmetricEigen eigen;
      eigen.decompose(gram);
      const double largest = longest_row(m) * longest_row(m);
      for (int i = 0; i < m.tasks; ++i) {
        for (int j = 0; j < m.tasks; ++j) {
          double sum = 0, product = 0;
          for (int k = 0; k < m.tasks; ++k) {
            const auto v = eigen.vector(k);
            sum += eigen.values()[static_cast<std::size_t>(k)] * v[static_cast<std::size_t>(i)] *
                   v[static_cast<std::size_t>(j)];
          }
          const auto a = eigen.vector(i), b = eigen.vector(j);
          for (std::size_t k = 0; k < a.size(); ++k) product += a[k] * b[k];
          CHECK(std::abs(sum - gram(i, j)) <= 1e-13 * m.tasks * largest);
          const bool both = eigen.values()[static_cast<std::size_t>(i)] > eigen.tolerance() &&
                            eigen.values()[static_cast<std::size_t>(j)] > eigen.tolerance();
          if (both) CHECK(std::abs(product - (i == j)) <= 1e-13);
        }
      }
    }
  }
}

TEST_CASE("cone solver: block pivoting and the active set agree, up to degenerate ones") {
  for (int i = 0; i < 60; ++i) {
    const Rng rng = Rng(23).fork(static_cast<std::uint64_t>(i));
    const int tasks = 16 + i % 25;
    const Matrix m =
        i % 3 ? gaussian(tasks, tasks + 3, rng) : of_rank(tasks, tasks, tasks / 2, rng);
    const Gram gram = Gram::of(m.values, m.tasks, m.columns);
    std::vector<double> u(static_cast<std::size_t>(tasks), 0.0), b = u, y = u, warm = u;
    u[static_cast<std::size_t>(i % tasks)] = 1;
    gram.times(u, b);
    const double scale = std::sqrt(gram.squared_norm(u));
    warm[0] = 1e-3;  // not zero: the active set alone
    ConeSolver().solve(gram, b, scale, y);
    ConeSolver().solve(gram, b, scale, warm);
    CAPTURE(i);
    CHECK(distance(combine(m, y), combine(m, warm)) <= 1e-9 * longest_row(m));
  }
}

TEST_CASE("mgda: certificate of the nearest point, all typical matrices and scales") {
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    for (const double scale : {0.0, 1e-10, 1.0, 1e3, 1e5, 1e10, 1e15}) {
      CAPTURE(name);
      CAPTURE(scale);
      const Matrix m = scaled(matrix, scale);
      const auto r = apply("mgda", m);
      double sum = 0, least = 1;
      for (const double w : r.weights) sum += w, least = std::min(least, w);
      CHECK(least >= 0);
      CHECK(std::abs(sum - 1) <= 1e-12);
      // d in the hull and <g_t, d> >= |d|^2 for all t: d is the point nearest to zero.
      const double d2 = length(r.direction) * length(r.direction), most = longest_row(m);
      CHECK(least_progress(m, r.direction) >= d2 - 1e-13 * most * most);
      CHECK(r.residual <= 1e-12);
    }
  }
}

TEST_CASE("mgda: two tasks, closed form; three tasks, search") {
  for (int i = 0; i < 200; ++i) {
    const Rng rng = Rng(5).fork(static_cast<std::uint64_t>(i));
    Matrix m = gaussian(2, 3, rng);
    for (int k = 0; k < 3; ++k) m.at(1, k) *= std::pow(10.0, 8 * rng.fork("scale").uniform(0) - 4);
    const Gram g = Gram::of(m.values, 2, 3);
    const double w = std::clamp((g(1, 1) - g(0, 1)) / (g(0, 0) + g(1, 1) - 2 * g(0, 1)), 0.0, 1.0);
    CHECK(std::abs(apply("mgda", m).weights[0] - w) <= 1e-12);
  }
  for (int i = 0; i < 20; ++i) {
    const Matrix m = gaussian(3, 4, Rng(6).fork(static_cast<std::uint64_t>(i)));
    const double best = golden(
        [&](double a) {
          return golden(
              [&](double b) {
                return length(combine(m, {a, (1 - a) * b, (1 - a) * (1 - b)}));
              },
              0, 1);
        },
        0, 1);
    CHECK(std::abs(length(apply("mgda", m).direction) - best) <= 1e-9);
  }
}

TEST_CASE("mgda: a vertex is returned exactly") {
  const auto r = aggregate("mgda", {}, std::vector<double>{1, 0, 2, 0}, 2, 2);
  CHECK(r.weights == std::vector<double>{1, 0});
}

TEST_CASE("mgda: normalisations") {
  const Matrix m = {2, 2, {3, 0, 0, 0.5}};
  const std::vector<double> losses = {2, 0.25};
  const auto with = [&](const std::string& how, const std::string& preset) {
    return aggregate("mgda", {{"normalize", how}, {"preset", preset}}, m.values, 2, 2, losses)
        .weights;
  };
  // Orthogonal rows of lengths a, b: w = (b^2, a^2) / (a^2 + b^2).
  CHECK(distance(with("none", "paper"), {0.25 / 9.25, 9 / 9.25}) <= 1e-14);
  CHECK(distance(with("l2", "paper"), {0.5, 0.5}) <= 1e-14);
  CHECK(distance(with("loss", "paper"), {4 / 6.25, 2.25 / 6.25}) <= 1e-14);  // lengths 1.5 and 2
  CHECK(distance(with("loss+", "paper"), {16 / 16.25, 0.25 / 16.25}) <=
        1e-14);  // lengths 1/2 and 4
  CHECK(distance(with("l2", "libmtl"), {0.5 / 3, 0.5 / 0.5}) <= 1e-14);
}

TEST_CASE("cagrad: primal and dual meet, all typical matrices, scales and radii") {
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    for (const double scale : {1e-10, 1.0, 1e5, 1e15}) {
      for (const double c : {0.1, 0.5, 0.9, 1.0, 2.0, 10.0}) {
        CAPTURE(name);
        CAPTURE(scale);
        CAPTURE(c);
        const Matrix m = scaled(matrix, scale);
        const auto r = apply("cagrad", m, {{"c", std::to_string(c)}});
        const auto g0 = mean_row(m);
        CHECK(distance(r.direction, g0) <=
              (c < 1 || !r.note.empty() ? std::max(c, 1.0) : c) * length(g0) * (1 + 1e-9));
        if (!r.note.empty()) {
          CHECK(r.note == "pareto-stationary");
          CHECK(length(apply("mgda", m).direction) <= 1e-6 * longest_row(m));
          CHECK(distance(r.direction, c < 1 ? g0 : std::vector<double>(g0.size(), 0.0)) <=
                1e-12 * longest_row(m));
          continue;
        }
        // w from omega = 1/T + lambda w; no feasible direction does better than the dual bound of
        // any w.
        std::vector<double> w = r.weights;
        double sum = 0;
        for (double& x : w) x -= 1.0 / m.tasks, sum += x;
        for (double& x : w) x /= sum;
        const double bound = cagrad_dual(m, c, w);
        CHECK(std::abs(bound - least_progress(m, r.direction)) <=
              1e-9 * longest_row(m) * longest_row(m) * (1 + c));
      }
    }
  }
}

TEST_CASE("cagrad: random matrices of all ranks keep the duality gap at rounding") {
  for (int i = 0; i < 400; ++i) {
    const Rng rng = Rng(17).fork(static_cast<std::uint64_t>(i));
    const int tasks = 2 + static_cast<int>(rng.below(0, 11));
    const int rank = 1 + static_cast<int>(rng.below(1, tasks));
    const Matrix m = of_rank(tasks, tasks + 3, rank, rng);
    const double c = 0.05 + 1.9 * rng.uniform(2);
    CAPTURE(i);
    const auto r = apply("cagrad", m, {{"c", std::to_string(c)}});
    CHECK(r.residual <= 1e-9);
    const auto g = apply("mgda", m);
    CHECK(g.residual <= 1e-13);
  }
}

TEST_CASE("cagrad: three tasks, search") {
  for (int i = 0; i < 20; ++i) {
    const Matrix m = gaussian(3, 4, Rng(8).fork(static_cast<std::uint64_t>(i)));
    for (const double c : {0.4, 0.9}) {
      const double best = golden(
          [&](double a) {
            return golden(
                [&](double b) {
                  return cagrad_dual(m, c, {a, (1 - a) * b, (1 - a) * (1 - b)});
                },
                0, 1);
          },
          0, 1);
      CHECK(std::abs(least_progress(m, apply("cagrad", m, {{"c", std::to_string(c)}}).direction) -
                     best) <= 1e-7);
    }
  }
}

TEST_CASE("cagrad: limits and scales") {
  const Matrix m = gaussian(4, 6, Rng(21));
  CHECK(distance(apply("cagrad", m, {{"c", "0"}}).direction, mean_row(m)) <= 1e-15);
  auto far = apply("cagrad", m, {{"c", "1e9"}}).direction, shortest = apply("mgda", m).direction;
  for (double& v : far) v /= 1e9 * length(mean_row(m));
  const double norm = length(shortest);
  for (double& v : shortest) v /= norm;
  CHECK(distance(far, shortest) <= 1e-7);

  const auto plain = apply("cagrad", m, {{"c", "0.5"}});
  double lambda = -1;
  for (const double w : plain.weights) lambda += w;
  const auto factor = [&](const OptionMap& options) {
    return length(apply("cagrad", m, options).direction) / length(plain.direction);
  };
  CHECK(factor({{"scale", "1+c"}}) == doctest::Approx(1 / 1.5).epsilon(1e-12));
  CHECK(factor({{"scale", "1+c^2"}}) == doctest::Approx(1 / 1.25).epsilon(1e-12));
  CHECK(factor({{"scale", "1+lambda"}}) == doctest::Approx(1 / (1 + lambda)).epsilon(1e-12));
  CHECK(factor({{"preset", "libmtl"}}) == doctest::Approx(1 / 1.25).epsilon(1e-12));
  CHECK(factor({{"times", "tasks"}}) == doctest::Approx(4).epsilon(1e-12));
}

TEST_CASE("cagrad: no progress within the ball, by name") {
  const std::vector<double> balanced = {1, 0,  -1,
                                        1, -1, -1};  // zero is inside the hull, g_0 is not zero
  const auto below = aggregate("cagrad", {{"c", "0.9"}}, balanced, 3, 2);
  const auto above = aggregate("cagrad", {{"c", "1.5"}}, balanced, 3, 2);
  CHECK(above.note == "pareto-stationary");
  CHECK(distance(above.direction, {0, 0}) == 0);
  if (!below.note.empty()) CHECK(distance(below.direction, {-1.0 / 3, 0}) <= 1e-12);
  // g_0 is 10 % off the dual cone (a line here): c = 0.05 cannot reach it, c = 0.5 can.
  const std::vector<double> line = {1, 0.1, -1, 0.1, 0, 1, 0, -0.7};
  CHECK(aggregate("cagrad", {{"c", "0.01"}}, line, 4, 2).note.empty());
}

TEST_CASE("cone solver: projection onto the dual cone") {
  for (const Named& typical : typical_matrices()) {
    const std::string& name = typical.name;
    const Matrix& matrix = typical.matrix;
    for (const double scale : {1e-10, 1.0, 1e15}) {
      CAPTURE(name);
      CAPTURE(scale);
      const Matrix m = scaled(matrix, scale);
      const Gram gram = Gram::of(m.values, m.tasks, m.columns);
      const auto n = static_cast<std::size_t>(m.tasks);
      const std::vector<double> u(n, 1.0 / m.tasks);
      std::vector<double> b(n), y(n, 0.0);
      gram.times(u, b);
      ConeSolver().solve(gram, b, std::sqrt(gram.squared_norm(u)), y);
      std::vector<double> v = u;
      for (std::size_t t = 0; t < n; ++t) v[t] += y[t];
      const auto d = combine(m, v), moved = combine(m, y);
      const double most = longest_row(m);
      for (int t = 0; t < m.tasks; ++t) CHECK(progress(m, t, d) >= -1e-12 * most * most);
      for (const double x : y) CHECK(x >= 0);
      double slack = 0;
      for (std::size_t k = 0; k < d.size(); ++k) slack += d[k] * moved[k];
      CHECK(std::abs(slack) <= 1e-12 * most * most);
    }
  }
}
