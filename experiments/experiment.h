// Experiment: what `concord run NAME` knows about one study. One file per study makes one of these;
// registry.cpp lists them.
#pragma once

#include <concord/experiments/progress.h>
#include <concord/experiments/report.h>
#include <concord/experiments/run_folder.h>
#include <concord/experiments/settings.h>
#include <concord/tensor/comm.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace concord::experiments {

struct Trained;  // trained.h

/// What a running experiment is given.
struct Job {
  const Settings& settings;
  const RunFolder& folder;
  Progress& progress;
  bool profile = false;  ///< write into the folder where the time of the first steps goes
  Comm* comm = nullptr;  ///< set for experiments with `ranks`; only its rank 0 writes files
};

struct Experiment {
  std::string name;
  std::string help;    ///< one line
  std::string source;  ///< the paper

  /// The table of settings, at its defaults.
  Settings (*settings)();

  /// Runs, or continues from the folder's checkpoints when there are any: the metrics must come out
  /// bitwise as without the interruption. Looks at stop_requested() between steps; when that is
  /// true, writes a checkpoint and returns false. True: finished.
  bool (*run)(Job&);

  /// The report on one run, or the comparison of several. The tables of its first section are shown
  /// on the terminal, too. Plots go into the folder `plots`.
  Report (*report)(std::span<const RunFolder> runs, const std::filesystem::path& plots);

  /// The finished parts' checkpoints, measured again on a part of the data: train, validation or
  /// test. Throws ValueError for another part.
  Table (*evaluate)(const RunFolder& run, const std::string& part);

  /// A policy of the run, by name or (empty) the first one, in games with this seed: for `concord
  /// watch`. Null: the experiment's policies do not play. Throws ValueError for an unknown name.
  Trained (*trained)(const RunFolder& run, const std::string& which, std::uint64_t seed) = nullptr;

  bool ranks = false;  ///< may be started by mpirun, on several ranks that work together
};

/// All of them; the first is what `concord run` runs without a name.
std::span<const Experiment> experiments();

/// Throws ValueError "unknown experiment ..." with the nearest names.
const Experiment& find_experiment(std::string_view name,
                                  std::span<const Experiment> all = experiments());

}  // namespace concord::experiments
