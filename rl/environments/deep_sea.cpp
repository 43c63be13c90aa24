// DeepSea (Osband et al., "Deep exploration via randomized value functions", JMLR 2019, section 5;
// as in bsuite): a diver starts at the top left of a square and sinks one row per step, one column
// to the left or right. Right costs 0.01 / size; right in the last column of the last row finds the
// treasure, +1. Which of the two actions is right is drawn for each cell, once for all. Only one of
// the 2^size sequences pays. Observation: one plane, 1 at the diver.
#include <concord/rl/environments/environments.h>

#include <algorithm>

namespace concord::rl {
namespace {

struct DeepSea {
  struct State {
    std::int32_t row, column;
  };
  using Observed = std::uint8_t;
  using Action = int;

  int size;
  std::vector<std::uint8_t> right;  // per cell: the action that goes right

  EnvSpec spec() const {
    return {"deep_sea", {DType::u8, {1, size, size}}, {.count = 2, .names = {"left", "right"}}};
  }

  void reset(State& s, Draws&) const { s = {0, 0}; }

  Outcome step(State& s, Action action, Draws&) const {
    const bool goes_right = action == right[s.row * size + s.column];
    const bool treasure = goes_right && s.column == size - 1;
    const float reward = (treasure ? 1.0F : 0.0F) - (goes_right ? 0.01F / size : 0.0F);
    s.column = std::clamp(s.column + (goes_right ? 1 : -1), 0, size - 1);
    return {reward, ++s.row == size};
  }

  bool valid(const State& s) const { return within(0, size - 1, s.row, s.column); }

  void observe(const State& s, Observed* out) const {
    std::fill(out, out + size * size, Observed{0});
    if (s.row < size) out[s.row * size + s.column] = 1;  // below the last row nothing is seen
  }

  Canvas draw(const State& s) const {
    constexpr int kCell = 8;
    Canvas canvas(size * kCell, size * kCell, kBlue);
    canvas.rectangle((size - 1) * kCell + 1, (size - 1) * kCell + 1, kCell - 2, kCell - 2, kYellow);
    canvas.disc((s.column + 0.5) * kCell, (s.row + 0.5) * kCell, 3.2, kPaper);
    return canvas;
  }
};

}  // namespace

EnvPtr make_deep_sea(multitask::Options& options, const EnvCount& count) {
  const int size = options.integer("size", 10, 2, 100);
  const bool mixed = options.integer("mixed", 1, 0, 1) == 1;  // 0: action 1 is right everywhere
  const Rng rng = Rng(static_cast<std::uint64_t>(options.integer("mapping_seed", 42, 0, 1 << 30)))
                      .fork("deep_sea");
  DeepSea game{size, std::vector<std::uint8_t>(size * size, 1)};
  if (mixed)
    for (std::size_t k = 0; k < game.right.size(); ++k)
      game.right[k] = static_cast<std::uint8_t>(rng.below(k, 2));
  return vectorise(std::move(game), count);
}

}  // namespace concord::rl
