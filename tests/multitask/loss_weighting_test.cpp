// Loss weightings: the weights are the derivatives of the scalar each method stands for.
#include <concord/multitask/registry.h>
#include <concord/tensor/check.h>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace concord;
using namespace concord::multitask;

namespace {

const Gram& any_gram() {
  static const Gram gram = Gram::of(std::vector<double>{1, 0, 0, 1, 1, 1}, 3, 2);
  return gram;
}

std::vector<double> weights(Aggregator& method, const std::vector<double>& losses,
                            std::int64_t epoch = 0, std::int64_t step = 0) {
  Direction d;
  method.weights(
      {.gram = any_gram(), .losses = losses, .step = step, .epoch = epoch, .rng = Rng(3)}, d);
  return d.weights;
}

void check_close(const std::vector<double>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-12));
}

const std::vector<double> kLosses = {2, .5, 1};

}  // namespace

TEST_CASE("gls, si: published derivatives") {
  check_close(weights(*make_aggregator("gls"), kLosses), {1.0 / 6, 2.0 / 3, 1.0 / 3});
  check_close(weights(*make_aggregator("si"), kLosses), {.5, 2, 1});
}

TEST_CASE(
    "uw: the published value's derivatives, and Adam's first step is lr in the sign of the "
    "gradient") {
  for (const double s : {.3, -.7, 1.2}) {
    const auto method = make_aggregator("uw", {{"s", std::to_string(s)}, {"lr", "0.01"}});
    check_close(weights(*method, kLosses), std::vector<double>(3, 0.5 * std::exp(-s)));
    State state;
    method->save(state);
    for (std::size_t t = 0; t < 3; ++t) {
      const double gradient = 0.5 - 0.5 * std::exp(-s) * kLosses[t];
      CHECK(state["uw.s"][t] == doctest::Approx(s - std::copysign(0.01, gradient)).epsilon(1e-6));
    }
  }
  check_close(weights(*make_aggregator("uw", {{"preset", "libmtl"}}), kLosses),
              std::vector<double>(3, 0.5 * std::exp(0.5)));
  check_close(weights(*make_aggregator("uw", {{"form", "classification"}}), kLosses), {1, 1, 1});
}

TEST_CASE("uw and imtl_l settle at the minimum of their scalar: e^s = L, e^s = 1 / L") {
  const auto uw = make_aggregator("uw", {{"lr", "0.01"}}),
             imtl = make_aggregator("imtl_l", {{"lr", "0.01"}});
  for (int i = 0; i < 4000; ++i) {
    weights(*uw, kLosses);
    weights(*imtl, kLosses);
  }
  const auto a = weights(*uw, kLosses), b = weights(*imtl, kLosses);
  for (std::size_t t = 0; t < 3; ++t) {
    CHECK(a[t] == doctest::Approx(0.5 / kLosses[t]).epsilon(1e-3));
    CHECK(b[t] == doctest::Approx(1 / kLosses[t]).epsilon(1e-3));
  }
}

TEST_CASE(
    "stch: TorchJD's form is the softmax of its published value; the paper's has a warm-up and a "
    "nadir") {
  // F = log(e^(2/3) + e^(.5/3) + e^(1/3)) = 1.5095528 for mu = 1.
  const double sum = std::exp(2.0 / 3) + std::exp(.5 / 3) + std::exp(1.0 / 3);
  CHECK(std::log(sum) == doctest::Approx(1.5095528).epsilon(1e-7));
  check_close(
      weights(*make_aggregator("stch", {{"preset", "torchjd"}}), kLosses),
      {std::exp(2.0 / 3) / sum / 3, std::exp(.5 / 3) / sum / 3, std::exp(1.0 / 3) / sum / 3});

  const auto method = make_aggregator("stch", {{"warm_up", "1"}, {"mu", "0.5"}});
  check_close(weights(*method, kLosses, 0), {.5, 2, 1});
  weights(*method, {3, 1, 1}, 1);
  weights(*method, {5, 1, 3}, 1);  // the nadir is (4, 1, 2)
  // log(L / z) / mu = 2 log(1/2, 1/2, 1/2): equal shares, w = 3 * (1/3) / L
  check_close(weights(*method, {2, .5, 1}, 2), {.5, 2, 1});
  const double shares = 1 + 0.25 + 0.25;
  check_close(weights(*method, {4, .5, 1}, 3),
              {3 * (1 / shares) / 4, 3 * (.25 / shares) / .5, 3 * (.25 / shares) / 1});
  State state;
  method->save(state);
  const auto again = make_aggregator("stch", {{"warm_up", "1"}, {"mu", "0.5"}});
  again->load(state);
  CHECK(weights(*again, {4, .5, 1}, 3) == weights(*method, {4, .5, 1}, 3));
}

TEST_CASE("dwa: two epochs of ones, then the softmax of the falling rates; state") {
  const auto method = make_aggregator("dwa");
  check_close(weights(*method, {4, 2, 1}, 0), {1, 1, 1});
  check_close(weights(*method, {2, 2, 3}, 0), {1, 1, 1});  // means 3, 2, 2
  check_close(weights(*method, {1.5, 2, 4}, 1), {1, 1, 1});
  const double a = std::exp(.5 / 2), b = std::exp(1.0 / 2), c = std::exp(2.0 / 2);
  const std::vector<double> expected = {3 * a / (a + b + c), 3 * b / (a + b + c),
                                        3 * c / (a + b + c)};
  State state;
  method->save(state);
  check_close(weights(*method, {9, 9, 9}, 2), expected);
  const auto again = make_aggregator("dwa");
  again->load(state);
  check_close(weights(*again, {7, 1, 2}, 2), expected);
}

TEST_CASE("rlw: on the simplex, new in each step, the same for the same step") {
  const auto method = make_aggregator("rlw");
  const auto a = weights(*method, kLosses, 0, 1), b = weights(*method, kLosses, 0, 2);
  CHECK(a[0] + a[1] + a[2] == doctest::Approx(1).epsilon(1e-14));
  CHECK(a != b);
  CHECK(a == weights(*method, kLosses, 0, 1));
  const auto c = weights(*make_aggregator("rlw", {{"times", "tasks"}}), kLosses, 0, 1);
  for (std::size_t t = 0; t < 3; ++t) CHECK(c[t] == doctest::Approx(3 * a[t]).epsilon(1e-14));
}

TEST_CASE("logarithms of losses need positive losses") {
  for (const char* method : {"si", "gls", "dwa", "stch"}) {
    const auto m = make_aggregator(method);
    CHECK_THROWS_WITH_AS(
        weights(*m, {1, 0, 2}),
        (std::string(method) + ": loss of task 1 is 0, expected a positive value").c_str(),
        NumericError);
  }
}

TEST_CASE("an absent task's state stands still") {
  const auto method = make_aggregator("uw", {{"lr", "0.1"}});
  const std::vector<int> first_and_last = {0, 2};
  Direction d;
  weights(*method, kLosses);
  State before, after;
  method->save(before);
  method->weights({.gram = Gram::of(std::vector<double>{1, 2}, 2, 1),
                   .losses = std::vector<double>{2, 1},
                   .tasks = first_and_last},
                  d);
  method->save(after);
  CHECK(before["uw.s"][1] == after["uw.s"][1]);
  CHECK(before["uw.s"][0] != after["uw.s"][0]);
}
