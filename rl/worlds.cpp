#include <concord/rl/worlds.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::rl {
namespace {

constexpr int kMoves = 4;
constexpr int kDx[kMoves] = {0, 0, -1, 1}, kDy[kMoves] = {-1, 1, 0, 0};  // up, down, left, right

/// The cell that a move leads to; the same one before a wall or the edge.
index_t moved(const World& w, index_t cell, int move) {
  const int x = static_cast<int>(cell % w.width) + kDx[move];
  const int y = static_cast<int>(cell / w.width) + kDy[move];
  if (x < 0 || x >= w.width || y < 0 || y >= w.height) return cell;
  const index_t next = static_cast<index_t>(y) * w.width + x;
  return w.wall[next] ? cell : next;
}

constexpr int kTile = 10;  // pixels

Canvas scene_of(const World& w) {
  Canvas canvas(w.width * kTile, w.height * kTile, kFaint);
  for (int y = 0; y < w.height; ++y) {
    for (int x = 0; x < w.width; ++x) {
      const index_t cell = static_cast<index_t>(y) * w.width + x;
      Colour c = kPaper;
      if (w.wall[cell])
        c = kInk;
      else if (w.reward[cell] > 0)
        c = w.terminal[cell] ? kGreen : kYellow;
      else if (w.reward[cell] < 0)
        c = kRed;
      canvas.rectangle(x * kTile, y * kTile, kTile - 1, kTile - 1, c);
    }
  }
  return canvas;
}

void place(Mdp& mdp, index_t state, const World& w, index_t cell) {
  mdp.places[state] = {(static_cast<double>(cell % w.width) + 0.45) * kTile,
                       (static_cast<double>(cell / w.width) + 0.45) * kTile};
}

Tensor surroundings(const World& w, int radius) {
  const int side = 2 * radius + 1;
  const Tensor seen = Tensor::zeros({w.cells(), 3, side, side});
  float most = 0;
  for (const float r : w.reward) most = std::max(most, std::abs(r));
  float* out = seen.data<float>();
  for (index_t cell = 0; cell < w.cells(); ++cell) {
    for (int j = -radius; j <= radius; ++j) {
      for (int i = -radius; i <= radius; ++i, ++out) {
        const index_t x = cell % w.width + i, y = cell / w.width + j;
        const index_t there = y * w.width + x;
        if (x < 0 || x >= w.width || y < 0 || y >= w.height || w.wall[there]) {
          out[0] = 1;
        } else if (w.reward[there] > 0) {
          out[side * side] = w.reward[there] / most;
        } else if (w.reward[there] < 0) {
          out[2 * side * side] = -w.reward[there] / most;
        }
      }
    }
    out += 2 * side * side;
  }
  return seen;
}

const std::vector<std::string>& move_names() {
  static const std::vector<std::string> names = {"up", "down", "left", "right"};
  return names;
}

}  // namespace

World::World(int width, int height) : width(width), height(height) {
  if (width < 1 || height < 1)
    throw ValueError(fmt::format("world: {}x{} cells, expected at least 1x1", width, height));
  wall.assign(cells(), 0);
  reward.assign(cells(), 0);
  terminal.assign(cells(), 0);
}

std::vector<std::uint8_t> World::reachable(index_t from) const {
  std::vector<std::uint8_t> reached(cells(), 0);
  std::vector<index_t> open = {from};
  reached[from] = 1;
  while (!open.empty()) {
    const index_t cell = open.back();
    open.pop_back();
    for (int move = 0; move < kMoves; ++move) {
      const index_t next = moved(*this, cell, move);
      if (reached[next]) continue;
      reached[next] = 1;
      if (!terminal[next]) open.push_back(next);
    }
  }
  return reached;
}

World parse_world(std::span<const std::string_view> rows) {
  World w(rows.empty() ? 0 : static_cast<int>(rows[0].size()), static_cast<int>(rows.size()));
  for (int y = 0; y < w.height; ++y) {
    if (static_cast<int>(rows[y].size()) != w.width)
      throw ValueError(fmt::format("world: row {} has {} cells, expected {} as the first has", y,
                                   rows[y].size(), w.width));
    for (int x = 0; x < w.width; ++x) {
      const index_t cell = static_cast<index_t>(y) * w.width + x;
      const char c = rows[y][x];
      if (c != '#' && c != '.' && c != 'S')
        throw ValueError(fmt::format("world: '{}' in row {}, expected '#', '.' or 'S'", c, y));
      w.wall[cell] = c == '#';
      if (c == 'S') w.start = cell;
    }
  }
  return w;
}

Mdp make_mdp(std::string name, const World& w, const Walking& walking) {
  Mdp mdp(std::move(name), w.cells(), move_names());
  for (index_t cell = 0; cell < w.cells(); ++cell) {
    if (w.wall[cell] || w.terminal[cell]) continue;
    for (int action = 0; action < kMoves; ++action) {
      std::vector<Consequence> list = {{walking.end, static_cast<std::int32_t>(cell), 0, true}};
      for (int move = 0; move < kMoves; ++move) {
        const double p =
            (1 - walking.end) * (walking.noise / kMoves + (move == action ? 1 - walking.noise : 0));
        const index_t next = moved(w, cell, move);
        const bool entered = next != cell;
        list.push_back({p, static_cast<std::int32_t>(next),
                        walking.step + (entered ? w.reward[next] : 0),
                        entered && w.terminal[next]});
      }
      mdp.set(cell, action, std::move(list));
    }
  }
  mdp.max_steps = walking.max_steps;
  mdp.start.assign(w.cells(), 0.0);
  if (walking.random_start) {
    index_t free = 0;
    for (index_t c = 0; c < w.cells(); ++c) free += !w.wall[c] && !w.terminal[c];
    for (index_t c = 0; c < w.cells(); ++c)
      if (!w.wall[c] && !w.terminal[c]) mdp.start[c] = 1.0 / static_cast<double>(free);
  } else {
    mdp.start[w.start] = 1;
  }
  if (walking.view > 0) mdp.observations = surroundings(w, walking.view);
  mdp.scene = {scene_of(w)};
  mdp.places.resize(w.cells());
  for (index_t c = 0; c < w.cells(); ++c) place(mdp, c, w, c);
  return mdp;
}

World redraw_rewards(const World& world, const RandomWorldOptions& o) {
  const Rng rng = Rng(o.seed).fork("rewards");
  std::vector<index_t> free;
  World bare = world;
  std::fill(bare.reward.begin(), bare.reward.end(), 0.0F);
  std::fill(bare.terminal.begin(), bare.terminal.end(), std::uint8_t{0});
  for (index_t c = 0; c < bare.cells(); ++c)
    if (!bare.wall[c] && c != bare.start) free.push_back(c);
  if (free.size() < o.goals.size()) {
    throw ValueError(fmt::format("random world: {} goals, expected at most the {} free cells",
                                 o.goals.size(), free.size()));
  }
  for (std::uint64_t attempt = 0; attempt < 100; ++attempt) {
    World w = bare;
    std::vector<index_t> order(free.size());
    const Rng draw = rng.fork(attempt);
    draw.fork("places").permutation(order);
    const Rng bonus = draw.fork("bonus");
    for (std::size_t k = 0; k < free.size(); ++k) {
      const index_t cell = free[order[k]];
      if (k < o.goals.size()) {
        w.reward[cell] = o.goals[k];
        w.terminal[cell] = 1;
      } else if (bonus.uniform(k) < o.bonus_probability) {
        w.reward[cell] = o.bonus;
      }
    }
    const std::vector<std::uint8_t> reached = w.reachable(w.start);
    bool good = true;
    for (std::size_t k = 0; k < o.goals.size(); ++k) good = good && reached[free[order[k]]];
    if (good) return w;
  }
  throw ValueError(
      "random world: some goal lay behind walls a hundred times, expected fewer walls");
}

World random_world(const RandomWorldOptions& o) {
  if (o.side < 2 || !(o.walls >= 0 && o.walls < 1) ||
      !(o.bonus_probability >= 0 && o.bonus_probability <= 1)) {
    throw ValueError(
        fmt::format("random world: side {}, walls {}, bonus_probability {}, expected a side of at "
                    "least 2, walls "
                    "in [0, 1), a probability",
                    o.side, o.walls, o.bonus_probability));
  }
  const Rng rng = Rng(o.seed).fork("walls");
  for (std::uint64_t attempt = 0; attempt < 100; ++attempt) {
    World w(o.side, o.side);
    w.start = w.cells() / 2;
    if (o.side % 2 == 0) w.start += o.side / 2;
    const Rng draw = rng.fork(attempt);
    for (index_t c = 0; c < w.cells(); ++c)
      w.wall[c] = c != w.start && draw.uniform(static_cast<std::uint64_t>(c)) < o.walls;
    // A start that is walled in is no world; elsewhere closed cells may stay.
    const std::vector<std::uint8_t> reached = w.reachable(w.start);
    const index_t open = std::count(reached.begin(), reached.end(), 1);
    const index_t free = std::count(w.wall.begin(), w.wall.end(), 0);
    if (2 * open >= free) return redraw_rewards(w, o);
  }
  throw ValueError("random world: the start was walled in a hundred times, expected fewer walls");
}

const World& two_rooms_world() {
  static const World world = [] {
    constexpr std::string_view kRows[] = {".....###.....",  //
                                          ".....###.....",  //
                                          ".............",  //
                                          ".....###.....",  //
                                          ".....###....."};
    return parse_world(kRows);
  }();
  return world;
}

std::vector<index_t> two_rooms_goals() {
  const World& w = two_rooms_world();
  std::vector<index_t> goals;
  for (index_t c = 0; c < w.cells(); ++c)
    if (c % w.width < 5 || c % w.width >= 8) goals.push_back(c);
  return goals;
}

Mdp two_rooms(index_t goal) {
  constexpr float kStep = -0.1F, kBump = -0.5F, kGoal = 1;
  World w = two_rooms_world();
  if (goal < 0 || goal >= w.cells() || w.wall[goal])
    throw ValueError(fmt::format("two_rooms: goal in cell {}, expected a free cell", goal));
  const auto state = [](index_t cell, int memory) {
    return static_cast<std::int32_t>(cell * kTwoRoomsMemories + memory);
  };
  Mdp mdp("two_rooms", w.cells() * kTwoRoomsMemories, {"stay", "up", "down", "left", "right"});
  std::fill(mdp.start.begin(), mdp.start.end(), 0.0);
  const double free = static_cast<double>(std::count(w.wall.begin(), w.wall.end(), 0));
  for (index_t cell = 0; cell < w.cells(); ++cell) {
    if (w.wall[cell]) continue;
    mdp.start[state(cell, 0)] = 1 / free;
    for (int action = 0; action < 5; ++action) {
      const index_t next = action == 0 ? cell : moved(w, cell, action - 1);
      const bool bump = action != 0 && next == cell, found = next == goal && next != cell;
      const Consequence c{1, state(next, 1 + 2 * action + bump),
                          found  ? kGoal
                          : bump ? kBump
                                 : kStep,
                          found};
      for (int memory = 0; memory < kTwoRoomsMemories; ++memory)
        mdp.set(state(cell, memory), action, {c});
    }
  }
  mdp.max_steps = 100;
  w.reward[goal] = kGoal;
  w.terminal[goal] = 1;
  mdp.scene = {scene_of(w)};
  mdp.places.resize(mdp.states());
  for (index_t s = 0; s < mdp.states(); ++s) place(mdp, s, w, s / kTwoRoomsMemories);
  return mdp;
}

const World& four_rooms_world() {
  static const World world = [] {
    constexpr std::string_view kRows[] = {
        "#############",  //
        "#.....#.....#",  //
        "#.....#.....#",  //
        "#...........#",  //
        "#.....#.....#",  //
        "#.....#.....#",  //
        "##.####.....#",  //
        "#.....###.###",  //
        "#.....#.....#",  //
        "#.....#.....#",  //
        "#...........#",  //
        "#.....#.....#",  //
        "#############",
    };
    return parse_world(kRows);
  }();
  return world;
}

std::vector<index_t> four_rooms_cells(int room) {
  struct Area {
    index_t left, top, right, bottom;
  };
  constexpr Area kRooms[] = {{1, 1, 5, 5}, {7, 1, 11, 6}, {1, 7, 5, 11}, {7, 8, 11, 11}};
  if (room < 0 || room > 3)
    throw ValueError(fmt::format("four_rooms: room {}, expected 0 to 3", room));
  const Area& area = kRooms[room];
  std::vector<index_t> cells;
  for (index_t y = area.top; y <= area.bottom; ++y)
    for (index_t x = area.left; x <= area.right; ++x)
      cells.push_back(y * four_rooms_world().width + x);
  return cells;
}

Mdp four_rooms(const FourRoomsOptions& o) {
  World world = four_rooms_world();
  if (o.goal < 0 || o.goal >= world.cells() || world.wall[o.goal])
    throw ValueError(fmt::format("four_rooms: goal in cell {}, expected a free cell", o.goal));
  world.reward[o.goal] = 1;
  world.terminal[o.goal] = 1;
  Mdp mdp =
      make_mdp("four_rooms", world,
               {.noise = o.noise, .step = o.step, .random_start = true, .max_steps = o.max_steps});
  const index_t planes = o.goal_seen ? 3 : 2;
  mdp.observations = Tensor::zeros({world.cells(), planes, world.height, world.width}, DType::u8);
  std::uint8_t* out = mdp.observations.data<std::uint8_t>();
  for (index_t c = 0; c < world.cells(); ++c, out += planes * world.cells()) {
    std::copy(world.wall.begin(), world.wall.end(), out);
    out[world.cells() + c] = 1;
    if (o.goal_seen) out[2 * world.cells() + o.goal] = 1;
  }
  return mdp;
}

namespace {

Mdp chain_of_zeng(int task) {
  if (task != 0 && task != 1)
    throw ValueError(fmt::format("zeng_chain: task {}, expected 0 or 1", task));
  Mdp mdp("zeng_chain", 5, {"left", "right"});
  mdp.start = {0, 0, 1, 0, 0};
  mdp.set(2, 0, {{1, 1}});
  mdp.set(2, 1, {{1, 3}});
  return mdp;
}

/// Into the left end (0) or the right end (4).
Consequence chain_end(int task, double probability, int end) {
  return {probability, end, (end == 0) == (task == 0) ? 1.0F : -1.0F, true};
}

}  // namespace

Mdp zeng_chain(int task) {
  Mdp mdp = chain_of_zeng(task);
  for (int action = 0; action < 2; ++action) {
    const bool left = (action == 0) != (task == 1);
    mdp.set(1, action, {left ? chain_end(task, 1, 0) : Consequence{1, 2}});
    mdp.set(3, action, {left ? Consequence{1, 2} : chain_end(task, 1, 4)});
  }
  return mdp;
}

Mdp zeng_drift_chain(int task, double p) {
  if (!(p > 0.5 && p <= 1))
    throw ValueError(fmt::format("zeng_drift_chain: p = {}, expected a value in (0.5, 1]", p));
  Mdp mdp = chain_of_zeng(task);
  mdp.name = "zeng_drift_chain";
  const double left = task == 0 ? 1 - p : p, right = 1 - left;
  for (int action = 0; action < 2; ++action) {
    mdp.set(1, action, {chain_end(task, left, 0), {1 - left, 2}});
    mdp.set(3, action, {chain_end(task, right, 4), {1 - right, 2}});
  }
  return mdp;
}

namespace {

struct Obstacle {
  std::string_view cell;
  std::string_view environments;  // the digits of those that have it; empty: all
};

/// Cells as in the figure: columns a to j, rows 0 to 9 from the top.
struct ZengMap {
  char name;
  std::string_view start;
  std::vector<std::string_view> goals;  // one per environment
  std::vector<Obstacle> obstacles;
};

const std::vector<ZengMap>& zeng_maps() {
  static const std::vector<Obstacle> kSixObstacles = {{"f0", "34"}, {"c2", "01"}, {"i5", "12"},
                                                      {"a6", "5"},  {"j6", "5"},  {"h7", "04"},
                                                      {"f8", "23"}};
  static const std::vector<std::string_view> kSixGoals = {"f8", "f4", "c7", "i1", "c4", "c9"};
  static const std::vector<ZengMap> maps = {
      {'a', "a0", {"c6", "i4", "g2", "j9"}, {{"c3", ""}, {"g6", ""}}},
      {'b',
       "a0",
       {"f2", "i7", "f7", "c7"},
       {{"c2", "03"}, {"i2", "01"}, {"e4", "123"}, {"c7", "2"}}},
      {'c',
       "a0",
       {"c7", "i7", "f7", "f2"},
       {{"c2", "03"}, {"i2", "01"}, {"e4", "12"}, {"f2", "2"}, {"f7", "3"}}},
      {'d', "a0", kSixGoals, kSixObstacles},
      {'e', "j0", kSixGoals, kSixObstacles},
  };
  return maps;
}

const ZengMap& zeng_map(char map) {
  for (const ZengMap& m : zeng_maps())
    if (m.name == map) return m;
  throw ValueError(fmt::format("zeng_world: map '{}', expected a to e", map));
}

}  // namespace

int zeng_environments(char map) { return static_cast<int>(zeng_map(map).goals.size()); }

World zeng_world(char map, int environment) {
  const ZengMap& m = zeng_map(map);
  if (environment < 0 || environment >= zeng_environments(map)) {
    throw ValueError(fmt::format("zeng_world: environment {}, expected 0 to {}", environment,
                                 zeng_environments(map) - 1));
  }
  World w(10, 10);
  const auto cell = [](std::string_view name) { return (name[1] - '0') * 10 + (name[0] - 'a'); };
  const auto put = [&](std::string_view name, float reward) {
    w.reward[cell(name)] = reward;
    w.terminal[cell(name)] = 1;
  };
  w.start = cell(m.start);
  put(m.goals[environment], 1);
  for (const Obstacle& o : m.obstacles) {
    if (o.environments.empty() ||
        o.environments.find(static_cast<char>('0' + environment)) != std::string_view::npos)
      put(o.cell, -1);
  }
  return w;
}

}  // namespace concord::rl
