// Grid worlds as exact MDPs: the generator of random worlds, and those of the papers. A state is a
// cell, counted row by row from the top left; walls are states that nothing leads to.
#pragma once

#include <concord/rl/mdp.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace concord::rl {

/// What lies where. All vectors have one entry per cell.
struct World {
  int width = 0, height = 0;
  std::vector<std::uint8_t> wall;
  std::vector<float> reward;           ///< for entering the cell
  std::vector<std::uint8_t> terminal;  ///< entering the cell ends the episode
  index_t start = 0;                   ///< a cell

  World(int width, int height);  ///< free cells, no rewards, start at the top left
  index_t cells() const { return static_cast<index_t>(width) * height; }
  /// Cells that can be walked to from `from` without entering a terminal cell on the way (which
  /// count as reached themselves).
  std::vector<std::uint8_t> reachable(index_t from) const;
};

/// '#' wall, '.' free, 'S' start; all rows equally long. Throws ValueError otherwise.
World parse_world(std::span<const std::string_view> rows);

/// How the agent moves in a World: up, down, left, right; walls and the edge leave it where it is.
struct Walking {
  double noise = 0;  ///< with this probability the move is drawn uniformly from all four
  double end = 0;    ///< probability per step that the episode ends on the spot, without reward
  float step = 0;    ///< paid for every step on top, except when the episode ends on the spot
  bool random_start = false;  ///< in any free cell that is not terminal, else in World::start
  index_t max_steps = 0;
  /// 0: the number of the cell is seen. r > 0: f32 [3, 2r+1, 2r+1], the surroundings: walls (and
  /// all beyond the edge), positive rewards and negative rewards, these divided by the largest
  /// |reward| of the world.
  int view = 0;
};

Mdp make_mdp(std::string name, const World& world, const Walking& walking);

/// The family of Du et al. (1812.02224, section 4.3) and Czarnecki et al. ("Distilling policy
/// distillation", 2019, section 5): walls and rewards strewn over a square.
struct RandomWorldOptions {
  int side = 15;
  double walls = 0.1;                  ///< probability of each cell other than the start
  std::vector<float> goals = {5, 10};  ///< one terminal cell each
  double bonus_probability = 0;        ///< of each other free cell, ...
  float bonus = 1;                     ///< ... to give this reward whenever it is entered
  std::uint64_t seed = 0;
};

/// Start in the centre. Worlds are drawn until every goal can be reached. Throws ValueError for
/// options out of range, or when a hundred worlds had goals behind walls.
World random_world(const RandomWorldOptions& options);
/// The same walls and start with other rewards, drawn with options.seed; for another task in the
/// same world.
World redraw_rewards(const World& world, const RandomWorldOptions& options);

/// The two rooms of Distral (Teh et al. 1707.04175, section 4.1): 5x5 each, joined by a corridor of
/// three cells. Five actions: stay, up, down, left, right. Each step costs 0.1, a step into a wall
/// 0.5 in all; the goal gives 1 in all and ends the episode. The state is the cell, the previous
/// action and the previous reward, which is -0.1 or -0.5:
///   state = cell * 11 + memory;  memory 0 at the start, else 1 + 2 * action + (hit a wall).
/// A task is a goal. Episodes start in any cell, with memory 0.
inline constexpr int kTwoRoomsWidth = 13, kTwoRoomsHeight = 5, kTwoRoomsMemories = 11;
const World& two_rooms_world();
/// The cells outside the corridor: where goals lie.
std::vector<index_t> two_rooms_goals();
Mdp two_rooms(index_t goal);

/// The four rooms of Sutton, Precup, Singh ("Between MDPs and semi-MDPs", 1999, figure 2): 104 free
/// cells, 25, 30, 25 and 20 in the rooms (upper left, upper right, lower left, lower right) and the
/// four hallways between them; the outer wall is part of the 13x13 cells.
const World& four_rooms_world();
/// The cells of room 0 to 3 in the order above, without the hallways.
std::vector<index_t> four_rooms_cells(int room);

struct FourRoomsOptions {
  index_t goal;             ///< a free cell; entering it pays 1 and ends the episode
  double noise = 0;         ///< as in Walking; the paper's moves fail with 1/3: 4/9 here
  float step = 0;           ///< paid for every step; the paper has 0
  index_t max_steps = 100;  ///< the paper has no limit
  bool goal_seen = false;
};
/// Starts in any other free cell. Observations u8 [2 or 3, 13, 13]: walls, the agent and, with
/// `goal_seen`, the goal. Throws ValueError for a goal in a wall.
Mdp four_rooms(const FourRoomsOptions& options);

/// Zeng et al. (2006.04338, section 3): five states in a row, the outer two terminal, start in the
/// middle, actions left and right. Task 0 pays 1 at the left end and -1 at the right end, task 1
/// the opposite, with the actions' effect reversed in the second and fourth state.
Mdp zeng_chain(int task);
/// Their second example: the second and fourth state ignore the action. Task 0 leaves them to the
/// left end and to the right end with probability 1-p and p, and else to the middle; task 1 with p
/// and 1-p.
Mdp zeng_drift_chain(int task, double p);

/// Their grid worlds (section 5, figure 2): maps 'a' to 'e' of 10x10 cells with 4 or 6
/// environments; 1 at the goal, -1 at an obstacle, both end the episode.
int zeng_environments(char map);
World zeng_world(char map, int environment);

}  // namespace concord::rl
