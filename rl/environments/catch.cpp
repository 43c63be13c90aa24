// Catch (Mnih, Heess, Graves, Kavukcuoglu, "Recurrent models of visual attention", 2014; as in
// bsuite, Osband et al. 2020): a ball falls one row per step from a random column of the top row; a
// paddle on the bottom row, which starts in the middle, moves by one column. The episode ends when
// the ball arrives: +1 if the paddle is there, else -1. Observation: one plane, 1 at ball and
// paddle.
#include <concord/rl/environments/environments.h>

#include <algorithm>

namespace concord::rl {
namespace {

struct Catch {
  struct State {
    std::int32_t row, column, paddle;
  };
  using Observed = std::uint8_t;
  using Action = int;

  int rows, columns;

  EnvSpec spec() const {
    return {
        "catch", {DType::u8, {1, rows, columns}}, {.count = 3, .names = {"left", "noop", "right"}}};
  }

  void reset(State& s, Draws& draws) const { s = {0, draws.below(columns), columns / 2}; }

  Outcome step(State& s, Action action, Draws&) const {
    s.paddle = std::clamp(s.paddle + action - 1, 0, columns - 1);
    ++s.row;
    if (s.row < rows - 1) return {};
    return {s.paddle == s.column ? 1.0F : -1.0F, true};
  }

  bool valid(const State& s) const {
    return within(0, rows - 2, s.row) && within(0, columns - 1, s.column, s.paddle);
  }

  void observe(const State& s, Observed* out) const {
    std::fill(out, out + rows * columns, Observed{0});
    out[s.row * columns + s.column] = 1;
    out[(rows - 1) * columns + s.paddle] = 1;
  }

  Canvas draw(const State& s) const {
    constexpr int kCell = 8;
    Canvas canvas(columns * kCell, rows * kCell);
    canvas.rectangle(s.paddle * kCell, (rows - 1) * kCell + 3, kCell, kCell - 3, kBlue);
    canvas.disc((s.column + 0.5) * kCell, (s.row + 0.5) * kCell, 3.2, kOrange);
    return canvas;
  }
};

}  // namespace

EnvPtr make_catch(multitask::Options& options, const EnvCount& count) {
  return vectorise(
      Catch{options.integer("rows", 10, 2, 100), options.integer("columns", 5, 1, 100)}, count);
}

}  // namespace concord::rl
