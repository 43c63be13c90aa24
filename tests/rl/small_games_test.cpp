// CartPole and Catch against their rules.
#include <concord/rl/registry.h>
#include <concord/tests/rl/playing.h>

#include <doctest/doctest.h>

#include <cmath>

using namespace concord;
using namespace concord::rl;

TEST_CASE("cartpole: Gymnasium's equations in double precision") {
  const EnvPtr env = make_env("cartpole", {.size = 1, .seed = 4});
  const StepBuffers out = env->buffers();
  env->reset(out.observation);
  const auto read = [](const Tensor& t) {
    const float* p = t.data<float>();
    return std::array<double, 4>{p[0], p[1], p[2], p[3]};
  };
  std::array<double, 4> s = read(out.observation);
  for (const double v : s) CHECK(std::abs(v) <= 0.05);
  const Tensor actions = env->actions();
  int length = 0, ends = 0;
  for (int t = 0; t < 300; ++t) {
    testing::random_actions(*env, 8, t, actions);
    env->step(actions, out);
    CHECK(out.reward.item() == 1);
    const double force = actions.item() == 1 ? 10 : -10;
    const double c = std::cos(s[2]), sine = std::sin(s[2]);
    const double push = (force + 0.05 * s[3] * s[3] * sine) / 1.1;
    const double turning = (9.8 * sine - c * push) / (0.5 * (4.0 / 3 - 0.1 * c * c / 1.1));
    const double acceleration = push - 0.05 * turning * c / 1.1;
    s = {s[0] + 0.02 * s[1], s[1] + 0.02 * acceleration, s[2] + 0.02 * s[3], s[3] + 0.02 * turning};
    ++length;
    const bool over = std::abs(s[0]) > 2.4 || std::abs(s[2]) > 12 * 3.14159265358979 / 180;
    REQUIRE(over == (out.terminated.item() == 1));
    const std::array<double, 4> seen = read(over ? out.final_observation : out.observation);
    for (int k = 0; k < 4; ++k) CHECK(seen[k] == doctest::Approx(s[k]).epsilon(1e-4));
    if (over) {
      CHECK(length >= 8);  // no policy falls faster
      length = 0;
      ++ends;
      s = read(out.observation);
    }
  }
  CHECK(ends > 5);
}

TEST_CASE("cartpole: the time limit truncates, it does not terminate") {
  const EnvPtr env = make_env("cartpole", {.size = 2, .seed = 4}, {{"max_steps", "6"}});
  const StepBuffers out = env->buffers();
  env->reset(out.observation);
  testing::play(*env, 1, 0, 18, out, [&](index_t t) {
    for (index_t i = 0; i < 2; ++i) {
      CHECK(out.terminated.data<std::uint8_t>()[i] == 0);
      CHECK(out.truncated.data<std::uint8_t>()[i] == ((t + 1) % 6 == 0));
    }
  });
}

TEST_CASE("catch: following the ball wins every time, standing still does not") {
  const EnvPtr env = make_env("catch", {.size = 33, .seed = 2}, {{"rows", "7"}, {"columns", "9"}});
  const StepBuffers out = env->buffers();
  const Tensor actions = env->actions();
  const auto column_of = [&](index_t i, index_t first_row, index_t last_row) {
    const std::uint8_t* plane = out.observation.data<std::uint8_t>() + i * 63;
    for (index_t k = first_row * 9; k < last_row * 9; ++k)
      if (plane[k]) return k % 9;
    return index_t{-1};
  };
  env->reset(out.observation);
  index_t starts[9] = {};
  for (int t = 0; t < 60; ++t) {
    for (index_t i = 0; i < 33; ++i) {
      const index_t ball = column_of(i, 0, 6), paddle = column_of(i, 6, 7);
      if (t % 6 == 0) {
        CHECK(paddle == 4);
        ++starts[ball];
      }
      actions.data<std::int64_t>()[i] = ball < paddle ? 0 : ball > paddle ? 2 : 1;
    }
    env->step(actions, out);
    for (index_t i = 0; i < 33; ++i) {
      CHECK(out.terminated.data<std::uint8_t>()[i] == (t % 6 == 5));
      CHECK(out.reward.data<float>()[i] == (t % 6 == 5 ? 1 : 0));
    }
  }
  for (const index_t n : starts) CHECK(n > 0);  // 330 balls in nine columns
  actions.fill(1);
  double sum = 0;
  for (int t = 0; t < 60; ++t) {
    env->step(actions, out);
    for (const float r : out.reward.values<float>()) sum += r;
  }
  CHECK(sum < 0);
}
