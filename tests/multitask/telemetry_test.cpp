#include <concord/multitask/registry.h>
#include <concord/multitask/telemetry.h>
#include <concord/tensor/check.h>
#include <concord/tensor/random.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

using namespace concord;
using namespace concord::multitask;

namespace {

double value(const Telemetry& t, std::span<const double> row, const std::string& column) {
  const auto found = std::find(t.columns().begin(), t.columns().end(), column);
  REQUIRE(found != t.columns().end());
  return row[static_cast<std::size_t>(found - t.columns().begin())];
}

}  // namespace

TEST_CASE("telemetry: one step by hand") {
  // g_0 = (3, 4), g_1 = (-4, 3), g_2 = (-6, 0)
  const Gram gram = Gram::of(std::vector<double>{3, 4, -4, 3, -6, 0}, 3, 2);
  const std::vector<double> losses = {0.5, 1.5, 2.5};
  const Direction answer{{1, 0.5, 0.25}};  // d = (-0.5, 5.5)
  Telemetry t(3, 4);
  t.record({.gram = gram, .losses = losses}, answer);
  const auto row = t.row(0);
  const auto check = [&](const std::string& column, double expected) {
    CAPTURE(column);
    CHECK(value(t, row, column) == doctest::Approx(expected).epsilon(1e-14));
  };
  check("loss_1", 1.5);
  check("norm_0", 5);
  check("norm_2", 6);
  check("weight_2", 0.25);
  check("cos_0_1", 0);
  check("cos_0_2", -0.6);
  check("cos_1_2", 0.8);
  check("mean_cosine", 0.2 / 3);
  check("conflict_rate", 1.0 / 3);
  check("magnitude_similarity", (1 + 2 * 60.0 / 61) / 3);
  // xi: 50 / 50 for the first pair, (1 - 0.36) 97 / 25, (1 - 0.64) 13 / 109
  check("bounding_measure", (1 + 0.64 * 97 / 25 + 0.36 * 13 / 109) / 3);
  check("dominated_conflict", 0);  // -0.6 > -60 / 61
  check("gate_open", 0.5);
  check("direction_norm", std::sqrt(30.5));
  check("min_progress", 3);
}

TEST_CASE("telemetry: ring, means, absent tasks, state") {
  Telemetry t(2, 3);
  const std::vector<int> second = {1};
  for (int step = 1; step <= 5; ++step) {
    const std::vector<double> losses = {1.0 * step, 10.0 * step};
    if (step == 4) {
      t.record({.gram = Gram::of(std::vector<double>{2.0}, 1, 1),
                .losses = std::span(losses).last(1),
                .tasks = second},
               {{1}});
    } else {
      t.record({.gram = Gram::of(std::vector<double>{1, -1}, 2, 1), .losses = losses}, {{1, 1}});
    }
  }
  CHECK(t.steps() == 5);
  CHECK(t.held() == 3);
  CHECK(value(t, t.row(0), "loss_0") == 5);
  CHECK(std::isnan(value(t, t.row(1), "loss_0")));
  CHECK(std::isnan(value(t, t.row(1), "cos_0_1")));
  CHECK(std::isnan(value(t, t.row(1), "conflict_rate")));
  CHECK(value(t, t.row(1), "norm_1") == 2);
  CHECK(value(t, t.row(2), "loss_1") == 30);
  CHECK_THROWS_AS(t.row(3), UsageError);
  CHECK(value(t, t.mean(3), "loss_0") == 4);  // of 3 and 5
  CHECK(value(t, t.mean(2), "loss_1") == 45);
  CHECK(value(t, t.mean(100), "loss_1") == 40);

  State state;
  t.save(state);
  Telemetry restored(2, 3), other(2, 4);
  restored.load(state);
  CHECK(restored.steps() == 5);
  CHECK(value(restored, restored.mean(2), "loss_1") == 45);
  CHECK_THROWS_AS(other.load(state), ValueError);
}

TEST_CASE("telemetry: many tasks have no pair columns, but the means over pairs") {
  const int tasks = Telemetry::kMaxPairTasks + 1;
  std::vector<double> j(static_cast<std::size_t>(tasks), 1.0);
  j[3] = -1;
  Telemetry t(tasks, 2);
  t.record({.gram = Gram::of(j, tasks, 1)},
           {std::vector<double>(static_cast<std::size_t>(tasks), 1.0)});
  CHECK(t.columns().size() == static_cast<std::size_t>(3 * tasks + 11));
  CHECK(value(t, t.row(0), "conflict_rate") ==
        doctest::Approx((tasks - 1) / (0.5 * tasks * (tasks - 1))));
  CHECK(std::isnan(value(t, t.row(0), "loss_0")));
}

TEST_CASE("telemetry: condition number, and where rounding ends it") {
  Telemetry t(2, 4);
  const auto condition = [&](const std::vector<double>& j) {
    t.record({.gram = Gram::of(j, 2, 2)}, {{1, 1}});
    return value(t, t.row(0), "log10_condition");
  };
  CHECK(condition({3, 0, 0, 0.03}) == doctest::Approx(4).epsilon(1e-12));
  CHECK(condition({1, 2, 2, 4}) == doctest::Approx(-std::log10(2 * 2.220446049250313e-16)));
  CHECK(std::isnan(condition({0, 0, 0, 0})));
}

TEST_CASE("telemetry: opposite gradients dominate each other and have no bounding measure") {
  Telemetry t(2, 4);
  t.record({.gram = Gram::of(std::vector<double>{0, 2, 0, -2}, 2, 2)}, {{1, 1}});
  CHECK(value(t, t.row(0), "dominated_conflict") == 1);
  CHECK(std::isnan(value(t, t.row(0), "bounding_measure")));
}

TEST_CASE("telemetry: a step without tasks is a row of NaN") {
  Telemetry t(2, 4);
  t.record({.gram = Gram(0)}, {});
  CHECK(t.steps() == 1);
  for (const double v : t.row(0)) CHECK(std::isnan(v));
}

// L_i(x) = (x - c_i)^T A_i (x - c_i) / 2 in the plane. Once a probe has seen the largest eigenvalue
// of A_0 + A_1, Lip is exact and the theorem must hold wherever the column says so.
TEST_CASE("telemetry: curvature is exact on quadratics, and theorem 2 keeps its promise") {
  const Rng rng(11);
  std::uint64_t drawn = 0;
  const auto draw = [&](double low, double high) {
    return low + (high - low) * rng.uniform(drawn++);
  };
  int claimed = 0, conflicts = 0;
  for (int trial = 0; trial < 400; ++trial) {
    // Diagonal and positive, so that the eigenvectors are the axes; task 1 is the louder one.
    const double a[2][2] = {{draw(0, 1), draw(0, 1)}, {draw(0, 20), draw(0, 2)}};
    const double c[2][2] = {{draw(-9, 9), draw(-9, 9)}, {draw(-1, 1), draw(-1, 1)}};
    const auto losses = [&](double x, double y) {
      std::vector<double> l(2);
      for (int i = 0; i < 2; ++i) {
        l[i] = a[i][0] * (x - c[i][0]) * (x - c[i][0]) / 2 +
               a[i][1] * (y - c[i][1]) * (y - c[i][1]) / 2;
      }
      return l;
    };
    Telemetry t(2, 4);
    const double steep = std::max(a[0][0] + a[1][0], a[0][1] + a[1][1]);
    t.record({.gram = Gram::of(std::vector<double>{0.5, 0.5}, 2, 1),
              .losses = std::vector<double>{0, 0}},
             {{1, 1}});
    t.probe(std::vector<double>{0, steep / 2 - 1}, 1);  // of a unit step along the steep axis
    CHECK(value(t, t.row(0), "curvature") == doctest::Approx(steep));

    const double x = draw(-3, 3), y = draw(-3, 3), step = draw(0, 4) / steep;
    const std::vector<double> j = {a[0][0] * (x - c[0][0]), a[0][1] * (y - c[0][1]),
                                   a[1][0] * (x - c[1][0]), a[1][1] * (y - c[1][1])};
    const Gram gram = Gram::of(j, 2, 2);
    Direction d;
    make_aggregator("pcgrad")->weights({.gram = gram}, d);
    const std::vector<double> here = losses(x, y);
    t.record({.gram = gram, .losses = here}, d);
    const auto after = [&](const std::vector<double>& w) {
      return losses(x - step * (w[0] * j[0] + w[1] * j[2]), y - step * (w[0] * j[1] + w[1] * j[3]));
    };
    const std::vector<double> plain = after({1, 1}), surgery = after(d.weights);
    t.probe(plain, step);
    const double gx = j[0] + j[2], gy = j[1] + j[3];
    CHECK(value(t, t.row(0), "curvature") ==
          doctest::Approx((gx * gx * (a[0][0] + a[1][0]) + gy * gy * (a[0][1] + a[1][1])) /
                          (gx * gx + gy * gy))
              .epsilon(1e-8));
    conflicts += value(t, t.row(0), "dominated_conflict") > 0;
    if (value(t, t.row(0), "theorem_2") == 0) continue;
    ++claimed;
    CHECK(surgery[0] + surgery[1] <= plain[0] + plain[1] + 1e-12);
  }
  CHECK(claimed > 5);
  CHECK(conflicts > claimed);
}

TEST_CASE("telemetry: a probe follows a step with losses") {
  Telemetry t(2, 4);
  const Gram gram = Gram::of(std::vector<double>{1, 2}, 2, 1);
  const std::vector<double> losses = {1, 2}, three = {1, 2, 3};
  CHECK_THROWS_AS(t.probe(losses, 0.1), UsageError);
  t.record({.gram = gram}, {{1, 1}});
  CHECK_THROWS_AS(t.probe(losses, 0.1), UsageError);
  t.record({.gram = gram, .losses = losses}, {{1, 1}});
  CHECK_THROWS_AS(t.probe(three, 0.1), ShapeError);
  t.record({.gram = gram, .losses = losses}, {{1, 1}});
  CHECK_THROWS_AS(t.probe(losses, 0), ValueError);
  t.record({.gram = gram, .losses = losses}, {{1, 1}});
  t.probe(losses, 0.1);
  CHECK_THROWS_AS(t.probe(losses, 0.1), UsageError);
}

TEST_CASE("telemetry: CSV of the steps held") {
  Telemetry t(1, 2);
  for (int step = 0; step < 3; ++step) {
    t.record({.gram = Gram::of(std::vector<double>{0.5 * step}, 1, 1)}, {{2}});
  }
  std::ostringstream out;
  t.write_csv(out);
  CHECK(out.str() ==
        "step,loss_0,norm_0,weight_0,mean_cosine,conflict_rate,magnitude_similarity,"
        "bounding_measure,dominated_conflict,log10_condition,gate_open,direction_norm,min_progress,"
        "curvature,theorem_2\n"
        "1,nan,0.5,2,nan,nan,nan,nan,nan,0,nan,1,0.5,nan,nan\n"
        "2,nan,1,2,nan,nan,nan,nan,nan,0,nan,2,2,nan,nan\n");
}

TEST_CASE("telemetry: per block, each with its Gram matrix") {
  // Two tasks, two layers of two and one columns: they agree in the first and conflict in the
  // second.
  const std::vector<Gram> grams = {Gram::of(std::vector<double>{1, 0, 2, 1}, 2, 2),
                                   Gram::of(std::vector<double>{1, -3}, 2, 1)};
  const std::vector<double> losses = {1, 2};
  BlockTelemetry t({"conv", "fc"}, 2, 4);
  for (std::size_t b = 0; b < 2; ++b) t.record(b, {.gram = grams[b], .losses = losses}, {{1, 1}});
  CHECK(value(t[0], t[0].row(0), "conflict_rate") == 0);
  CHECK(value(t[1], t[1].row(0), "conflict_rate") == 1);
  CHECK(value(t[1], t[1].row(0), "direction_norm") == 2);

  State state;
  t.save(state);
  BlockTelemetry back({"conv", "fc"}, 2, 4), other({"conv", "head"}, 2, 4);
  back.load(state);
  CHECK(value(back[1], back[1].row(0), "conflict_rate") == 1);
  CHECK_THROWS_AS(other.load(state), ValueError);
}
