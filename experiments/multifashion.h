// The main job: multitask methods compared on Multi-Fashion, two items of clothing in one image.
#pragma once

#include <concord/experiments/experiment.h>
#include <concord/experiments/grid.h>

namespace concord::experiments {

/// Construction of the images: data/multi_fashion.h. Network: a trunk shared by both tasks (LeNet,
/// as Sener and Koltun, NeurIPS 2018) and a linear head each. Arms: each task alone, and the
/// methods. Arms with the same seed start from the same trunk and see the same batches.
///
/// An arm whose grid (setting `grid`) has several points trains each of them with each seed; the
/// point with the best validation accuracy after the last epoch, averaged over tasks and seeds, is
/// its result, and only that one meets the test part. The arm `constant` brings a grid of weights
/// of its own: 0.1,0.9 to 0.9,0.1.
Experiment multifashion();

// What running and reporting share.

inline constexpr const char* kLeftAlone = "left_alone";
inline constexpr const char* kRightAlone = "right_alone";
inline const std::vector<std::string> kMultiFashionTasks{"left", "right"};

Settings multifashion_settings();

/// What an arm tries; a single empty point as a rule. Throws ValueError for a grid over something
/// that is no setting of an arm.
std::vector<GridPoint> trials_of(const Settings& settings, const std::string& arm);

/// The trial of an arm that met the test part; -1 when none did, yet or because each diverged.
int chosen_trial(const CsvTable& metrics, const std::string& arm);

Report multifashion_report(std::span<const RunFolder> runs, const std::filesystem::path& plots);

}  // namespace concord::experiments
