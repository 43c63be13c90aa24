// CartPole-v1 (Barto, Sutton, Anderson, "Neuronlike adaptive elements that can solve difficult
// learning control problems", 1983, with the constants and the Euler step of Gymnasium). A cart on
// a track is pushed left or right with constant force; +1 per step until the pole leans more than
// 12 degrees or the cart leaves |x| <= 2.4. Observation: x, x', theta, theta'.
#include <concord/rl/environments/environments.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace concord::rl {
namespace {

struct CartPole {
  struct State {
    float x, speed, angle, turn;  // m, m/s, rad (0: upright), rad/s
  };
  using Observed = float;
  using Action = int;

  static constexpr float kGravity = 9.8F, kPoleMass = 0.1F, kMass = 1.0F + kPoleMass;
  static constexpr float kHalfLength = 0.5F, kForce = 10.0F, kSeconds = 0.02F;
  static constexpr float kMostX = 2.4F;
  static constexpr float kMostAngle = 12 * std::numbers::pi_v<float> / 180;

  index_t max_steps;

  EnvSpec spec() const {
    return {"cartpole", {DType::f32, {4}}, {.count = 2, .names = {"left", "right"}}, max_steps};
  }

  void reset(State& s, Draws& draws) const {
    for (float* value : {&s.x, &s.speed, &s.angle, &s.turn})
      *value = static_cast<float>(draws.uniform(-0.05, 0.05));
  }

  /// Florian, "Correct equations for the dynamics of the cart-pole system" (2007), without
  /// friction; positions move by the old speeds.
  Outcome step(State& s, Action action, Draws&) const {
    const float force = action == 1 ? kForce : -kForce;
    const float sine = std::sin(s.angle), cosine = std::cos(s.angle);
    const float push = (force + kPoleMass * kHalfLength * s.turn * s.turn * sine) / kMass;
    const float turning = (kGravity * sine - cosine * push) /
                          (kHalfLength * (4.0F / 3 - kPoleMass * cosine * cosine / kMass));
    const float acceleration = push - kPoleMass * kHalfLength * turning * cosine / kMass;
    s.x += kSeconds * s.speed;
    s.speed += kSeconds * acceleration;
    s.angle += kSeconds * s.turn;
    s.turn += kSeconds * turning;
    return {1, std::abs(s.x) > kMostX || std::abs(s.angle) > kMostAngle};
  }

  void observe(const State& s, Observed* out) const {
    out[0] = s.x;
    out[1] = s.speed;
    out[2] = s.angle;
    out[3] = s.turn;
  }

  Canvas draw(const State& s) const {
    constexpr int kWidth = 160, kHeight = 80, kTrack = 64;
    constexpr double kScale = kWidth / (2.2 * kMostX);
    Canvas canvas(kWidth, kHeight);
    canvas.rectangle(0, kTrack, kWidth, 1, kGrey);
    const double x = kWidth / 2.0 + kScale * s.x, length = 2 * kHalfLength * kScale * 1.5;
    canvas.rectangle(static_cast<int>(x) - 10, kTrack - 10, 20, 10, kInk);
    canvas.line(x, kTrack - 10, x + length * std::sin(s.angle),
                kTrack - 10 - length * std::cos(s.angle), 4, kOrange);
    canvas.disc(x, kTrack - 10, 2.5, kBlue);
    return canvas;
  }
};

}  // namespace

EnvPtr make_cartpole(multitask::Options& options, const EnvCount& count) {
  return vectorise(CartPole{options.integer("max_steps", 500, 0, 1000000)}, count);
}

}  // namespace concord::rl
