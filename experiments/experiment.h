// Experiment: what `concord run NAME` can run. One file each; one line in the list of experiment.cpp.
#pragma once

#include <concord/experiments/progress.h>
#include <concord/experiments/report.h>
#include <concord/experiments/run_folder.h>
#include <concord/experiments/settings.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::experiments {

/// What a run is given besides its settings.
struct Job {
  const Settings& settings;
  RunFolder& folder;
  Progress& progress;
  bool resume = false;    ///< continue from the folder's last checkpoint
  bool profile = false;   ///< record where the first steps' time goes
};

struct Experiment {
  std::string_view name;
  std::string_view help;    ///< one line
  std::string_view source;  ///< paper
  Settings (*settings)();
  /// Computes until done, or until stop_requested(): then it writes a checkpoint and returns false.
  bool (*run)(Job& job);
  /// The result as a terminal table and as a report, from what is in the folder alone.
  Table (*table)(const RunFolder& folder);
  Report (*report)(const RunFolder& folder);
};

/// All experiments; the first is what `concord run` runs.
std::span<const Experiment> experiments();
/// Throws ValueError with the nearest names.
const Experiment& find_experiment(std::string_view name);

}  // namespace concord::experiments
