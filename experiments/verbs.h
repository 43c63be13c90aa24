// The verbs of the command line, one function each; main.cpp only parses. Results go to stdout,
// words about what happens to stderr. All throw the errors of tensor/check.h; the number returned
// is the exit status of the program.
#pragma once

#include <concord/experiments/experiment.h>
#include <concord/tensor/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace concord::experiments {

/// Exit status of a run that was stopped by a signal and can be resumed, as shells have it for
/// Ctrl-C.
inline constexpr int kStopped = 130;

/// How the user calls the program, for texts that name a command to type.
using Program = std::string;

struct RunOptions {
  std::string experiment;                ///< empty: the first of the list
  std::vector<std::string> assignments;  ///< name=value
  bool full = false;
  std::filesystem::path out = "runs";
  int threads = 0;       ///< 0: as info.h chooses
  bool profile = false;  ///< profile.txt and trace.json of the first steps go into the folder
  bool quiet = false;
};
int run(const RunOptions& options, const Program& program,
        std::span<const Experiment> all = experiments());

struct ResumeOptions {
  std::filesystem::path run;
  bool quiet = false;
};
/// With the thread count and the settings of the interrupted run.
int resume(const ResumeOptions& options, const Program& program,
           std::span<const Experiment> all = experiments());

struct ReportOptions {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path
      out;  ///< empty: the run's report.html, or comparison.html beside the first run
};
int report(const ReportOptions& options, std::span<const Experiment> all = experiments());

/// `topic`: experiments, methods, networks, data, environments, the name of an experiment (its
/// settings), or empty for all lists.
int list(const std::string& topic, std::span<const Experiment> all = experiments());

int info(int threads);

struct EvalOptions {
  std::filesystem::path run;
  std::string part = "test";  ///< of the data
};
/// Measures the finished parts of a run again, from their checkpoints.
int eval(const EvalOptions& options, std::span<const Experiment> all = experiments());

struct SummaryOptions {
  std::string network;
  std::vector<index_t> input;    ///< of one sample; empty: the network's usual one
  std::vector<index_t> outputs;  ///< one head each; empty: one of ten
  std::filesystem::path dot;     ///< where to write the graph; empty: nowhere
};
int summary(const SummaryOptions& options);

struct AggregateOptions {
  std::string method;
  std::filesystem::path jacobian;        ///< T x P, .npy or CSV without header
  std::vector<std::string> assignments;  ///< options of the method
  std::vector<double> losses;            ///< one per task, for methods that read them
  std::uint64_t seed = 0;
  bool json = false;
  bool stream = false;  ///< requests from stdin instead: aggregate_stream.h
};
int aggregate(const AggregateOptions& options);

struct PlayOptions {
  std::string environment;
  std::vector<std::string> assignments;  ///< options of the environment
  std::uint64_t seed = 0;
  bool random = false;             ///< random actions, also in a terminal
  int steps = 200;                 ///< of random actions
  std::filesystem::path png, gif;  ///< the last picture; all of them; empty: not written
};
/// In a terminal by keys, elsewhere (or with `random`) by chance.
int play(const PlayOptions& options);

struct WatchOptions {
  std::filesystem::path run;
  std::string policy;  ///< its name; empty: the first of the run
  std::uint64_t seed = 0;
  int steps = 1000;
  std::filesystem::path png, gif;  ///< as PlayOptions
};
/// A trained policy of a run at play. Throws ValueError for an experiment whose policies do not
/// play, and for an unknown policy.
int watch(const WatchOptions& options, std::span<const Experiment> all = experiments());

}  // namespace concord::experiments
