// Published numbers and closed forms: reference values that owe nothing to this code.
#include <concord/multitask/aggregate.h>
#include <concord/tensor/check.h>

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
