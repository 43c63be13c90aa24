// MinAtar's Asterix. Enemies and gold cross the board on rows 1 to 8, one at a time on each; +1 for
// gold, an enemy ends the episode. With `ramp` they come and move faster with time.
#include <concord/rl/environments/minatar.h>

#include <algorithm>

namespace concord::rl {
namespace {

struct Asterix {
  static constexpr int kRows = 8;  // slot i lies on row i + 1
  struct Thing {
    std::int8_t x, dx;  // dx = 0: the slot is free
    std::uint8_t gold;
  };
  struct State {
    std::array<Thing, kRows> things;
    std::int32_t x, y;
    std::int32_t spawn_speed, spawn_timer, move_speed, move_timer, ramp_timer, ramp_index;
  };
  static constexpr const char* kName = "asterix";
  inline static const std::vector<std::int32_t> kMinimal = {kNoop, kLeft, kUp, kRight, kDown};
  static constexpr std::array<Colour, 4> kColours = {kBlue, kRed, kGrey, kYellow};
  static constexpr int kSpawnSpeed = 10, kMoveSpeed = 5, kRampInterval = 100;

  bool ramp;

  void reset(State& s, Draws&) const {
    s = {.x = 5,
         .y = 5,
         .spawn_speed = kSpawnSpeed,
         .spawn_timer = kSpawnSpeed,
         .move_speed = kMoveSpeed,
         .move_timer = kMoveSpeed,
         .ramp_timer = kRampInterval};
  }

  Outcome step(State& s, int action, Draws& draws) const {
    Outcome outcome;
    if (s.spawn_timer == 0) {
      spawn(s, draws);
      s.spawn_timer = s.spawn_speed;
    }
    s.x = std::clamp(s.x + (action == kRight) - (action == kLeft), 0, kSide - 1);
    s.y = std::clamp(s.y + (action == kDown) - (action == kUp), 1, kRows);
    touch(s, outcome);
    if (s.move_timer == 0) {
      s.move_timer = s.move_speed;
      for (Thing& t : s.things) {
        t.x = static_cast<std::int8_t>(t.x + t.dx);
        if (t.x < 0 || t.x >= kSide) t = {};
      }
      touch(s, outcome);
    }
    --s.spawn_timer;
    --s.move_timer;
    if (ramp) speed_up(s);
    return outcome;
  }

  static void spawn(State& s, Draws& draws) {
    const bool from_left = draws.uniform() < 0.5;
    const bool gold = draws.uniform() < 1.0 / 3;
    int free = 0;
    for (const Thing& t : s.things) free += t.dx == 0;
    if (free == 0) return;
    int skip = draws.below(free);
    for (Thing& t : s.things) {
      if (t.dx != 0 || skip-- > 0) continue;
      t.x = from_left ? 0 : kSide - 1;
      t.dx = from_left ? 1 : -1;
      t.gold = gold;
      return;
    }
  }

  /// What is in the player's cell. There is one slot per row, so only that of its row can be.
  static void touch(State& s, Outcome& outcome) {
    Thing& t = s.things[s.y - 1];
    if (t.dx == 0 || t.x != s.x) return;
    if (t.gold) {
      t = {};
      outcome.reward += 1;
    } else {
      outcome.terminated = true;
    }
  }

  static void speed_up(State& s) {
    if (s.spawn_speed <= 1 && s.move_speed <= 1) return;
    if (s.ramp_timer >= 0) {
      --s.ramp_timer;
      return;
    }
    if (s.move_speed > 1 && s.ramp_index % 2 == 1) --s.move_speed;
    if (s.spawn_speed > 1) --s.spawn_speed;
    ++s.ramp_index;
    s.ramp_timer = kRampInterval;
  }

  bool valid(const State& s) const {
    for (const Thing& t : s.things)
      if (!within(0, kSide - 1, t.x) || !within(-1, 1, t.dx)) return false;
    return within(0, kSide - 1, s.x) && within(1, kRows, s.y) &&
           within(1, kSpawnSpeed, s.spawn_speed) && within(0, kSpawnSpeed, s.spawn_timer) &&
           within(1, kMoveSpeed, s.move_speed) && within(0, kMoveSpeed, s.move_timer) &&
           within(-1, kRampInterval, s.ramp_timer) && within(0, kSpawnSpeed, s.ramp_index);
  }

  void observe(const State& s, std::uint8_t* out) const {
    std::memset(out, 0, 4 * kCells);
    out[kSide * s.y + s.x] = 1;
    for (int i = 0; i < kRows; ++i) {
      const Thing& t = s.things[i];
      if (t.dx == 0) continue;
      std::uint8_t* row = out + kSide * (i + 1);
      row[(t.gold ? 3 : 1) * kCells + t.x] = 1;
      const int behind = t.x - t.dx;
      if (behind >= 0 && behind < kSide) row[2 * kCells + behind] = 1;
    }
  }
};

}  // namespace

EnvPtr make_asterix(multitask::Options& options, const EnvCount& count) {
  return make_minatar(Asterix{options.integer("ramp", 1, 0, 1) == 1}, options, count);
}

}  // namespace concord::rl
