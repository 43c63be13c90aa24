// Pictures of grid worlds for reports: policies as arrows, episodes as GIFs.
#pragma once

#include <concord/experiments/plot.h>
#include <concord/rl/canvas.h>
#include <concord/rl/tabular/action_table.h>
#include <concord/rl/worlds.h>

#include <array>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace concord::experiments {

/// Probabilities of stay, up, down, left, right in a cell.
using MoveProbabilities = std::array<double, 5>;

struct PolicyPanel {
  std::string title;
  std::function<MoveProbabilities(index_t cell)> policy;
};

/// The world once per panel, below each other. In each free cell that ends nothing an arrow per
/// move, as long as the move is probable, and a dot for staying. Also written to <base>.svg.
Drawing draw_policies(const rl::World& world, std::span<const PolicyPanel> panels,
                      const std::filesystem::path& base);

/// `episodes` episodes of at most `steps` steps each, drawn one after the other, enlarged.
std::vector<rl::Canvas> play_frames(const rl::Mdp& mdp, const rl::tabular::ActionTable& policy,
                                    int episodes, int steps);
/// An animation, written to <base>.gif and shown in the report itself.
Drawing draw_episodes(std::span<const rl::Canvas> frames, int centiseconds, const std::string& text,
                      const std::filesystem::path& base);

}  // namespace concord::experiments
