// Pictures of Zeng et al.'s grid worlds with what a policy does in them (their figure 2).
#pragma once

#include <concord/experiments/plot.h>
#include <concord/rl/decentralised.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace concord::experiments {

/// What one policy does in all environments of a map.
struct MapOutcome {
  char map;
  std::vector<index_t> path;          ///< cells of the greedy policy, until no environment goes on
  std::vector<std::uint8_t> reached;  ///< per environment: the greedy path comes to its goal
  std::vector<double> success;        ///< per environment: share of sampled episodes that do
  std::vector<double> visits;         ///< per cell: mean visits of a sampled episode, at most 1

  int solved() const;
  double mean_success() const;
};

/// `theta`: [100,4]. 200 sampled episodes per environment, of at most 1000 steps, always the same.
MapOutcome map_outcome(char map, std::span<const double> theta);

struct MapPanel {
  std::string title;
  MapOutcome outcome;
};

/// Panels three in a row, written to <base>.svg, too.
Drawing draw_maps(const std::vector<MapPanel>& panels, const std::filesystem::path& base);

}  // namespace concord::experiments
