// Profile: where the time of a training step goes, op by op.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <vector>

namespace concord {

/// Give it to Tape::profile. A forward op is timed from the end of the previous op (or mark()) to
/// its recording; a vector-Jacobian product exactly.
class Profile {
 public:
  enum class Phase { forward, backward };

  struct Event {
    const char* op;             ///< "conv2d"
    const std::string* module;  ///< path, or null; owned by this Profile
    Phase phase;
    double start_us, duration_us;  ///< since construction
  };

  /// Sums per (op, phase), the costliest first.
  struct Row {
    std::string op;
    Phase phase;
    int calls = 0;
    double total_us = 0;
  };

  Profile() : origin_(Clock::now()), last_(origin_) {}

  /// Time up to now belongs to no op (data loading, the optimiser).
  void mark() { last_ = Clock::now(); }
  /// An op has ended; its time began at the last mark or end.
  void end(const char* op, const std::string* module, Phase phase);

  const std::vector<Event>& events() const { return events_; }
  std::vector<Row> table() const;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point origin_, last_;
  std::vector<Event> events_;
  std::set<std::string> modules_;  // node-based: pointers stay
};

}  // namespace concord
