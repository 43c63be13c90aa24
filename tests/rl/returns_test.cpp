// Returns, advantages and V-trace against sums written out as the papers define them.
#include <concord/rl/returns.h>
#include <concord/tensor/random.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace concord;
using namespace concord::rl;

namespace {

constexpr index_t kSteps = 11, kEnvs = 3;

/// Random rewards and values; environment 0 terminates at t = 3, environment 1 is truncated at
/// t = 5 and terminates at t = 10, environment 2 goes on beyond the stretch.
struct Sample {
  Tensor reward = Tensor::empty({kSteps, kEnvs}), value = Tensor::empty({kSteps + 1, kEnvs}),
         final_value = Tensor::empty({kSteps, kEnvs}), log_ratio = Tensor::empty({kSteps, kEnvs}),
         terminated = Tensor::zeros({kSteps, kEnvs}, DType::u8),
         truncated = Tensor::zeros({kSteps, kEnvs}, DType::u8),
         next = Tensor::empty({kSteps, kEnvs}), ended = Tensor::empty({kSteps, kEnvs}, DType::u8);
  Stretch stretch;

  Sample() {
    const Rng rng(3);
    rng.fork("r").fill_normal(reward);
    rng.fork("v").fill_normal(value);
    rng.fork("f").fill_normal(final_value);
    rng.fork("l").fill_normal(log_ratio, 0, 0.7);
    terminated.data<std::uint8_t>()[3 * kEnvs + 0] = 1;
    truncated.data<std::uint8_t>()[5 * kEnvs + 1] = 1;
    terminated.data<std::uint8_t>()[10 * kEnvs + 1] = 1;
    next_values(value, final_value, terminated, truncated, next, ended);
    stretch = {reward, value.rows(0, kSteps), next, ended};
  }
};

double at(const Tensor& t, index_t row, index_t env) { return t.at({row, env}); }

}  // namespace

TEST_CASE("a terminated episode is worth nothing more, a truncated one its last state") {
  const Sample s;
  CHECK(at(s.next, 3, 0) == 0);
  CHECK(at(s.next, 10, 1) == 0);
  CHECK(at(s.next, 5, 1) == at(s.final_value, 5, 1));
  CHECK(at(s.next, 4, 1) == at(s.value, 5, 1));
  CHECK(at(s.next, 10, 2) == at(s.value, 11, 2));
  CHECK(s.ended.at({3, 0}) == 1);
  CHECK(s.ended.at({5, 1}) == 1);
  CHECK(s.ended.at({5, 0}) == 0);
}

TEST_CASE("lambda returns minus values are the generalised advantages, term by term") {
  const Sample s;
  const double gamma = 0.93, lambda = 0.8;
  const Tensor returns = Tensor::empty({kSteps, kEnvs});
  lambda_returns(s.stretch, gamma, lambda, returns);
  for (index_t i = 0; i < kEnvs; ++i) {
    for (index_t t = 0; t < kSteps; ++t) {
      double sum = 0, factor = 1;  // sum_l (gamma lambda)^l delta_{t+l}
      for (index_t u = t; u < kSteps; ++u) {
        sum += factor * (at(s.reward, u, i) + gamma * at(s.next, u, i) - at(s.value, u, i));
        factor *= gamma * lambda;
        if (s.ended.at({u, i}) != 0) break;
      }
      CHECK(at(returns, t, i) - at(s.value, t, i) == doctest::Approx(sum).epsilon(1e-5));
    }
  }
}

TEST_CASE("lambda = 1 is the n-step return, lambda = 0 the one-step target") {
  const Sample s;
  const double gamma = 0.9;
  const Tensor returns = Tensor::empty({kSteps, kEnvs}), one = Tensor::empty({kSteps, kEnvs});
  lambda_returns(s.stretch, gamma, 1, returns);
  lambda_returns(s.stretch, gamma, 0, one);
  for (index_t i = 0; i < kEnvs; ++i) {
    for (index_t t = 0; t < kSteps; ++t) {
      double sum = 0, factor = 1;
      for (index_t u = t; u < kSteps; ++u) {
        sum += factor * at(s.reward, u, i);
        factor *= gamma;
        if (s.ended.at({u, i}) != 0 || u + 1 == kSteps) {
          sum += factor * at(s.next, u, i);
          break;
        }
      }
      CHECK(at(returns, t, i) == doctest::Approx(sum).epsilon(1e-5));
      CHECK(at(one, t, i) ==
            doctest::Approx(at(s.reward, t, i) + gamma * at(s.next, t, i)).epsilon(1e-5));
    }
  }
}

TEST_CASE("V-trace on policy is the n-step return") {
  const Sample s;
  const Tensor ratio = Tensor::zeros({kSteps, kEnvs}), returns = Tensor::empty({kSteps, kEnvs}),
               target = Tensor::empty({kSteps, kEnvs}), advantage = Tensor::empty({kSteps, kEnvs});
  lambda_returns(s.stretch, 0.97, 1, returns);
  vtrace(s.stretch, ratio, {.gamma = 0.97}, target, advantage);
  CHECK(testing::relative_error(target, returns) < 1e-5);
  for (index_t k = 0; k < target.numel(); ++k)
    CHECK(
        advantage.data<float>()[k] ==
        doctest::Approx(returns.data<float>()[k] - s.stretch.value.data<float>()[k]).epsilon(1e-4));
}

TEST_CASE("V-trace off policy: definition 1 of the paper as a sum of products") {
  const Sample s;
  const VtraceOptions o{.gamma = 0.9, .lambda = 0.95, .rho = 1.3, .c = 0.8};
  const Tensor target = Tensor::empty({kSteps, kEnvs}), advantage = Tensor::empty({kSteps, kEnvs});
  vtrace(s.stretch, s.log_ratio, o, target, advantage);
  const auto ratio = [&](index_t t, index_t i) { return std::exp(at(s.log_ratio, t, i)); };
  for (index_t i = 0; i < kEnvs; ++i) {
    for (index_t t = 0; t < kSteps; ++t) {
      double v = at(s.value, t, i), factor = 1;
      for (index_t u = t; u < kSteps; ++u) {
        const double rho = std::min(o.rho, ratio(u, i));
        v += factor * rho * (at(s.reward, u, i) + o.gamma * at(s.next, u, i) - at(s.value, u, i));
        factor *= o.gamma * o.lambda * std::min(o.c, ratio(u, i));
        if (s.ended.at({u, i}) != 0) break;
      }
      CHECK(at(target, t, i) == doctest::Approx(v).epsilon(1e-4));
      const bool cut = s.ended.at({t, i}) != 0 || t + 1 == kSteps;
      const double later = cut ? at(s.next, t, i) : at(target, t + 1, i);
      CHECK(at(advantage, t, i) ==
            doctest::Approx(std::min(o.rho, ratio(t, i)) *
                            (at(s.reward, t, i) + o.gamma * later - at(s.value, t, i)))
                .epsilon(1e-4));
    }
  }
}

TEST_CASE("standardise: mean 0, deviation 1 as PyTorch counts it") {
  const Tensor x = Tensor::from<float>({1, 2, 4, 9}, {4});
  standardise(x);  // mean 4, deviation sqrt(38 / 3)
  CHECK(x.at({0}) == doctest::Approx(-3 / std::sqrt(38.0 / 3)));
  CHECK(x.at({3}) == doctest::Approx(5 / std::sqrt(38.0 / 3)));
  const Tensor one = Tensor::from<float>({7}, {1});
  standardise(one);
  CHECK(one.item() == 0);
}
