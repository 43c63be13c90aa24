#include <concord/multitask/registry.h>
#include <concord/multitask/telemetry.h>
#include <concord/tensor/check.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
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
  Telemetry t(tasks);
  t.record({.gram = Gram::of(j, tasks, 1)},
           {std::vector<double>(static_cast<std::size_t>(tasks), 1.0)});
  CHECK(t.columns().size() == static_cast<std::size_t>(3 * tasks + 6));
  CHECK(value(t, t.row(0), "conflict_rate") == doctest::Approx(16.0 / 136));
  CHECK(std::isnan(value(t, t.row(0), "loss_0")));
}
