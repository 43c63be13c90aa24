// MinAtar's Breakout. A paddle on the bottom row keeps a ball in play that moves diagonally, one
// cell per step, under three rows of bricks; +1 per brick. The episode ends when the ball passes
// the paddle; when it comes down after the last brick, all bricks return.
#include <concord/rl/environments/minatar.h>

#include <algorithm>

namespace concord::rl {
namespace {

struct Breakout {
  struct State {
    Board bricks;
    std::int32_t ball_x, ball_y, dx, dy, trail_x, trail_y, paddle;
    std::uint8_t struck;  // a brick was hit in the step before: the next one is passed through
  };
  static constexpr const char* kName = "breakout";
  inline static const std::vector<std::int32_t> kMinimal = {kNoop, kLeft, kRight};
  static constexpr std::array<Colour, 4> kColours = {kBlue, kOrange, kYellow, kRed};
  static constexpr Board kBricks = board_row(1) | board_row(2) | board_row(3);

  void reset(State& s, Draws& draws) const {
    const bool right = draws.below(2) == 1;  // where it starts; it moves to the other side
    s = {.bricks = kBricks,
         .ball_x = right ? kSide - 1 : 0,
         .ball_y = 3,
         .dx = right ? -1 : 1,
         .dy = 1,
         .trail_x = right ? kSide - 1 : 0,
         .trail_y = 3,
         .paddle = 4};
  }

  Outcome step(State& s, int action, Draws&) const {
    s.paddle = std::clamp(s.paddle + (action == kRight) - (action == kLeft), 0, kSide - 1);
    s.trail_x = s.ball_x;
    s.trail_y = s.ball_y;
    int x = s.ball_x + s.dx, y = s.ball_y + s.dy;
    if (x < 0 || x >= kSide) {
      x = s.ball_x;
      s.dx = -s.dx;
    }
    Outcome outcome;
    bool hits = false;
    if (y < 0) {
      y = 0;
      s.dy = 1;
    } else if (s.bricks & cell_bit(x, y)) {
      hits = true;
      if (!s.struck) {
        outcome.reward = 1;
        s.bricks &= ~cell_bit(x, y);
        y = s.ball_y;
        s.dy = -s.dy;
      }
    } else if (y == kSide - 1) {
      if (s.bricks == 0) s.bricks = kBricks;
      if (s.ball_x == s.paddle) {
        s.dy = -1;
        y = s.ball_y;
      } else if (x == s.paddle) {
        s.dx = -s.dx;
        s.dy = -1;
        y = s.ball_y;
      } else {
        outcome.terminated = true;
      }
    }
    s.struck = hits;
    s.ball_x = x;
    s.ball_y = y;
    return outcome;
  }

  bool valid(const State& s) const {
    return (s.bricks & ~kBricks) == 0 && within(0, kSide - 1, s.ball_x, s.trail_x, s.paddle) &&
           within(0, kSide - 2, s.ball_y, s.trail_y) && s.dx * s.dx == 1 && s.dy * s.dy == 1;
  }

  void observe(const State& s, std::uint8_t* out) const {
    std::memset(out, 0, 3 * kCells);
    out[kSide * (kSide - 1) + s.paddle] = 1;
    out[kCells + kSide * s.ball_y + s.ball_x] = 1;
    out[2 * kCells + kSide * s.trail_y + s.trail_x] = 1;
    write_plane(s.bricks, out + 3 * kCells);
  }
};

}  // namespace

EnvPtr make_breakout(multitask::Options& options, const EnvCount& count) {
  return make_minatar(Breakout{}, options, count);
}

}  // namespace concord::rl
