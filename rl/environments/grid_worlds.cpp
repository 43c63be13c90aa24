// The grid worlds of worlds.h by name.
#include <concord/rl/environments/environments.h>
#include <concord/rl/worlds.h>

namespace concord::rl {

EnvPtr make_random_world(multitask::Options& o, const EnvCount& count) {
  RandomWorldOptions world;
  world.side = o.integer("side", world.side, 2, 100);
  world.walls = o.number("walls", world.walls, 0, 0.9);
  world.goals = {static_cast<float>(o.number("small_goal", world.goals[0], -1e6, 1e6)),
                 static_cast<float>(o.number("large_goal", world.goals[1], -1e6, 1e6))};
  world.bonus_probability = o.number("bonus_probability", world.bonus_probability, 0, 1);
  world.bonus = static_cast<float>(o.number("bonus", world.bonus, -1e6, 1e6));
  world.seed = static_cast<std::uint64_t>(o.integer("world", 0, 0, 1 << 30));
  Walking walking;
  walking.noise = o.number("noise", 0.1, 0, 1);
  walking.end = o.number("end", 0.01, 0, 1);
  walking.view = o.integer("view", 4, 0, 50);
  walking.max_steps = o.integer("max_steps", 0, 0, 1000000);
  return make_mdp_env(make_mdp("random_world", random_world(world), walking), count);
}

EnvPtr make_two_rooms(multitask::Options& o, const EnvCount& count) {
  const std::vector<index_t> goals = two_rooms_goals();
  const int goal = o.integer("goal", 0, 0, static_cast<int>(goals.size()) - 1);
  return make_mdp_env(two_rooms(goals[goal]), count);
}

EnvPtr make_four_rooms(multitask::Options& o, const EnvCount& count) {
  const World& world = four_rooms_world();
  std::vector<index_t> free;
  for (index_t c = 0; c < world.cells(); ++c)
    if (!world.wall[c]) free.push_back(c);
  // Default: the far corner of the lower right room.
  const int last = static_cast<int>(free.size()) - 1;
  FourRoomsOptions rooms{.goal = free[o.integer("goal", last, 0, last)]};
  rooms.noise = o.number("noise", rooms.noise, 0, 1);
  rooms.step = static_cast<float>(o.number("step", rooms.step, -1e6, 1e6));
  rooms.max_steps = o.integer("max_steps", static_cast<int>(rooms.max_steps), 0, 1000000);
  rooms.goal_seen = o.integer("goal_seen", 0, 0, 1) == 1;
  return make_mdp_env(four_rooms(rooms), count);
}

EnvPtr make_zeng_chain(multitask::Options& o, const EnvCount& count) {
  return make_mdp_env(zeng_chain(o.integer("task", 0, 0, 1)), count);
}

EnvPtr make_zeng_drift_chain(multitask::Options& o, const EnvCount& count) {
  const int task = o.integer("task", 0, 0, 1);
  return make_mdp_env(zeng_drift_chain(task, o.number("p", 0.7, 0.500001, 1)), count);
}

EnvPtr make_zeng_map(multitask::Options& o, const EnvCount& count) {
  const char map = o.choice("map", {"a", "b", "c", "d", "e"})[0];
  const int environment = o.integer("environment", 0, 0, zeng_environments(map) - 1);
  Walking walking;
  walking.max_steps = o.integer("max_steps", 200, 0, 1000000);
  return make_mdp_env(make_mdp("zeng_map", zeng_world(map, environment), walking), count);
}

}  // namespace concord::rl
