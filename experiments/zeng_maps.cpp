#include <concord/data/files.h>
#include <concord/experiments/table.h>
#include <concord/experiments/zeng_maps.h>
#include <concord/rl/worlds.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace concord::experiments {

namespace {

constexpr index_t kEpisodes = 200, kMaxSteps = 1000;

/// Cells from the start until the episode ends, or comes back to a cell: then it will not end.
std::vector<index_t> greedy_walk(const rl::Mdp& mdp, index_t start,
                                 const std::vector<index_t>& actions, bool& goal) {
  std::vector<index_t> path = {start};
  goal = false;
  while (true) {
    const rl::Consequence& c = mdp.at(path.back(), actions[path.back()])[0];
    const bool seen = std::find(path.begin(), path.end(), c.next) != path.end();
    path.push_back(c.next);
    goal = c.reward > 0;
    if (c.terminal || seen) return path;
  }
}

}  // namespace

int MapOutcome::solved() const {
  return static_cast<int>(std::count(reached.begin(), reached.end(), 1));
}

double MapOutcome::mean_success() const {
  return std::accumulate(success.begin(), success.end(), 0.0) / static_cast<double>(success.size());
}

MapOutcome map_outcome(char map, std::span<const double> theta) {
  MapOutcome out{.map = map, .visits = std::vector<double>(100, 0.0)};
  const int environments = rl::zeng_environments(map);
  for (int i = 0; i < environments; ++i) {
    const rl::World world = rl::zeng_world(map, i);
    rl::TabularTask task(rl::make_mdp("map", world, {}), 0);
    bool goal = false;
    auto path = greedy_walk(task.mdp(), world.start, rl::greedy_actions(theta, 4), goal);
    out.reached.push_back(goal);
    if (path.size() > out.path.size()) out.path = std::move(path);

    rl::Draws draws(Rng(0).fork("outcome").fork(i));
    index_t good = 0;
    for (index_t e = 0; e < kEpisodes; ++e) {
      const auto episode = task.play(theta, draws, kMaxSteps);
      good += episode.back().reward > 0;
      for (const auto& visit : episode)
        out.visits[visit.state] += 1.0 / static_cast<double>(kEpisodes * environments);
    }
    out.success.push_back(static_cast<double>(good) / kEpisodes);
  }
  for (double& v : out.visits) v = std::min(v, 1.0);
  return out;
}

namespace {

constexpr int kCell = 24, kGrid = 10 * kCell, kLeft = 22, kTop = 46;
constexpr int kPanelWidth = kGrid + kLeft + 12, kPanelHeight = kGrid + kTop + 16, kColumns = 3;

std::string panel(const MapPanel& p, int x0, int y0) {
  const MapOutcome& o = p.outcome;
  std::string s = fmt::format("<g transform='translate({},{})'>\n", x0 + kLeft, y0 + kTop);
  s +=
      fmt::format("<text x='0' y='-24' font-size='14' font-weight='600' fill='#111111'>{}</text>\n",
                  escape_html(p.title));
  const auto x_of = [](index_t cell) { return static_cast<int>(cell % 10) * kCell; };
  const auto y_of = [](index_t cell) { return static_cast<int>(cell / 10) * kCell; };
  // Where sampled episodes go, as a shade; then what is there.
  std::vector<std::string> obstacles(100);
  std::vector<int> goal(100, -1);
  for (int i = 0; i < rl::zeng_environments(o.map); ++i) {
    const rl::World w = rl::zeng_world(o.map, i);
    for (index_t c = 0; c < 100; ++c) {
      if (w.reward[c] < 0) obstacles[c] += static_cast<char>('0' + i);
      if (w.reward[c] > 0) goal[c] = i;
    }
  }
  for (index_t c = 0; c < 100; ++c) {
    s += fmt::format(
        "<rect x='{}' y='{}' width='{}' height='{}' fill='#56b4e9' fill-opacity='{:.3f}' "
        "stroke='#d5d5d5'/>\n",
        x_of(c), y_of(c), kCell, kCell, 0.75 * o.visits[c]);
    if (!obstacles[c].empty()) {
      s += fmt::format("<rect x='{}' y='{}' width='{}' height='{}' fill='#6b6b6b'/>\n", x_of(c) + 1,
                       y_of(c) + 1, kCell - 2, goal[c] < 0 ? kCell - 2 : kCell / 2 - 2);
    }
  }
  std::string points;
  for (const index_t c : o.path)
    points += fmt::format("{},{} ", x_of(c) + kCell / 2, y_of(c) + kCell / 2);
  s += fmt::format(
      "<polyline points='{}' fill='none' stroke='#111111' stroke-width='2.5' "
      "stroke-linejoin='round' marker-end='url(#end)'/>\n",
      points);
  s += fmt::format("<circle cx='{}' cy='{}' r='5' fill='#111111'/>\n",
                   x_of(o.path.front()) + kCell / 2, y_of(o.path.front()) + kCell / 2);
  for (index_t c = 0; c < 100; ++c) {
    if (obstacles[c].empty()) continue;
    const bool all = static_cast<int>(obstacles[c].size()) == rl::zeng_environments(o.map);
    s += fmt::format(
        "<text x='{}' y='{}' font-size='10' text-anchor='middle' fill='#ffffff' stroke='#6b6b6b' "
        "stroke-width='3' paint-order='stroke'>{}</text>\n",
        x_of(c) + kCell / 2, y_of(c) + (goal[c] < 0 ? 16 : 10), all ? "all" : obstacles[c]);
  }
  for (index_t c = 0; c < 100; ++c) {
    if (goal[c] < 0) continue;
    const bool reached = o.reached[goal[c]];
    const int y = y_of(c) + (obstacles[c].empty() ? kCell / 2 : 3 * kCell / 4);
    const int r = obstacles[c].empty() ? 9 : 7;
    s += fmt::format(
        "<circle cx='{0}' cy='{1}' r='{2}' fill='{3}' stroke='#009e73' stroke-width='2'/>\n"
        "<text x='{0}' y='{4}' font-size='11' font-weight='600' text-anchor='middle' "
        "fill='{5}'>{6}</text>\n",
        x_of(c) + kCell / 2, y, r, reached ? "#009e73" : "#ffffff", y + 4,
        reached ? "#ffffff" : "#006b4e", goal[c]);
  }
  for (int k = 0; k < 10; ++k) {
    s += fmt::format(
        "<text x='{}' y='-5' font-size='10' text-anchor='middle' fill='#666666'>{}</text>\n"
        "<text x='-6' y='{}' font-size='10' text-anchor='end' fill='#666666'>{}</text>\n",
        k * kCell + kCell / 2, static_cast<char>('a' + k), k * kCell + 16, k);
  }
  return s + "</g>\n";
}

}  // namespace

Drawing draw_maps(const std::vector<MapPanel>& panels, const std::filesystem::path& base) {
  const int rows = (static_cast<int>(panels.size()) + kColumns - 1) / kColumns;
  const int width = kColumns * kPanelWidth, height = rows * kPanelHeight;
  Drawing drawing;
  drawing.svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' "
      "font-family='sans-serif'>\n"
      "<defs><marker id='end' viewBox='0 0 10 10' refX='7' refY='5' markerWidth='5' "
      "markerHeight='5' orient='auto'><path d='M0,0 L10,5 L0,10 z' fill='#111111'/></marker>"
      "</defs>\n<rect width='{0}' height='{1}' fill='#ffffff'/>\n",
      width, height);
  for (std::size_t k = 0; k < panels.size(); ++k) {
    drawing.svg += panel(panels[k], static_cast<int>(k) % kColumns * kPanelWidth,
                         static_cast<int>(k) / kColumns * kPanelHeight);
  }
  drawing.svg += "</svg>\n";
  data::write_file(base.string() + ".svg", std::as_bytes(std::span(drawing.svg)));
  return drawing;
}

}  // namespace concord::experiments
