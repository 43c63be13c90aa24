// MinAtar's Space Invaders. A cannon on the bottom row shoots at four rows of six aliens that move
// sideways, drop a row at each wall, and shoot back; +1 per alien. The episode ends when a bullet
// or an alien reaches the cannon. A cleared wave returns, with `ramp` a little faster.
#include <concord/rl/environments/minatar.h>

#include <algorithm>

namespace concord::rl {
namespace {

struct SpaceInvaders {
  struct State {
    Board aliens, shots, enemy_shots;
    std::int32_t x, direction;  // direction: -1 left, 1 right
    std::int32_t shot_timer, alien_move_timer, alien_shot_timer, move_interval;
  };
  static constexpr const char* kName = "space_invaders";
  inline static const std::vector<std::int32_t> kMinimal = {kNoop, kLeft, kRight, kFire};
  static constexpr std::array<Colour, 6> kColours = {kBlue, kGreen, kGreen, kGreen, kTeal, kRed};
  static constexpr int kShotInterval = 5, kEnemyShotInterval = 10, kSlowest = 12, kFastest = 6;
  static constexpr int kLastRow = kSide - 1;

  bool ramp;

  static constexpr Board wave() {
    Board aliens = 0;
    for (int y = 0; y < 4; ++y)
      for (int x = 2; x < 8; ++x) aliens |= cell_bit(x, y);
    return aliens;
  }

  void reset(State& s, Draws&) const {
    s = {.aliens = wave(),
         .x = 5,
         .direction = -1,
         .alien_move_timer = kSlowest,
         .alien_shot_timer = kEnemyShotInterval,
         .move_interval = kSlowest};
  }

  Outcome step(State& s, int action, Draws&) const {
    Outcome outcome;
    if (action == kFire) {
      if (s.shot_timer == 0) {
        s.shots |= cell_bit(s.x, kLastRow);
        s.shot_timer = kShotInterval;
      }
    } else {
      s.x = std::clamp(s.x + (action == kRight) - (action == kLeft), 0, kSide - 1);
    }
    const Board cannon = cell_bit(s.x, kLastRow);
    s.shots >>= kSide;
    s.enemy_shots = s.enemy_shots << kSide & kBoard;
    outcome.terminated = (cannon & (s.enemy_shots | s.aliens)) != 0;

    if (s.alien_move_timer == 0) {
      s.alien_move_timer = std::min(popcount(s.aliens), s.move_interval);
      const Board wall = board_column(s.direction < 0 ? 0 : kSide - 1);
      if (s.aliens & wall) {
        s.direction = -s.direction;
        if (s.aliens & board_row(kLastRow)) outcome.terminated = true;
        s.aliens = (s.aliens << kSide | s.aliens >> kSide * kLastRow) & kBoard;
      } else {
        s.aliens = s.direction < 0 ? s.aliens >> 1 : s.aliens << 1;
      }
      if (s.aliens & cannon) outcome.terminated = true;
    }
    if (s.alien_shot_timer == 0) {
      s.alien_shot_timer = kEnemyShotInterval;
      s.enemy_shots |= nearest_alien(s);
    }
    const Board killed = s.aliens & s.shots;
    outcome.reward = static_cast<float>(popcount(killed));
    s.aliens &= ~killed;
    s.shots &= ~killed;

    s.shot_timer -= s.shot_timer > 0;
    --s.alien_move_timer;
    --s.alien_shot_timer;
    if (s.aliens == 0) {
      if (ramp && s.move_interval > kFastest) --s.move_interval;
      s.aliens = wave();
    }
    return outcome;
  }

  /// The lowest alien of the column nearest to the cannon; the left one of two as near.
  static Board nearest_alien(const State& s) {
    for (int distance = 0; distance < kSide; ++distance) {
      for (const int x : {s.x - distance, s.x + distance}) {
        if (x < 0 || x >= kSide) continue;
        const Board column = s.aliens & board_column(x);
        if (column == 0) continue;
        const auto high = static_cast<std::uint64_t>(column >> 64);
        const auto low = static_cast<std::uint64_t>(column);
        return Board{1} << (high ? 127 - __builtin_clzll(high) : 63 - __builtin_clzll(low));
      }
    }
    return 0;
  }

  bool valid(const State& s) const {
    return s.aliens != 0 && ((s.aliens | s.shots | s.enemy_shots) & ~kBoard) == 0 &&
           within(0, kSide - 1, s.x) && (s.direction == 1 || s.direction == -1) &&
           within(0, kShotInterval, s.shot_timer) && within(0, kSlowest, s.alien_move_timer) &&
           within(0, kEnemyShotInterval, s.alien_shot_timer) &&
           within(kFastest, kSlowest, s.move_interval);
  }

  void observe(const State& s, std::uint8_t* out) const {
    write_plane(cell_bit(s.x, kLastRow), out);
    write_plane(s.aliens, out + kCells);
    write_plane(s.direction < 0 ? s.aliens : 0, out + 2 * kCells);
    write_plane(s.direction < 0 ? 0 : s.aliens, out + 3 * kCells);
    write_plane(s.shots, out + 4 * kCells);
    write_plane(s.enemy_shots, out + 5 * kCells);
  }
};

}  // namespace

EnvPtr make_space_invaders(multitask::Options& options, const EnvCount& count) {
  return make_minatar(SpaceInvaders{options.integer("ramp", 1, 0, 1) == 1}, options, count);
}

}  // namespace concord::rl
