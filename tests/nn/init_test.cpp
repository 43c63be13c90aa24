#include <concord/nn/init.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cmath>

using namespace concord;
namespace init = concord::nn::init;

namespace {

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};

Moments moments_of(const Initializer& f, const Shape& shape) {
  const Tensor t = Tensor::empty(shape, DType::f64);
  f(t, Rng(17));
  Moments m;
  for (const double v : t.values<double>()) {
    m.mean += v;
    m.deviation += v * v;
    m.largest = std::max(m.largest, std::abs(v));
  }
  const auto n = static_cast<double>(t.numel());
  m.mean /= n;
  m.deviation = std::sqrt(m.deviation / n - m.mean * m.mean);
  return m;
}

}  // namespace

// fan_in = 30 * 3 * 2 = 180, fan_out = 50 * 3 * 2 = 300; 9000 values: the deviation is known to 1
// %.
TEST_CASE("initialisers have the bounds and deviations of PyTorch's") {
  const Shape shape{50, 30, 3, 2};
  const auto check_uniform = [&](const Initializer& f, double bound) {
    const Moments m = moments_of(f, shape);
    CHECK(m.largest <= bound);
    CHECK(m.largest > 0.99 * bound);
    CHECK(std::abs(m.mean) < 0.03 * bound);
    CHECK(m.deviation == doctest::Approx(bound / std::sqrt(3.0)).epsilon(0.03));
  };
  const auto check_normal = [&](const Initializer& f, double deviation) {
    const Moments m = moments_of(f, shape);
    CHECK(std::abs(m.mean) < 0.05 * deviation);
    CHECK(m.deviation == doctest::Approx(deviation).epsilon(0.03));
    CHECK(m.largest > 3 * deviation);
  };
  check_uniform(init::default_weight(), 1 / std::sqrt(180.0));
  check_uniform(init::default_bias(180), 1 / std::sqrt(180.0));
  check_uniform(init::kaiming_uniform(0), std::sqrt(6.0 / 180));
  check_uniform(init::kaiming_uniform(0.5, init::Fan::out), std::sqrt(6.0 / 1.25 / 300));
  check_uniform(init::xavier_uniform(1.5), 1.5 * std::sqrt(6.0 / 480));
  check_normal(init::kaiming_normal(), std::sqrt(2.0 / 180));
  check_normal(init::kaiming_normal(0, init::Fan::out), std::sqrt(2.0 / 300));
  check_normal(init::xavier_normal(), std::sqrt(2.0 / 480));
  check_normal(init::normal(0, 0.7), 0.7);
  check_uniform(init::uniform(-0.3, 0.3), 0.3);
  CHECK(moments_of(init::constant(2.5), shape).mean == 2.5);
}

TEST_CASE("initialisers need a fan") {
  CHECK(concord::testing::error_text<ShapeError>(
            [] { init::default_weight()(Tensor::zeros({4}), Rng()); }) ==
        "init: a fan needs at least two axes [out, in, ...]\n"
        "  weight  f32[4]  cpu");
}
