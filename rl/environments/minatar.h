// What the five MinAtar games share (Young and Tian, "MinAtar: an Atari-inspired testbed for
// thorough and reproducible reinforcement learning experiments", 1903.03176): a board of 10x10
// cells seen as planes of 0 and 1, six actions, sticky actions, a difficulty that ramps up. Written
// from a description of the rules; tests/rl/minatar_test.cpp compares them step by step with traces
// of the authors' version 1.0.15.
#pragma once

#include <concord/rl/environments/environments.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace concord::rl {

inline constexpr int kSide = 10, kCells = kSide * kSide;

/// The six actions by their usual numbers.
enum MinAtarAction { kNoop, kLeft, kUp, kRight, kDown, kFire };

/// A set of cells; bit 10 y + x is cell (x, y).
using Board = unsigned __int128;

constexpr Board cell_bit(int x, int y) { return Board{1} << (kSide * y + x); }
constexpr Board board_row(int y) { return Board{(1U << kSide) - 1} << (kSide * y); }
constexpr Board board_column(int x) {
  Board column = 0;
  for (int y = 0; y < kSide; ++y) column |= cell_bit(x, y);
  return column;
}
constexpr Board kBoard = (Board{1} << kCells) - 1;

inline int popcount(Board b) {
  return __builtin_popcountll(static_cast<std::uint64_t>(b)) +
         __builtin_popcountll(static_cast<std::uint64_t>(b >> 64));
}

/// A plane of 100 bytes, 1 where a bit is set.
inline void write_plane(Board b, std::uint8_t* out) {
  // Eight bits become eight bytes: copy them into each byte, keep bit k in byte k, make it 1.
  const auto spread = [](std::uint64_t eight) {
    const std::uint64_t kept = ((eight & 0xFF) * 0x0101010101010101U) & 0x8040201008040201U;
    return ((kept + 0x7F7F7F7F7F7F7F7FU) >> 7) & 0x0101010101010101U;
  };
  const auto low = static_cast<std::uint64_t>(b), high = static_cast<std::uint64_t>(b >> 64);
  for (int k = 0; k < 64; k += 8) {
    const std::uint64_t bytes = spread(low >> k);
    std::memcpy(out + k, &bytes, 8);
  }
  for (int k = 0; k < 32; k += 8) {
    const std::uint64_t bytes = spread(high >> k);
    std::memcpy(out + 64 + k, &bytes, 8);
  }
  const std::uint64_t bytes = spread(high >> 32);
  std::memcpy(out + 96, &bytes, 4);
}

/// From the rules of one game to what vectorised.h expects. A game has kName, kMinimal (its
/// minimal action set), kColours (one per plane), and
///   void reset(State&, Draws&) const;
///   Outcome step(State&, int action, Draws&) const;      // one of the six
///   void observe(const State&, std::uint8_t* planes) const;
///   bool valid(const State&) const;
template <class Game>
struct MinAtar {
  struct State {
    typename Game::State game;
    std::int32_t last;  // the action carried out before; lives on when an episode ends
  };
  using Observed = std::uint8_t;
  using Action = int;
  static constexpr int kPlanes = static_cast<int>(Game::kColours.size());

  Game game;
  double sticky;                      // probability of repeating the last action instead
  std::vector<std::int32_t> actions;  // agent's action -> one of the six

  EnvSpec spec() const {
    static constexpr const char* kNames[] = {"noop", "left", "up", "right", "down", "fire"};
    ActionSpec action{.count = static_cast<index_t>(actions.size())};
    for (const std::int32_t a : actions) action.names.emplace_back(kNames[a]);
    return {Game::kName, {DType::u8, {kPlanes, kSide, kSide}}, std::move(action)};
  }

  void reset(State& s, Draws& draws) const { game.reset(s.game, draws); }

  Outcome step(State& s, Action action, Draws& draws) const {
    if (!draws.chance(sticky)) s.last = actions[action];
    return game.step(s.game, s.last, draws);
  }

  bool valid(const State& s) const { return within(kNoop, kFire, s.last) && game.valid(s.game); }

  void observe(const State& s, Observed* out) const { game.observe(s.game, out); }

  Canvas draw(const State& s) const {
    constexpr int kTile = 10;
    std::array<std::uint8_t, kPlanes * kCells> planes;
    game.observe(s.game, planes.data());
    Canvas canvas(kSide * kTile, kSide * kTile, kFaint);
    for (int cell = 0; cell < kCells; ++cell) {
      Colour c = kPaper;
      for (int p = kPlanes - 1; p >= 0; --p)  // the first planes are on top
        if (planes[p * kCells + cell]) c = Game::kColours[p];
      canvas.rectangle(cell % kSide * kTile, cell / kSide * kTile, kTile - 1, kTile - 1, c);
    }
    return canvas;
  }
};

/// Options `sticky` and `minimal`; the game's own are read before.
template <class Game>
EnvPtr make_minatar(Game game, multitask::Options& options, const EnvCount& count) {
  const double sticky = options.number("sticky", 0.1, 0, 1);
  const bool minimal = options.integer("minimal", 0, 0, 1) == 1;
  std::vector<std::int32_t> actions = {kNoop, kLeft, kUp, kRight, kDown, kFire};
  if (minimal) actions = Game::kMinimal;
  return vectorise(MinAtar<Game>{std::move(game), sticky, std::move(actions)}, count);
}

}  // namespace concord::rl
