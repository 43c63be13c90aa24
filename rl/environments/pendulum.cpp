// Pendulum-v1 (Gymnasium): a rod that hangs from a pivot is driven by a torque too weak to lift it
// in one go. Reward -(theta² + 0.1 theta'² + 0.001 u²) with theta in [-pi, pi), 0 upright; 200
// steps, no other end. Observation: cos theta, sin theta, theta'.
#include <concord/rl/environments/environments.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace concord::rl {
namespace {

struct Pendulum {
  struct State {
    float angle, speed, torque;  // rad, rad/s; the last torque is drawn
  };
  using Observed = float;
  using Action = const float*;

  static constexpr float kGravity = 10, kMass = 1, kLength = 1, kSeconds = 0.05F;
  static constexpr float kMostSpeed = 8, kMostTorque = 2;

  index_t max_steps;

  EnvSpec spec() const {
    return {"pendulum",
            {DType::f32, {3}},
            {.dimensions = 1, .low = -kMostTorque, .high = kMostTorque},
            max_steps};
  }

  void reset(State& s, Draws& draws) const {
    s.angle = static_cast<float>(draws.uniform(-std::numbers::pi, std::numbers::pi));
    s.speed = static_cast<float>(draws.uniform(-1, 1));
    s.torque = 0;
  }

  Outcome step(State& s, Action action, Draws&) const {
    constexpr float kTurn = 2 * std::numbers::pi_v<float>;
    const float u = std::clamp(action[0], -kMostTorque, kMostTorque);
    const float lean = s.angle - kTurn * std::floor(s.angle / kTurn + 0.5F);
    const float cost = lean * lean + 0.1F * s.speed * s.speed + 0.001F * u * u;
    const float acceleration =
        1.5F * kGravity / kLength * std::sin(s.angle) + 3 / (kMass * kLength * kLength) * u;
    s.speed = std::clamp(s.speed + acceleration * kSeconds, -kMostSpeed, kMostSpeed);
    s.angle = lean + s.speed * kSeconds;
    s.torque = u;
    return {-cost, false};
  }

  void observe(const State& s, Observed* out) const {
    out[0] = std::cos(s.angle);
    out[1] = std::sin(s.angle);
    out[2] = s.speed;
  }

  Canvas draw(const State& s) const {
    constexpr int kSide = 96;
    constexpr double kMiddle = kSide / 2.0, kRod = 36;
    Canvas canvas(kSide, kSide);
    const double x = kMiddle + kRod * std::sin(s.angle), y = kMiddle - kRod * std::cos(s.angle);
    canvas.line(kMiddle, kMiddle, x, y, 8, kRed);
    canvas.disc(kMiddle, kMiddle, 3, kInk);
    // The torque as a bar, clockwise to the right.
    const int bar = static_cast<int>(s.torque / kMostTorque * kMiddle);
    canvas.rectangle(static_cast<int>(kMiddle) + std::min(bar, 0), kSide - 4, std::abs(bar), 3,
                     kBlue);
    return canvas;
  }
};

}  // namespace

EnvPtr make_pendulum(multitask::Options& options, const EnvCount& count) {
  return vectorise(Pendulum{options.integer("max_steps", 200, 0, 1000000)}, count);
}

}  // namespace concord::rl
