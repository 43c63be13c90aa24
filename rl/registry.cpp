#include <concord/rl/environments/environments.h>
#include <concord/rl/registry.h>

namespace concord::rl {
namespace {

// clang-format off
constexpr EnvEntry kEnvironments[] = {
    // Small and classic
    {"cartpole", "balance a pole on a cart, left or right", "Barto, Sutton, Anderson 1983; Gymnasium's CartPole-v1", make_cartpole},
    {"pendulum", "swing a pendulum up and keep it there; continuous torque", "Gymnasium's Pendulum-v1", make_pendulum},
    {"catch", "move a paddle under a falling ball", "Mnih et al. 2014; bsuite (Osband et al. 2020)", make_catch},
    {"deep_sea", "dive right in every row, against a cost, to find the treasure", "Osband et al. 2019; bsuite", make_deep_sea},
    {"chain", "small rewards at the start of a slippery chain, large ones at its end", "Strens 2000", make_chain},
    // MinAtar
    {"breakout", "MinAtar's Breakout: 4 planes, 6 actions", "Young and Tian 2019, arXiv 1903.03176", make_breakout},
    {"asterix", "MinAtar's Asterix: 4 planes, 6 actions", "Young and Tian 2019, arXiv 1903.03176", make_asterix},
    {"freeway", "MinAtar's Freeway: 7 planes, 6 actions", "Young and Tian 2019, arXiv 1903.03176", make_freeway},
    {"seaquest", "MinAtar's Seaquest: 10 planes, 6 actions", "Young and Tian 2019, arXiv 1903.03176", make_seaquest},
    {"space_invaders", "MinAtar's Space Invaders: 6 planes, 6 actions", "Young and Tian 2019, arXiv 1903.03176", make_space_invaders},
    // Minigrid
    {"minigrid_empty", "walk to the goal in an empty room", "Chevalier-Boisvert et al. 2023 (Minigrid)", make_minigrid_empty},
    {"minigrid_four_rooms", "find the goal in four rooms, 100 steps", "Chevalier-Boisvert et al. 2023 (Minigrid)", make_minigrid_four_rooms},
    {"minigrid_door_key", "fetch the key, open the door, reach the goal", "Chevalier-Boisvert et al. 2023 (Minigrid)", make_minigrid_door_key},
    {"minigrid_simple_crossing", "through gaps in walls to the goal", "Chevalier-Boisvert et al. 2023 (Minigrid)", make_minigrid_simple_crossing},
    {"minigrid_lava_gap", "through a gap in a stream of lava", "Chevalier-Boisvert et al. 2023 (Minigrid)", make_minigrid_lava_gap},
    {"minigrid_multi_room", "through doors from room to room", "Chevalier-Boisvert et al. 2023 (Minigrid)", make_minigrid_multi_room},
    // Grid worlds of the papers; worlds.h has them as exact MDPs
    {"random_world", "walls, two terminal rewards, noise", "Du et al. 2018, arXiv 1812.02224; Czarnecki et al. 2019", make_random_world},
    {"two_rooms", "two rooms and a corridor; a task is a goal cell", "Teh et al. 2017, arXiv 1707.04175 (Distral)", make_two_rooms},
    {"four_rooms", "four rooms seen as planes of pixels; a task is a goal cell", "Sutton, Precup, Singh 1999", make_four_rooms},
    {"zeng_chain", "five states; the tasks' rewards and two actions are opposite", "Zeng et al. 2021, arXiv 2006.04338", make_zeng_chain},
    {"zeng_drift_chain", "five states, two of them drift whatever is done", "Zeng et al. 2021, arXiv 2006.04338", make_zeng_drift_chain},
    {"zeng_map", "10x10 cells with a goal and obstacles per environment", "Zeng et al. 2021, arXiv 2006.04338, figure 2", make_zeng_map},
};
// clang-format on

}  // namespace

std::span<const EnvEntry> environments() { return kEnvironments; }

const EnvEntry& find_environment(std::string_view name) {
  std::vector<std::string> names;
  for (const EnvEntry& entry : kEnvironments) {
    if (entry.name == name) return entry;
    names.emplace_back(entry.name);
  }
  throw_unknown("environment", name, names);
}

EnvPtr make_env(std::string_view name, const EnvCount& count, const OptionMap& options) {
  const EnvEntry& entry = find_environment(name);
  Options read(std::string(entry.name), options);
  EnvPtr env = entry.make(read, count);
  read.finish();
  return env;
}

std::vector<std::pair<std::string, std::string>> default_options(std::string_view name) {
  const EnvEntry& entry = find_environment(name);
  Options read{std::string(entry.name)};
  entry.make(read, {});
  return read.read();
}

}  // namespace concord::rl
