// Where the time of an agent goes.
#pragma once

#include <array>
#include <chrono>

namespace concord::rl {

enum class Phase {
  environment,  ///< stepping the environments
  acting,       ///< choosing actions
  forward,      ///< recording the losses
  backward,     ///< the sweep and the multitask method
  optimizer,    ///< clipping and the update
  other,        ///< returns, batches, replay
  count
};

class Stopwatch {
 public:
  /// The time since the last call belongs to `phase`.
  void lap(Phase phase) {
    const auto now = Clock::now();
    seconds_[static_cast<std::size_t>(phase)] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  /// So much of what was counted for one phase belongs to another.
  void move(double seconds, Phase from, Phase to) {
    seconds_[static_cast<std::size_t>(from)] -= seconds;
    seconds_[static_cast<std::size_t>(to)] += seconds;
  }
  /// The time since the last call belongs to nobody.
  void start() { last_ = Clock::now(); }
  double seconds(Phase phase) const { return seconds_[static_cast<std::size_t>(phase)]; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
  std::array<double, static_cast<std::size_t>(Phase::count)> seconds_{};
};

}  // namespace concord::rl
