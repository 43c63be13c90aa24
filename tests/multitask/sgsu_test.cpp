// SGSU in closed form on quadratics, every switch.
#include <concord/tests/multitask/training_models.h>

#include <doctest/doctest.h>

#include <cmath>

using namespace concord;
using namespace concord::multitask;

namespace {

using Vector = std::vector<double>;

/// a + c b
Vector plus(Vector a, double c, const Vector& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += c * b[i];
  return a;
}

double distance(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

struct Switches {
  bool exact = false, fresh = false, mean = false, own = true, moved = false;
  std::string order = "heads";

  OptionMap options() const {
    return {{"alpha", "0.07"},
            {"outer", exact ? "exact" : "first_order"},
            {"batch", fresh ? "fresh" : "same"},
            {"reduction", mean ? "mean" : "sum"},
            {"inner", own ? "own" : "sum"},
            {"heads", moved ? "moved" : "theta"},
            {"order", order}};
  }
};

/// The step by the formulas of sgsu.cpp, in plain doubles.
struct Reference {
  const Quadratic& m;
  Switches s;
  double alpha = 0.07, rate = 0.05;
  Vector x;
  std::vector<Vector> y;

  explicit Reference(const Quadratic& model, const Switches& switches)
      : m(model), s(switches), x(model.values(model.x)) {
    for (const SliceId id : model.y) y.push_back(model.values(id));
  }

  Vector moved_for(int t) const {
    Vector at = x;
    for (int j = 0; j < static_cast<int>(y.size()); ++j) {
      if (s.own && j != t) continue;
      at = plus(at, -alpha, m.gradient(j, 0, x, y[static_cast<std::size_t>(j)]));
    }
    return at;
  }
  Vector outer(int t) const {
    const Vector g = m.gradient(t, s.fresh ? 1 : 0, moved_for(t), y[static_cast<std::size_t>(t)]);
    if (!s.exact) return g;
    Vector h(g.size());
    for (int j = 0; j < static_cast<int>(y.size()); ++j) {
      if (s.own && j != t) continue;
      const auto& task = m.tasks[static_cast<std::size_t>(j)];
      for (std::size_t i = 0; i < g.size(); ++i) h[i] += (task.a[i] + task.k * task.k) * g[i];
    }
    return plus(g, -alpha, h);
  }
  Vector x_step() const {
    Vector d(x.size());
    for (int t = 0; t < static_cast<int>(y.size()); ++t)
      d = plus(d, s.mean ? 1.0 / static_cast<double>(y.size()) : 1.0, outer(t));
    return plus(x, -rate, d);
  }
  std::vector<Vector> y_step() const {
    std::vector<Vector> next = y;
    for (int t = 0; t < static_cast<int>(y.size()); ++t) {
      const auto i = static_cast<std::size_t>(t);
      next[i] = plus(y[i], -rate, m.head_gradient(t, s.moved ? moved_for(t) : x, y[i]));
    }
    return next;
  }
  void step() {
    if (s.order == "together") {
      const Vector next = x_step();
      y = y_step();
      x = next;
    } else if (s.order == "heads") {
      y = y_step();
      x = x_step();
    } else {
      x = x_step();
      y = y_step();
    }
  }
};

}  // namespace

TEST_CASE("sgsu: three steps by the formulas, for every combination of switches") {
  for (int bits = 0; bits < 32; ++bits) {
    for (const char* order : {"heads", "shared", "together"}) {
      const Switches s{(bits & 1) > 0, (bits & 2) > 0,  (bits & 4) > 0,
                       (bits & 8) > 0, (bits & 16) > 0, order};
      CAPTURE(bits);
      CAPTURE(order);
      Quadratic model(three_tasks());
      Reference reference(model, s);
      Loop<Quadratic> loop(model, "sgsu", s.options(), reference.rate, 3);
      CHECK(loop.method->batches() == (s.fresh ? 2 : 1));
      for (int i = 0; i < 3; ++i) {
        loop.step();
        reference.step();
      }
      // Central differences of a quadratic's gradient are exact up to rounding, divided by e =
      // 0.01.
      CHECK(distance(model.values(model.x), reference.x) <= 1e-12);
      for (std::size_t t = 0; t < 3; ++t)
        CHECK(distance(model.values(model.y[t]), reference.y[t]) <= 1e-12);
      CHECK(loop.sgd.steps() == 3);
    }
  }
}

TEST_CASE("sgsu: the quadratic balance of the paper's reading, fixed points in closed form") {
  // L_1 = (x-1)^2 / 2, L_2 = 9 (x+1)^2 / 2, alpha .1: the sum ends at -0.8, first order at 0, exact
  // at +0.8.
  const auto end = [](const OptionMap& options) {
    Quadratic model({{{1}, {1}, {0}, 0}, {{9}, {-1}, {0}, 0}});
    Loop<Quadratic> loop(model, options.empty() ? "equal" : "sgsu", options, 0.05, 2);
    for (int i = 0; i < 1000; ++i) loop.step();
    return model.values(model.x)[0];
  };
  CHECK(end({}) == doctest::Approx(-0.8).epsilon(1e-9));
  CHECK(std::abs(end({{"alpha", "0.1"}})) <= 1e-9);
  CHECK(end({{"alpha", "0.1"}, {"outer", "exact"}}) == doctest::Approx(0.8).epsilon(1e-9));
}

TEST_CASE("sgsu: alpha 0 is gradient descent on the sum; one task; an absent task") {
  Quadratic a(three_tasks()), b(three_tasks());
  Loop<Quadratic> sgsu(a, "sgsu", {{"alpha", "0"}, {"order", "together"}}, 0.05, 3),
      sum(b, "sum", {}, 0.05, 3);
  for (int i = 0; i < 4; ++i) {
    sgsu.step();
    sum.step();
  }
  CHECK(a.values(a.x) == b.values(b.x));
  CHECK(a.values(a.y[1]) == b.values(b.y[1]));

  a.tasks[1].present = false;
  const Vector head = a.values(a.y[1]);
  sgsu.step();
  CHECK(a.values(a.y[1]) == head);
  CHECK(sgsu.method->inputs().rows() == 2);
  CHECK(sgsu.method->inputs().task(1) == 2);

  Quadratic one({three_tasks()[0]});
  Reference reference(one, {.exact = true});
  Loop<Quadratic> alone(one, "sgsu", {{"alpha", "0.07"}, {"outer", "exact"}}, reference.rate, 1);
  alone.step();
  reference.step();
  CHECK(distance(one.values(one.x), reference.x) <= 1e-12);
}
