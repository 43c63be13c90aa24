#include <concord/rl/environments/minigrid.h>

#include <concord/rl/environments/environments.h>

#include <algorithm>

namespace concord::rl {

using namespace minigrid;

void Minigrid::reset(State& s, Draws& draws) const {
  const int side = pitch();
  std::fill_n(s.cells.begin(), side * (height + 2 * kMargin), kWallCell);
  for (int y = 0; y < height; ++y) std::fill_n(s.cells.begin() + at(0, y), width, cell(kEmpty));
  s.position = -1;
  s.direction = 0;
  s.steps = 0;
  s.carried = cell(kEmpty);
  level(*this, s, draws);
}

Outcome Minigrid::step(State& s, Action action, Draws&) const {
  ++s.steps;
  const int front = s.position + ahead(s.direction);
  Cell& there = s.cells[front];
  const Kind kind = kind_of(there);
  switch (action) {
    case kTurnLeft:
      s.direction = (s.direction + 3) % 4;
      break;
    case kTurnRight:
      s.direction = (s.direction + 1) % 4;
      break;
    case kForward:
      if (kWalkable >> kind & 1) s.position = front;
      if (kind == kGoal) {
        const double limit = static_cast<double>(max_steps);
        return {static_cast<float>(1 - 0.9 * (s.steps / limit)), true};
      }
      return {0, kind == kLava};
    case kPickUp:
      if ((kPortable >> kind & 1) && kind_of(s.carried) == kEmpty) std::swap(there, s.carried);
      break;
    case kDrop:
      if (kind == kEmpty) std::swap(there, s.carried);
      break;
    case kToggle: {
      const auto shade = static_cast<Shade>(shade_of(there));
      if (kind == kOpenDoor) there = cell(kClosedDoor, shade);
      if (kind == kClosedDoor) there = cell(kOpenDoor, shade);
      if (kind == kLockedDoor && s.carried == cell(kKey, shade)) there = cell(kOpenDoor, shade);
      break;
    }
    default:  // kDone does nothing
      break;
  }
  return {};
}

namespace {

/// Light spreads from the agent's cell, row by row away from it: in a row, from each lit cell that
/// is not opaque to its neighbours, first to the right, then to the left, and to the cells of the
/// next row beside and before it. Bit i of a row is column i.
struct Rows {
  std::array<unsigned, Minigrid::kView> clear, lit;
};

void spread_light(Rows& rows) {
  constexpr int kLast = Minigrid::kView - 1;
  constexpr unsigned kAll = (1U << Minigrid::kView) - 1, kNotLast = kAll >> 1, kNotFirst = kAll - 1;
  rows.lit.fill(0);
  rows.lit[kLast] = 1U << Minigrid::kView / 2;
  for (int j = kLast; j >= 0; --j) {
    const unsigned clear = rows.clear[j];
    unsigned lit = rows.lit[j], next = 0;
    // Doubling: runs of clear cells fill in three steps, 1 + 2 + 4 >= 6.
    unsigned right = lit & clear, open = clear;
    for (int k = 1; k < Minigrid::kView; k *= 2) {
      right |= open & (right << k);
      open &= open << k;
    }
    right &= kNotLast;
    lit |= right << 1;
    next |= right | right << 1;
    unsigned left = lit & clear;
    open = clear;
    for (int k = 1; k < Minigrid::kView; k *= 2) {
      left |= open & (left >> k);
      open &= open >> k;
    }
    left &= kNotFirst;
    lit |= left >> 1;
    next |= left | left >> 1;
    rows.lit[j] = lit & kAll;
    if (j > 0) rows.lit[j - 1] |= next & kAll;
  }
}

}  // namespace

void Minigrid::observe(const State& s, Observed* out) const {
  constexpr int kSeen = kView * kView;
  std::array<Cell, kSeen> seen;
  Rows rows;
  const int forward = ahead(s.direction), right = ahead((s.direction + 1) % 4);
  for (int j = 0; j < kView; ++j) {
    const Cell* from = s.cells.data() + s.position + (kView - 1 - j) * forward - kView / 2 * right;
    unsigned clear = 0;
    for (int i = 0; i < kView; ++i) {
      const Cell c = from[i * right];
      seen[j * kView + i] = c;
      clear |= (~kOpaque >> kind_of(c) & 1U) << i;
    }
    rows.clear[j] = clear;
  }
  if (sees_through_walls) {
    rows.lit.fill((1U << kView) - 1);
  } else {
    spread_light(rows);
  }
  seen[kSeen - 1 - kView / 2] = s.carried;
  std::array<std::uint8_t, kSeen> visible;
  for (int j = 0; j < kView; ++j)
    for (int i = 0; i < kView; ++i)
      visible[j * kView + i] = static_cast<std::uint8_t>(-(rows.lit[j] >> i & 1U));
  for (int k = 0; k < kSeen; ++k) {
    const std::uint8_t kind = seen[k] & 15, closed = kind > 10 ? 255 : 0;
    out[k] = visible[k] & ((closed & kOpenDoor) | (~closed & kind));
    out[kSeen + k] = visible[k] & (seen[k] >> 4);
    out[2 * kSeen + k] = visible[k] & closed & (kind - 10);
  }
}

bool Minigrid::valid(const State& s) const {
  const int x = s.position % pitch() - kMargin, y = s.position / pitch() - kMargin;
  if (!within(0, width - 1, x) || !within(0, height - 1, y) || !within(0, 3, s.direction) ||
      !within(0, max_steps, s.steps) || !((kPortable | kinds({kEmpty})) >> kind_of(s.carried) & 1))
    return false;
  // Beyond the grid lie walls, or the agent could walk where its view is not in memory.
  for (int k = 0; k < pitch() * (height + 2 * kMargin); ++k) {
    const int column = k % pitch() - kMargin, row = k / pitch() - kMargin;
    const Cell c = s.cells[k];
    if (!within(0, width - 1, column) || !within(0, height - 1, row)) {
      if (c != kWallCell) return false;
    } else if (!within(kEmpty, kLockedDoor, kind_of(c)) ||
               !within(kRedShade, kGreyShade, shade_of(c))) {
      return false;
    }
  }
  return true;
}

Canvas Minigrid::draw(const State& s) const {
  constexpr int kTile = 12;
  constexpr Colour kShades[] = {kRed, kGreen, kBlue, kPurple, kYellow, kGrey};
  Canvas canvas(width * kTile, height * kTile, kFaint);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const Cell c = s.cells[at(x, y)];
      const Colour shade = kShades[shade_of(c)];
      const int left = x * kTile, top = y * kTile;
      const auto fill = [&](int inset, Colour colour) {
        canvas.rectangle(left + inset, top + inset, kTile - 1 - 2 * inset, kTile - 1 - 2 * inset,
                         colour);
      };
      fill(0, kPaper);
      switch (kind_of(c)) {
        case kWall:
          fill(0, kInk);
          break;
        case kGoal:
          fill(0, kGreen);
          break;
        case kLava:
          fill(0, kOrange);
          break;
        case kOpenDoor:
          fill(0, shade);
          fill(1, kPaper);
          break;
        case kClosedDoor:
        case kLockedDoor:
          fill(0, shade);
          fill(2, kind_of(c) == kClosedDoor ? kPaper : kInk);
          break;
        case kKey:
        case kBall:
          canvas.disc(left + kTile / 2.0, top + kTile / 2.0, 3, shade);
          break;
        default:
          break;
      }
      if (s.position == at(x, y)) canvas.arrow(left, top, kTile - 1, s.direction, kRed);
    }
  }
  return canvas;
}

namespace {

// --- Levels
// -----------------------------------------------------------------------------------------

struct Rectangle {
  int x, y, width, height;
};

/// Uniform in [low, high).
int between(Draws& draws, int low, int high) { return low + draws.below(high - low); }

/// A random empty cell of the rectangle where the agent is not.
int place(const Minigrid& g, const Minigrid::State& s, const Rectangle& r, Draws& draws) {
  for (;;) {
    const int x = between(draws, r.x, r.x + r.width), y = between(draws, r.y, r.y + r.height);
    const int position = g.at(x, y);
    if (s.cells[position] == cell(kEmpty) && position != s.position) return position;
  }
}

void place_agent(const Minigrid& g, Minigrid::State& s, const Rectangle& r, Draws& draws) {
  s.position = place(g, s, r, draws);
  s.direction = draws.below(4);
}

/// The outline of a rectangle.
void walls(const Minigrid& g, Minigrid::State& s, const Rectangle& r) {
  for (int x = r.x; x < r.x + r.width; ++x)
    s.cells[g.at(x, r.y)] = s.cells[g.at(x, r.y + r.height - 1)] = kWallCell;
  for (int y = r.y; y < r.y + r.height; ++y)
    s.cells[g.at(r.x, y)] = s.cells[g.at(r.x + r.width - 1, y)] = kWallCell;
}

Rectangle all_of(const Minigrid& g) { return {0, 0, g.width, g.height}; }

/// Walls around, the agent at the top left looking right, the goal at the bottom right.
void begin_room(const Minigrid& g, Minigrid::State& s) {
  walls(g, s, all_of(g));
  s.position = g.at(1, 1);
  s.cells[g.at(g.width - 2, g.height - 2)] = kGoalCell;
}

EnvPtr make_level(std::string name, int width, int height, index_t max_steps,
                  std::function<void(const Minigrid&, Minigrid::State&, Draws&)> level,
                  const EnvCount& count) {
  return vectorise(Minigrid{std::move(name), width, height, max_steps, false, std::move(level)},
                   count);
}

/// All cells beyond one wall of a room, or a door in it.
struct Room {
  Rectangle place;
  int door_x, door_y;  // its entry; that of the first room is not built
};

/// Rooms of 4 to `most` cells a side, one behind the other: door by door, each on a wall other than
/// the entry, eight tries for each. Sides: 0 right, 1 bottom, 2 left, 3 top.
bool add_rooms(const Minigrid& g, int remaining, int most, int entry_side, int door_x, int door_y,
               std::vector<Room>& rooms, Draws& draws) {
  Rectangle r{door_x, door_y, between(draws, 4, most + 1), between(draws, 4, most + 1)};
  if (!rooms.empty()) {
    if (entry_side % 2 == 0) {
      if (entry_side == 0) r.x = door_x - r.width + 1;
      r.y = between(draws, door_y - r.height + 2, door_y);
    } else {
      r.x = between(draws, door_x - r.width + 2, door_x);
      if (entry_side == 1) r.y = door_y - r.height + 1;
    }
  }
  if (r.x < 0 || r.y < 0 || r.x + r.width > g.width || r.y + r.height >= g.height) return false;
  // The room before shares the wall with the door; the others must stay clear.
  for (std::size_t k = 0; k + 1 < rooms.size(); ++k) {
    const Rectangle& o = rooms[k].place;
    if (r.x + r.width >= o.x && o.x + o.width > r.x && r.y + r.height >= o.y &&
        o.y + o.height > r.y)
      return false;
  }
  rooms.push_back({r, door_x, door_y});
  if (remaining == 1) return true;
  for (int attempt = 0; attempt < 8; ++attempt) {
    const int side = (entry_side + 1 + draws.below(3)) % 4;
    int x = r.x, y = r.y;
    if (side % 2 == 0) {
      if (side == 0) x += r.width - 1;
      y += between(draws, 1, r.height - 1);
    } else {
      x += between(draws, 1, r.width - 1);
      if (side == 1) y += r.height - 1;
    }
    if (add_rooms(g, remaining - 1, most, (side + 2) % 4, x, y, rooms, draws)) break;
  }
  return true;
}

}  // namespace

EnvPtr make_minigrid_empty(multitask::Options& o, const EnvCount& count) {
  const int size = o.integer("size", 8, 4, Minigrid::kMostSide);
  const bool random_start = o.integer("random_start", 0, 0, 1) == 1;
  Minigrid game{"minigrid_empty", size, size, 4 * size * size, true};
  game.level = [=](const Minigrid& g, Minigrid::State& s, Draws& draws) {
    begin_room(g, s);
    if (random_start) place_agent(g, s, all_of(g), draws);
  };
  return vectorise(std::move(game), count);
}

EnvPtr make_minigrid_four_rooms(multitask::Options& o, const EnvCount& count) {
  const int size = o.integer("size", 19, 7, Minigrid::kMostSide);
  const int max_steps = o.integer("max_steps", 100, 1, 1000000);
  return make_level(
      "minigrid_four_rooms", size, size, max_steps,
      [](const Minigrid& g, Minigrid::State& s, Draws& draws) {
        walls(g, s, all_of(g));
        // Two walls through the middle, with a gap in each of their four arms.
        const int middle = g.width / 2;
        for (int k = 0; k < g.width; ++k)
          s.cells[g.at(middle, k)] = s.cells[g.at(k, middle)] = kWallCell;
        for (int arm = 0; arm < 2; ++arm) {
          const int low = arm * middle + 1, high = arm == 0 ? middle : 2 * middle;
          s.cells[g.at(middle, between(draws, low, high))] = cell(kEmpty);
          s.cells[g.at(between(draws, low, high), middle)] = cell(kEmpty);
        }
        place_agent(g, s, all_of(g), draws);
        s.cells[place(g, s, all_of(g), draws)] = kGoalCell;
      },
      count);
}

EnvPtr make_minigrid_door_key(multitask::Options& o, const EnvCount& count) {
  const int size = o.integer("size", 8, 5, Minigrid::kMostSide);
  return make_level(
      "minigrid_door_key", size, size, 10 * size * size,
      [](const Minigrid& g, Minigrid::State& s, Draws& draws) {
        begin_room(g, s);
        s.position = -1;
        const int wall = between(draws, 2, g.width - 2);
        for (int y = 0; y < g.height; ++y) s.cells[g.at(wall, y)] = kWallCell;
        const Rectangle left{0, 0, wall, g.height};
        place_agent(g, s, left, draws);
        s.cells[g.at(wall, between(draws, 1, g.width - 2))] = cell(kLockedDoor, kYellowShade);
        s.cells[place(g, s, left, draws)] = cell(kKey, kYellowShade);
      },
      count);
}

EnvPtr make_minigrid_simple_crossing(multitask::Options& o, const EnvCount& count) {
  const int size = o.integer("size", 9, 5, Minigrid::kMostSide);
  const int most = 2 * ((size - 3) / 2);
  const int crossings = o.integer("crossings", 1, 1, most);
  if (size % 2 == 0)
    throw ValueError("minigrid_simple_crossing: an even size, expected an odd one");
  return make_level(
      "minigrid_simple_crossing", size, size, 4 * size * size,
      [=](const Minigrid& g, Minigrid::State& s, Draws& draws) {
        begin_room(g, s);
        // Walls across the room on even lines, drawn without repetition: line k below `lines` is
        // the column 2k + 2, the others are rows.
        const int lines = (g.width - 3) / 2;
        std::vector<int> all(2 * lines);
        for (int k = 0; k < 2 * lines; ++k) all[k] = k;
        std::vector<int> columns = {0}, rows = {0};
        for (int k = 0; k < crossings; ++k) {
          std::swap(all[k], all[between(draws, k, 2 * lines)]);
          if (all[k] < lines) {
            columns.push_back(2 * all[k] + 2);
          } else {
            rows.push_back(2 * (all[k] - lines) + 2);
          }
        }
        std::sort(columns.begin(), columns.end());
        std::sort(rows.begin(), rows.end());
        for (std::size_t k = 1; k < columns.size(); ++k)
          for (int y = 1; y < g.height - 1; ++y) s.cells[g.at(columns[k], y)] = kWallCell;
        for (std::size_t k = 1; k < rows.size(); ++k)
          for (int x = 1; x < g.width - 1; ++x) s.cells[g.at(x, rows[k])] = kWallCell;
        // A way from room to room, across all of them in random order: one gap in each.
        std::size_t i = 0, j = 0;
        int to_right = static_cast<int>(columns.size()) - 1,
            to_bottom = static_cast<int>(rows.size()) - 1;
        columns.push_back(g.width - 1);
        rows.push_back(g.height - 1);
        while (to_right + to_bottom > 0) {
          if (draws.below(to_right + to_bottom) < to_right) {
            s.cells[g.at(columns[i + 1], between(draws, rows[j] + 1, rows[j + 1]))] = cell(kEmpty);
            ++i;
            --to_right;
          } else {
            s.cells[g.at(between(draws, columns[i] + 1, columns[i + 1]), rows[j + 1])] =
                cell(kEmpty);
            ++j;
            --to_bottom;
          }
        }
      },
      count);
}

EnvPtr make_minigrid_lava_gap(multitask::Options& o, const EnvCount& count) {
  const int size = o.integer("size", 7, 5, Minigrid::kMostSide);
  return make_level(
      "minigrid_lava_gap", size, size, 4 * size * size,
      [](const Minigrid& g, Minigrid::State& s, Draws& draws) {
        begin_room(g, s);
        const int x = between(draws, 2, g.width - 2), gap = between(draws, 1, g.height - 1);
        for (int y = 1; y < g.height - 1; ++y)
          if (y != gap) s.cells[g.at(x, y)] = cell(kLava, kRedShade);
      },
      count);
}

EnvPtr make_minigrid_multi_room(multitask::Options& o, const EnvCount& count) {
  const int rooms_wanted = o.integer("rooms", 4, 1, 6);
  const int most = o.integer("room_size", 5, 4, 10);
  return make_level(
      "minigrid_multi_room", Minigrid::kMostSide, Minigrid::kMostSide, 20 * rooms_wanted,
      [=](const Minigrid& g, Minigrid::State& s, Draws& draws) {
        std::vector<Room> rooms;
        while (static_cast<int>(rooms.size()) < rooms_wanted) {
          std::vector<Room> tried;
          const int x = between(draws, 0, g.width - 2), y = between(draws, 0, g.width - 2);
          add_rooms(g, rooms_wanted, most, 2, x, y, tried, draws);
          if (tried.size() > rooms.size()) rooms = std::move(tried);
        }
        int shade = -1;
        for (std::size_t k = 0; k < rooms.size(); ++k) {
          walls(g, s, rooms[k].place);
          if (k == 0) continue;
          // Any colour but that of the door before.
          shade = shade < 0 ? draws.below(6) : (shade + 1 + draws.below(5)) % 6;
          s.cells[g.at(rooms[k].door_x, rooms[k].door_y)] =
              cell(kClosedDoor, static_cast<Shade>(shade));
        }
        place_agent(g, s, rooms.front().place, draws);
        s.cells[place(g, s, rooms.back().place, draws)] = kGoalCell;
      },
      count);
}

}  // namespace concord::rl
