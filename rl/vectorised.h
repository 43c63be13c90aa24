// From the rules of one environment to N of them. A game is a plain struct with the rules as const
// functions on a plain State:
//
//   struct Game {
//     struct State { ... };                                      // trivially copyable, all of it
//     using Observed = float;                                    // float, uint8_t or int64_t
//     using Action = int;                                        // int, or const float*
//     EnvSpec spec() const;
//     void reset(State& s, Draws& draws) const;                  // a new episode
//     Outcome step(State& s, Action a, Draws& draws) const;
//     void observe(const State& s, Observed* out) const;         // writes every element
//     Canvas draw(const State& s) const;
//     bool valid(const State& s) const;                          // in the midst of an episode
//   };
//
// valid() judges bytes from a file: the other functions may trust what it lets pass. A game whose
// State indexes nothing needs none. Flags in a State are uint8_t, since a bool's byte may only be 0
// or 1.
//
// An episode's time limit (EnvSpec::max_steps), automatic reset, threads, random streams and
// checkpoints are added here.
#pragma once

#include <concord/rl/draws.h>
#include <concord/rl/environment.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <type_traits>

namespace concord::rl {

struct Outcome {
  float reward = 0;
  bool terminated = false;
};

/// How many environments, and the seed of their streams.
struct EnvCount {
  index_t size = 1;
  std::uint64_t seed = 0;
};

/// low <= x <= high for each x.
template <class... T>
constexpr bool within(std::int64_t low, std::int64_t high, T... x) {
  return ((x >= low && x <= high) && ...);
}

template <class Game>
class Vectorised final : public VecEnv {
 public:
  Vectorised(Game game, const EnvCount& count)
      : VecEnv(game.spec(), count.size),
        game_(std::move(game)),
        memory_(Tensor::zeros({count.size, sizeof(Slot)}, DType::u8)),
        layout_(Tensor::from(std::span<const std::int64_t>(layout()), {3})),
        slots_(reinterpret_cast<Slot*>(memory_.raw())),
        width_(spec_.observation.shape.numel()) {
    const Rng streams = Rng(count.seed).fork("environment");
    for (index_t i = 0; i < size_; ++i) {
      slots_[i].draws = Draws(streams.fork(static_cast<std::uint64_t>(i)));
      slots_[i].elapsed = -1;
    }
  }

  std::map<std::string, Tensor> state() const override {
    return {{"environments", memory_}, {"layout", layout_}};
  }
  void check_state() const override {
    const std::array<std::int64_t, 3> own = layout();
    if (!std::equal(own.begin(), own.end(), layout_.data<std::int64_t>()))
      throw FileError(spec_.name + ": the saved environments are of another kind or version");
    for (index_t i = 0; i < size_; ++i) {
      bool valid = (slots_[i].elapsed >= 0) == started() && slots_[i].elapsed >= -1;
      if constexpr (requires { game_.valid(slots_[i].state); })
        valid = valid && (!started() || game_.valid(slots_[i].state));
      if (!valid)
        throw FileError(spec_.name + ": environment " + std::to_string(i) +
                        " of those saved has values out of range");
    }
  }
  bool started() const override { return slots_[0].elapsed >= 0; }
  Canvas render(index_t i) const override { return game_.draw(slots_[i].state); }

 private:
  using Observed = typename Game::Observed;
  using Action = typename Game::Action;
  using State = typename Game::State;
  /// All that changes, of one environment: neighbours in memory, since a step touches all of it.
  struct Slot {
    Draws draws;
    index_t elapsed;  // steps of this episode; -1: never reset
    State state;
  };
  static_assert(std::is_trivially_copyable_v<Slot> && alignof(Slot) <= 64);

  /// What the bytes of memory_ mean. The number goes up when a game's State keeps its size but not
  /// its meaning.
  std::array<std::int64_t, 3> layout() const {
    constexpr std::int64_t kVersion = 1;
    const std::uint64_t kind = Rng().fork(spec_.name).stream();
    return {static_cast<std::int64_t>(kind), kVersion, sizeof(Slot)};
  }

  /// Below this many environments a step is over before other threads have woken up.
  static constexpr index_t kParallelSize = 512;

  void begin(Slot& slot, Observed* observation) const {
    slot.elapsed = 0;
    game_.reset(slot.state, slot.draws);
    game_.observe(slot.state, observation);
  }

  void do_reset(const Tensor& observation) override {
    Observed* out = observation.data<Observed>();
    for (index_t i = 0; i < size_; ++i) begin(slots_[i], out + i * width_);
  }

  void do_observe(const Tensor& observation) const override {
    Observed* out = observation.data<Observed>();
    for (index_t i = 0; i < size_; ++i) game_.observe(slots_[i].state, out + i * width_);
  }

  void do_step(const Tensor& actions, const StepBuffers& out) override {
    if constexpr (std::is_same_v<Action, int>) {
      const std::int64_t* chosen = actions.data<std::int64_t>();
      step_all([=](index_t i) { return static_cast<int>(chosen[i]); }, out);
    } else {
      const float* chosen = actions.data<float>();
      step_all([=, d = spec_.action.dimensions](index_t i) { return chosen + i * d; }, out);
    }
  }

  template <class ActionOf>
  void step_all(ActionOf action, const StepBuffers& out) {
    Observed* observation = out.observation.data<Observed>();
    Observed* last = out.final_observation.data<Observed>();
    float* reward = out.reward.data<float>();
    std::uint8_t* terminated = out.terminated.data<std::uint8_t>();
    std::uint8_t* truncated = out.truncated.data<std::uint8_t>();
    const index_t limit = spec_.max_steps > 0 ? spec_.max_steps : INT64_MAX;
    const auto step_one = [&](index_t i) {
      Slot& slot = slots_[i];
      const Outcome outcome = game_.step(slot.state, action(i), slot.draws);
      reward[i] = outcome.reward;
      terminated[i] = outcome.terminated;
      truncated[i] = !outcome.terminated && ++slot.elapsed >= limit;
      if (terminated[i] | truncated[i]) {
        game_.observe(slot.state, last + i * width_);
        begin(slot, observation + i * width_);
      } else {
        game_.observe(slot.state, observation + i * width_);
      }
    };
    if (size_ < kParallelSize) {  // a team of one thread costs a microsecond
      for (index_t i = 0; i < size_; ++i) step_one(i);
      return;
    }
#pragma omp parallel for schedule(static)
    for (index_t i = 0; i < size_; ++i) step_one(i);
  }

  Game game_;
  Tensor memory_, layout_;
  Slot* slots_;
  index_t width_;
};

template <class Game>
EnvPtr vectorise(Game game, const EnvCount& count) {
  return std::make_unique<Vectorised<Game>>(std::move(game), count);
}

}  // namespace concord::rl
