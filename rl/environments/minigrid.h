// The rules of Minigrid (Chevalier-Boisvert et al., "Minigrid & Miniworld", NeurIPS 2023; version 3
// of the package): an agent with a direction in a grid of walls, doors, keys, lava and a goal. It
// sees the 7x7 cells in front of it, as far as walls and closed doors let it. Reward 1 - 0.9 t /
// max_steps at the goal in step t; lava ends the episode without.
#pragma once

#include <concord/rl/vectorised.h>

#include <array>
#include <functional>

namespace concord::rl {

/// What lies in a cell: kind + 16 * colour. Kinds up to 10 are the package's object numbers; a door
/// that is not open has a kind of its own here.
namespace minigrid {
enum Kind : std::uint8_t {
  kUnseen = 0,
  kEmpty = 1,
  kWall = 2,
  kFloor = 3,
  kOpenDoor = 4,
  kKey = 5,
  kBall = 6,
  kBox = 7,
  kGoal = 8,
  kLava = 9,
  kClosedDoor = 11,
  kLockedDoor = 12,
};
enum Shade : std::uint8_t {
  kRedShade,
  kGreenShade,
  kBlueShade,
  kPurpleShade,
  kYellowShade,
  kGreyShade
};
enum Move { kTurnLeft, kTurnRight, kForward, kPickUp, kDrop, kToggle, kDone };

using Cell = std::uint8_t;
constexpr Cell cell(Kind kind, Shade shade = kRedShade) {
  return static_cast<Cell>(kind | shade << 4);
}
constexpr Kind kind_of(Cell c) { return static_cast<Kind>(c & 15); }
constexpr int shade_of(Cell c) { return c >> 4; }

inline constexpr Cell kWallCell = cell(kWall, kGreyShade), kGoalCell = cell(kGoal, kGreenShade);
/// Kinds as bits: who can be walked on, carried, not looked through.
constexpr unsigned kinds(std::initializer_list<Kind> list) {
  unsigned bits = 0;
  for (const Kind k : list) bits |= 1U << k;
  return bits;
}
inline constexpr unsigned kWalkable = kinds({kEmpty, kFloor, kOpenDoor, kGoal, kLava});
inline constexpr unsigned kPortable = kinds({kKey, kBall, kBox});
inline constexpr unsigned kOpaque = kinds({kWall, kClosedDoor, kLockedDoor});
}  // namespace minigrid

struct Minigrid {
  static constexpr int kView = 7, kMostSide = 25;
  /// Around the grid lie walls as far as the view reaches, so that looking needs no bounds.
  static constexpr int kMargin = kView - 1, kPitch = kMostSide + 2 * kMargin;

  struct State {
    std::array<minigrid::Cell, kPitch * kPitch> cells;
    std::int32_t position;   // of the agent, in `cells`
    std::int32_t direction;  // 0 right, 1 down, 2 left, 3 up
    std::int32_t steps;
    minigrid::Cell carried;  // kEmpty: nothing
  };
  using Observed = std::uint8_t;
  using Action = int;

  std::string name;
  int width, height;
  index_t max_steps;
  bool sees_through_walls = false;
  /// Fills in a level: all cells are empty and the agent is nowhere (position -1) when it is
  /// called.
  std::function<void(const Minigrid&, State&, Draws&)> level = {};

  int at(int x, int y) const { return (y + kMargin) * pitch() + x + kMargin; }
  int pitch() const { return width + 2 * kMargin; }
  /// The way from a cell to its neighbour in a direction.
  int ahead(int direction) const {
    const int way = direction % 2 == 0 ? 1 : pitch();
    return direction < 2 ? way : -way;
  }

  EnvSpec spec() const {
    return {name,
            {DType::u8, {3, kView, kView}},
            {.count = 7,
             .names = {"turn left", "turn right", "forward", "pick up", "drop", "toggle", "done"}},
            max_steps};
  }

  void reset(State& s, Draws& draws) const;
  Outcome step(State& s, Action action, Draws& draws) const;
  /// Codes of object, colour and door state; row 6, column 3 is the agent's own cell, which shows
  /// what it carries. Cells out of sight are 0.
  void observe(const State& s, Observed* out) const;
  Canvas draw(const State& s) const;
  bool valid(const State& s) const;
};

}  // namespace concord::rl
