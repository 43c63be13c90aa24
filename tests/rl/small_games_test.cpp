// CartPole and Catch against their rules.
#include <concord/rl/registry.h>
#include <concord/tests/rl/playing.h>

#include <doctest/doctest.h>

#include <algorithm>
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

TEST_CASE("pendulum: Gymnasium's equations in double precision") {
  const EnvPtr env = make_env("pendulum", {.size = 1, .seed = 7});
  const StepBuffers out = env->buffers();
  env->reset(out.observation);
  const Tensor actions = env->actions();
  const float* seen = out.observation.data<float>();
  double angle = std::atan2(seen[1], seen[0]), speed = seen[2];
  for (int t = 0; t < 199; ++t) {
    testing::random_actions(*env, 3, t, actions);
    if (t == 5) actions.fill(7);  // beyond the range: clamped
    const double u = std::clamp(actions.item(), -2.0, 2.0), pi = 3.14159265358979;
    env->step(actions, out);
    const double lean = std::remainder(angle, 2 * pi);
    const double cost = lean * lean + 0.1 * speed * speed + 0.001 * u * u;
    speed = std::clamp(speed + (15 * std::sin(angle) + 3 * u) * 0.05, -8.0, 8.0);
    angle += speed * 0.05;
    CHECK(out.reward.item() == doctest::Approx(-cost).epsilon(1e-3));
    CHECK(seen[0] == doctest::Approx(std::cos(angle)).epsilon(1e-3));
    CHECK(seen[1] == doctest::Approx(std::sin(angle)).epsilon(1e-3));
    CHECK(seen[2] == doctest::Approx(speed).epsilon(1e-3));
    REQUIRE(out.truncated.item() == 0);
  }
  env->step(actions, out);
  CHECK(out.truncated.item() == 1);
  CHECK(out.terminated.item() == 0);
}

TEST_CASE("deep sea: only the way to the right pays, and it costs") {
  for (const char* mixed : {"0", "1"}) {
    const EnvPtr env = make_env("deep_sea", {.size = 1}, {{"size", "6"}, {"mixed", mixed}});
    const StepBuffers out = env->buffers();
    const Tensor actions = env->actions();
    // Which action is right where: try both in each cell of the diagonal.
    std::vector<std::int64_t> path;
    double best = -1;
    for (int code = 0; code < 64; ++code) {
      env->reset(out.observation);
      double sum = 0;
      for (int t = 0; t < 6; ++t) {
        actions.data<std::int64_t>()[0] = code >> t & 1;
        env->step(actions, out);
        sum += out.reward.item();
        REQUIRE(out.terminated.item() == (t == 5));
      }
      if (sum > 0) {
        CHECK(best < 0);  // one sequence of 64
        best = sum;
        if (mixed[0] == '0')
          CHECK(code == 63);
        else
          CHECK(code != 63);
      } else {
        CHECK(sum > -0.0101);
      }
    }
    CHECK(best == doctest::Approx(0.99).epsilon(1e-6));
  }
}

TEST_CASE("chain: always forward gains 10 per step with probability 0.8^5, 2 after each slip") {
  // The stationary distribution of "forward": state 0 after a slip, each next one after a success.
  // P(last) = 0.8^4, so the mean reward is 0.8 * 0.8^4 * 10 + 0.2 * 2 = 3.6768.
  const EnvPtr env = make_env("chain", {.size = 1000, .seed = 1}, {{"max_steps", "0"}});
  const StepBuffers out = env->buffers();
  const Tensor actions = env->actions();
  env->reset(out.observation);
  double sum = 0;
  for (int t = 0; t < 220; ++t) {
    env->step(actions, out);
    if (t >= 20)
      for (const float r : out.reward.values<float>()) sum += r;
  }
  CHECK(sum / 2e5 == doctest::Approx(3.6768).epsilon(0.02));
}
