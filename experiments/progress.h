// Progress: what runs, how fast, how long still; and the wish to stop (Ctrl-C), which the training
// loop looks at between steps.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace concord::experiments {

/// On a terminal one line that is redrawn, at most ten times a second; elsewhere (a file, CI) a
/// line every half minute. All of it goes to stderr: stdout is for results.
class Progress {
 public:
  enum class Style { terminal, lines, quiet };

  /// terminal or lines as `out` is, or quiet.
  explicit Progress(bool quiet = false, std::FILE* out = stderr);
  Progress(Style style, std::FILE* out, std::chrono::milliseconds between_lines);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// The whole work, in `unit`s ("images"); `done` of them were done in an earlier part of the run
  /// and do not count for the rate.
  void begin(std::int64_t total, std::int64_t done = 0, std::string_view unit = "images");
  /// The part being worked on: "pcgrad, seed 2 of 2".
  void part(std::string text);
  /// What is known now: "left 87.1 %  right 85.0 %".
  void note(std::string text);
  void advance(std::int64_t units);
  /// A line that stays, e.g. the result of a part. Not when quiet.
  void line(std::string_view text);
  /// Takes the redrawn line away.
  void end();

  double units_per_second() const;
  /// "pcgrad, seed 2 of 2   41 %   12,345 images/s   1:05 left   left 87.1 %".
  std::string status() const;

 private:
  using Clock = std::chrono::steady_clock;

  void draw(bool at_once);

  Style style_;
  std::FILE* out_;
  std::chrono::milliseconds between_;
  std::string unit_, part_, note_;
  std::int64_t total_ = 0, done_ = 0, done_before_ = 0;
  Clock::time_point started_, drawn_;
  bool on_screen_ = false;
};

/// From here to the end of the object's life, Ctrl-C (SIGINT) and SIGTERM only set a flag; a second
/// one ends the program at once.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
};

/// True once a signal came: write a checkpoint and return.
bool stop_requested();

/// "0:07", "1:05:09".
std::string duration(double seconds);
/// "12,345".
std::string with_commas(std::int64_t n);

}  // namespace concord::experiments
