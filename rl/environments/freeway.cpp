// MinAtar's Freeway. A chicken crosses eight lanes, one car each with a speed and direction of its
// own; it may move every third step. +1 for the other side, where it starts again with new speeds;
// a car throws it back to the start. An episode has 2501 steps.
#include <concord/rl/environments/minatar.h>

#include <algorithm>
#include <cstdlib>

namespace concord::rl {
namespace {

struct Freeway {
  static constexpr int kCars = 8;  // car i drives on row i + 1
  struct Car {
    std::int8_t x, timer, speed;  // speed: sign is the direction, steps between moves its size
  };
  struct State {
    std::array<Car, kCars> cars;
    std::int32_t y, move_timer, steps_left;
  };
  static constexpr const char* kName = "freeway";
  inline static const std::vector<std::int32_t> kMinimal = {kNoop, kUp, kDown};
  static constexpr std::array<Colour, 7> kColours = {kBlue,   kRed,    kFaint, kTeal,
                                                     kYellow, kOrange, kPurple};
  static constexpr int kChickenX = 4, kMoveInterval = 3, kSteps = 2500, kFastest = 5;

  void reset(State& s, Draws& draws) const {
    s = {.y = kSide - 1, .move_timer = kMoveInterval, .steps_left = kSteps};
    draw_speeds(s, draws);
  }

  static void draw_speeds(State& s, Draws& draws) {
    for (Car& car : s.cars) car.speed = static_cast<std::int8_t>(1 + draws.below(kFastest));
    for (Car& car : s.cars) {
      if (draws.uniform() < 0.5) car.speed = static_cast<std::int8_t>(-car.speed);
      car.timer = static_cast<std::int8_t>(std::abs(car.speed));
    }
  }

  Outcome step(State& s, int action, Draws& draws) const {
    Outcome outcome;
    if (s.move_timer == 0 && (action == kUp || action == kDown)) {
      s.move_timer = kMoveInterval;
      s.y = std::clamp(s.y + (action == kDown) - (action == kUp), 0, kSide - 1);
    }
    if (s.y == 0) {
      outcome.reward = 1;
      draw_speeds(s, draws);
      s.y = kSide - 1;
    }
    for (int i = 0; i < kCars; ++i) {
      Car& car = s.cars[i];
      const auto hit = [&] {
        if (car.x == kChickenX && s.y == i + 1) s.y = kSide - 1;
      };
      hit();
      if (car.timer == 0) {
        car.timer = static_cast<std::int8_t>(std::abs(car.speed));
        car.x = static_cast<std::int8_t>((car.x + (car.speed > 0 ? 1 : kSide - 1)) % kSide);
        hit();
      } else {
        --car.timer;
      }
    }
    s.move_timer -= s.move_timer > 0;
    outcome.terminated = --s.steps_left < 0;
    return outcome;
  }

  bool valid(const State& s) const {
    for (const Car& car : s.cars)
      if (!within(0, kSide - 1, car.x) || !within(0, kFastest, car.timer) ||
          !within(1, kFastest, std::abs(car.speed)))
        return false;
    return within(1, kSide - 1, s.y) && within(0, kMoveInterval, s.move_timer) &&
           within(0, kSteps, s.steps_left);
  }

  void observe(const State& s, std::uint8_t* out) const {
    std::memset(out, 0, 7 * kCells);
    out[kSide * s.y + kChickenX] = 1;
    for (int i = 0; i < kCars; ++i) {
      const Car& car = s.cars[i];
      std::uint8_t* row = out + kSide * (i + 1);
      row[kCells + car.x] = 1;
      row[(1 + std::abs(car.speed)) * kCells + (car.x + (car.speed > 0 ? kSide - 1 : 1)) % kSide] =
          1;
    }
  }
};

}  // namespace

EnvPtr make_freeway(multitask::Options& options, const EnvCount& count) {
  return make_minatar(Freeway{}, options, count);
}

}  // namespace concord::rl
