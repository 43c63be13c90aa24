// Published numbers and closed forms: reference values that owe nothing to this code.
#include <concord/multitask/aggregate.h>
#include <concord/tests/multitask/matrices.h>

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

using namespace concord;
using namespace concord::multitask;

namespace {

/// The 2 x 3 example of TorchJD's documentation: G = [[18, -22], [-22, 38]].
const std::vector<double> kA = {-4, 1, 1, 6, 1, 1};

AggregateResult on_a(const std::string& method, const OptionMap& options = {}) {
  return aggregate(method, options, kA, 2, 3);
}

void check_close(const std::vector<double>& got, const std::vector<double>& expected,
                 double tolerance) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - expected[i]) <= tolerance);
}

}  // namespace

TEST_CASE("A: published directions and weights, printed digits") {
  const double digits = 0.6e-4;
  check_close(on_a("constant", {{"w", "1,2"}}).direction, {8, 3, 3}, 1e-12);
  check_close(on_a("mean").direction, {1, 1, 1}, 1e-12);
  check_close(on_a("sum").direction, {2, 2, 2}, 1e-12);
  check_close(on_a("cagrad").direction, {.1835, 1.2041, 1.2041}, digits);
  check_close(on_a("mgda").direction, {0, 1, 1}, 1e-9);
  check_close(on_a("mgda").weights, {.6, .4}, 1e-9);
  check_close(on_a("pcgrad").direction, {.5848, 3.8012, 3.8012}, digits);
  check_close(on_a("pcgrad").weights, {2.2222, 1.5789}, digits);
}

TEST_CASE("A: published directions and weights of the other Gram methods, printed digits") {
  const double digits = 0.6e-4;
  check_close(on_a("aligned_mtl").direction, {.2133, .9673, .9673}, digits);
  check_close(on_a("aligned_mtl").weights, {.5591, .4083}, digits);
  check_close(on_a("config").direction, {.1588, 2.0706, 2.0706}, digits);
  check_close(on_a("config").weights, {1.22648, .84412}, 0.6e-5);
  check_close(on_a("dualproj", {{"preset", "torchjd"}}).direction, {.5563, 1.1109, 1.1109}, digits);
  check_close(on_a("dualproj", {{"preset", "torchjd"}}).weights, {.6109, .5}, digits);
  check_close(on_a("upgrad", {{"preset", "torchjd"}}).direction, {.2929, 1.9004, 1.9004}, digits);
  check_close(on_a("upgrad", {{"preset", "torchjd"}}).weights, {1.1109, .7894}, digits);
  check_close(on_a("fairgrad").direction, {.0766, .9985, .9985}, digits);
  check_close(on_a("fairgrad").weights, {.5915, .4071}, digits);
  check_close(on_a("imtl_g").direction, {.0767, 1, 1}, digits);
  check_close(on_a("imtl_g").weights, {.5923, .4077}, digits);
  check_close(on_a("nash_mtl", {{"preset", "torchjd"}}).direction, {.0542, .7061, .7061}, digits);
  check_close(on_a("gradvac").direction, {.5848, 3.8012, 3.8012}, digits);
}

TEST_CASE("A: exact projections, without regularisation") {
  check_close(on_a("upgrad").direction, {.2923977, 1.9005848, 1.9005848}, 0.6e-7);
  check_close(on_a("dualproj").direction, {.5555556, 1.1111111, 1.1111111}, 0.6e-7);
}

TEST_CASE("krum: published example, and the paper's squared distances") {
  const std::vector<double> rows = {1, 1, 1, 1, 0, 1, 75, -666, 23, 1, 2, 3, 2, 0, 1};
  const auto r =
      aggregate("krum", {{"byzantine", "1"}, {"select", "4"}, {"preset", "torchjd"}}, rows, 5, 3);
  check_close(r.weights, {.25, .25, 0, .25, .25}, 0);
  check_close(r.direction, {1.25, .75, 1.5}, 1e-15);
  // On a line, two neighbours each: 0 has 1 + 3.2 = 4.2 (squared 11.24), 5.4 has 2.2 + 2.2 = 4.4
  // (9.68).
  const std::vector<double> line = {-1, 0, 3.2, 5.4, 7.6};
  check_close(aggregate("krum", {{"preset", "torchjd"}}, line, 5, 1).weights, {0, 1, 0, 0, 0}, 0);
  check_close(aggregate("krum", {}, line, 5, 1).weights, {0, 0, 0, 1, 0}, 0);
}

TEST_CASE("upgrad: the all-ones Gram matrix and the documentation's example") {
  const auto ones = aggregate("upgrad", {}, std::vector<double>(6, 1.0), 6, 1);
  double sum = 0;
  for (const double w : ones.weights) sum += w;
  CHECK(sum == doctest::Approx(1).epsilon(1e-12));
  check_close(ones.direction, {1}, 1e-12);
  check_close(aggregate("upgrad", {}, std::vector<double>{-1, 1, 2, 4}, 2, 2).direction, {.5, 2.5},
              1e-12);
}

TEST_CASE("two tasks: closed forms of all methods") {
  for (int i = 0; i < 200; ++i) {
    const Rng rng = Rng(71).fork(static_cast<std::uint64_t>(i));
    Matrix m = gaussian(2, 4, rng);
    for (int k = 0; k < 4; ++k) m.at(0, k) *= std::pow(10.0, 6 * rng.fork("scale").uniform(0) - 3);
    const Gram g = Gram::of(m.values, 2, 4);
    const double a = g.norm(0), b = g.norm(1), dot = g(0, 1), cosine = dot / (a * b),
                 conflict = std::min(0.0, dot);
    const auto check = [&](const char* method, const OptionMap& options, double w0, double w1,
                           double tolerance) {
      CAPTURE(method);
      const auto r = aggregate(method, options, m.values, 2, 4);
      CHECK(std::abs(r.weights[0] - w0) <= tolerance * std::abs(w0));
      CHECK(std::abs(r.weights[1] - w1) <= tolerance * std::abs(w1));
    };
    check("pcgrad", {}, 1 - conflict / g(0, 0), 1 - conflict / g(1, 1), 1e-9);
    check("upgrad", {}, 0.5 * (1 - conflict / g(0, 0)), 0.5 * (1 - conflict / g(1, 1)), 1e-9);
    check("dualproj", {}, std::max(0.5, -dot / (2 * g(0, 0))), std::max(0.5, -dot / (2 * g(1, 1))),
          1e-9);
    check("nash_mtl", {}, 1 / (a * std::sqrt(1 + cosine)), 1 / (b * std::sqrt(1 + cosine)), 1e-9);
    check("fairgrad", {}, 1 / (a * std::sqrt(1 + cosine)), 1 / (b * std::sqrt(1 + cosine)), 1e-9);
    check("imtl_g", {}, 1 / a / (1 / a + 1 / b), 1 / b / (1 / a + 1 / b), 1e-9);
    // ConFIG: the bisector, as long as the sum of the projections (a + b) cos(half the angle).
    const double half = std::sqrt((1 + cosine) / 2), along = (a + b) * half / (2 * half);
    check("config", {}, along / a, along / b, 1e-8);
    check("gradvac", {}, 1 - conflict / g(0, 0), 1 - conflict / g(1, 1), 1e-9);
    const double nash = length(aggregate("nash_mtl", {}, m.values, 2, 4).direction);
    CHECK(nash * nash == doctest::Approx(2).epsilon(1e-9));
  }
}

TEST_CASE("A: closed forms") {
  check_close(on_a("cagrad", {{"c", "0.5"}}).weights, {0.5 + 0.5 / std::sqrt(6.0), 0.5}, 1e-9);
  check_close(on_a("pcgrad").weights, {1 + 22.0 / 18, 1 + 22.0 / 38}, 1e-12);
  CHECK(on_a("mgda").residual <= 1e-14);
  CHECK(on_a("cagrad").residual <= 1e-14);
}

TEST_CASE("pcgrad: a task never projects against itself") {
  const auto r = aggregate("pcgrad", {{"order", "0,1,2"}},
                           std::vector<double>{1, -1, 1, 0, 0, 1, -1, 1, -2}, 3, 3);
  check_close(r.direction, {1.0 / 3, -1.0 / 3, 0}, 1e-12);
}
