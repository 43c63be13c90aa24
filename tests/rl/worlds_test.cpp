// The papers' worlds against their descriptions and printed values, and play against the tables.
#include <concord/rl/registry.h>
#include <concord/rl/worlds.h>
#include <concord/tests/rl/playing.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>

using namespace concord;
using namespace concord::rl;
using concord::testing::error_text;

namespace {

/// V of a policy pi(s, a) by sweeps to a fixed point.
std::vector<double> values(const Mdp& mdp, double gamma,
                           const std::function<double(index_t, index_t)>& policy) {
  std::vector<double> v(mdp.states(), 0.0);
  for (int sweep = 0; sweep < 20000; ++sweep) {
    double change = 0;
    for (index_t s = 0; s < mdp.states(); ++s) {
      double sum = 0;
      for (index_t a = 0; a < mdp.actions(); ++a)
        for (const Consequence& c : mdp.at(s, a))
          sum += policy(s, a) * c.probability * (c.reward + (c.terminal ? 0 : gamma * v[c.next]));
      change = std::max(change, std::abs(sum - v[s]));
      v[s] = sum;
    }
    if (change < 1e-14) break;
  }
  return v;
}

/// Left with certainty in the second and fourth state, with probability p in the middle.
double chain_sum(double gamma, double p) {
  double sum = 0;
  for (int task = 0; task < 2; ++task)
    sum += values(zeng_chain(task), gamma, [p](index_t s, index_t a) {
      const double left = s == 2 ? p : 1;
      return a == 0 ? left : 1 - left;
    })[2];
  return sum;
}

}  // namespace

TEST_CASE("zeng: the analytic chains have the printed values") {
  for (const auto& [gamma, best, p3] : {std::tuple{0.9, 1.512605, 1.455789},
                                        {0.95, 1.731207, 1.685827},
                                        {0.99, 1.941367, 1.927699}}) {
    CHECK(chain_sum(gamma, 0.5) == doctest::Approx(best).epsilon(1e-6));
    CHECK(chain_sum(gamma, 0.5) == doctest::Approx(2 * gamma / (2 - gamma * gamma)).epsilon(1e-12));
    CHECK(chain_sum(gamma, 0.3) == doctest::Approx(p3).epsilon(1e-6));
    CHECK(chain_sum(gamma, 1) == doctest::Approx(gamma).epsilon(1e-12));
  }
  for (const auto& [gamma, p, ends, middle] :
       {std::tuple{0.9, 0.7, -0.208676, -0.605042}, {0.5, 0.8, -0.296053, -0.342857}}) {
    for (const double left : {0.0, 0.5, 1.0}) {
      double sum = 0;
      for (int task = 0; task < 2; ++task)
        sum += values(zeng_drift_chain(task, p), gamma,
                      [left](index_t, index_t a) { return a == 0 ? left : 1 - left; })[2];
      CHECK(sum == doctest::Approx(left == 0.5 ? middle : ends).epsilon(2e-6));
    }
  }
}

TEST_CASE("zeng: maps as in the figure") {
  const auto count = [](const World& w, float reward) {
    return std::count(w.reward.begin(), w.reward.end(), reward);
  };
  CHECK(zeng_environments('a') == 4);
  CHECK(zeng_environments('e') == 6);
  const World b2 = zeng_world('b', 2);
  CHECK(b2.reward[7 * 10 + 5] == 1);   // f7
  CHECK(b2.reward[4 * 10 + 4] == -1);  // e4
  CHECK(b2.reward[7 * 10 + 2] == -1);  // c7, the goal of 3
  CHECK(zeng_world('b', 3).reward[7 * 10 + 2] == 1);
  CHECK(b2.start == 0);
  CHECK(zeng_world('e', 0).start == 9);
  for (const char map : {'a', 'b', 'c', 'd', 'e'}) {
    for (int e = 0; e < zeng_environments(map); ++e) {
      CAPTURE(map);
      CAPTURE(e);
      const World w = zeng_world(map, e);
      CHECK(count(w, 1) == 1);
      CHECK(count(w, -1) == 2);  // in all maps of the figure
    }
  }
  CHECK(error_text<ValueError>([] { zeng_world('f', 0); }) ==
        "zeng_world: map 'f', expected a to e");
  CHECK(error_text<ValueError>([] { zeng_world('a', 4); }) ==
        "zeng_world: environment 4, expected 0 to 3");
}

TEST_CASE("mdp: walking in a world") {
  constexpr std::string_view rows[] = {"S.#.", "...."};
  World w = parse_world(rows);
  w.reward[1] = -0.25F;
  w.reward[5] = 2;
  w.terminal[5] = 1;
  const Mdp mdp = make_mdp("small", w, {.noise = 0.2, .end = 0.1, .view = 1});
  CHECK(mdp.states() == 8);
  const Tensor p = mdp.transitions(), r = mdp.rewards();
  // Right from the start: into cell 1 with 0.9 (0.8 + 0.05); bumps upwards and to the left stay.
  CHECK(p.at({0, 3, 1}) == doctest::Approx(0.9 * 0.85));
  CHECK(p.at({0, 3, 0}) == doctest::Approx(0.9 * 0.10));
  CHECK(p.at({0, 3, 4}) == doctest::Approx(0.9 * 0.05));
  CHECK(r.at({0, 3}) == doctest::Approx(0.9 * 0.85 * -0.25));
  // Down from cell 1 ends at the goal; standing still in cell 1 pays nothing.
  CHECK(p.at({1, 1, 5}) == 0);
  CHECK(r.at({1, 1}) == doctest::Approx(0.9 * 0.85 * 2));
  CHECK(p.at({1, 3, 1}) == doctest::Approx(0.9 * 0.90));
  // Nothing leads into the wall.
  for (index_t s = 0; s < 8; ++s)
    for (index_t a = 0; a < 4; ++a)
      if (s != 2) CHECK(p.at({s, a, 2}) == 0);
  // The view from cell 1: planes of walls, gains and losses.
  const float expected[27] = {1, 1, 1, 0, 0,     1, 0, 0, 0,  //
                              0, 0, 0, 0, 0,     0, 0, 1, 0,  //
                              0, 0, 0, 0, 0.125, 0, 0, 0, 0};
  const Tensor view = mdp.observations[1];
  CHECK(view.shape() == Shape{3, 3, 3});
  for (int k = 0; k < 27; ++k) CHECK(view.data<float>()[k] == expected[k]);
  CHECK(error_text<ValueError>([&] {
          Mdp m("m", 2, {"a"});
          m.set(1, 0, {{0.5, 0}});
        }) == "mdp 'm': the probabilities after action 0 in state 1 add up to 0.5, expected 1");
  CHECK_THROWS_AS(Mdp("m", 0, {"a"}), ValueError);
  CHECK_THROWS_AS(parse_world(std::vector<std::string_view>{"..", "..."}), ValueError);
}

TEST_CASE("mdp: play has the frequencies of the table") {
  Mdp mdp("dice", 3, {"roll"});
  mdp.start = {0.25, 0.75, 0};
  mdp.set(0, 0, {{0.1, 0, 1}, {0.2, 1, 2}, {0.3, 2, 3}, {0.4, 2, 4, true}});
  mdp.set(1, 0, {{1, 0, 5}});
  mdp.set(2, 0, {{0.5, 1, 6}, {0.5, 1, 7, true}});
  const EnvPtr env = make_mdp_env(mdp, {.size = 1000, .seed = 6});
  const StepBuffers out = env->buffers(), before = env->buffers();
  env->reset(out.observation);
  double ones = 0;
  for (const std::int64_t s : out.observation.values<std::int64_t>()) ones += s == 1;
  CHECK(ones / 1000 == doctest::Approx(0.75).epsilon(0.05));
  std::map<std::pair<index_t, float>, double> seen;
  double from[3] = {};
  for (int t = 0; t < 100; ++t) {
    before.observation.copy_from(out.observation);
    env->step(env->actions(), out);
    for (index_t i = 0; i < 1000; ++i) {
      const index_t s = before.observation.data<std::int64_t>()[i];
      const float reward = out.reward.data<float>()[i];
      ++from[s];
      ++seen[{s, reward}];
      CHECK(out.terminated.data<std::uint8_t>()[i] == (reward == 4 || reward == 7));
    }
  }
  const auto share = [&](index_t s, float reward) { return seen[{s, reward}] / from[s]; };
  CHECK(share(0, 1) == doctest::Approx(0.1).epsilon(0.05));
  CHECK(share(0, 2) == doctest::Approx(0.2).epsilon(0.05));
  CHECK(share(0, 3) == doctest::Approx(0.3).epsilon(0.05));
  CHECK(share(0, 4) == doctest::Approx(0.4).epsilon(0.05));
  CHECK(share(2, 6) == doctest::Approx(0.5).epsilon(0.05));
  CHECK(seen.size() == 7);
}

TEST_CASE("two rooms: 53 cells, memories and rewards of Distral's section 4.1") {
  const std::vector<index_t> goals = two_rooms_goals();
  CHECK(goals.size() == 50);
  const Mdp mdp = two_rooms(0);
  int starts = 0;
  for (const double p : mdp.start) starts += p > 0;
  CHECK(starts == 53);
  const auto state = [](int x, int y, int memory) {
    return (y * kTwoRoomsWidth + x) * kTwoRoomsMemories + memory;
  };
  const auto only = [&](index_t s, index_t a) {
    REQUIRE(mdp.at(s, a).size() == 1);
    return mdp.at(s, a)[0];
  };
  // Right through the corridor's middle, then up into its wall, then stay.
  Consequence c = only(state(5, 2, 0), 4);
  CHECK(c.next == state(6, 2, 1 + 2 * 4));
  CHECK(c.reward == -0.1F);
  c = only(c.next, 1);
  CHECK(c.next == state(6, 2, 1 + 2 * 1 + 1));
  CHECK(c.reward == -0.5F);
  c = only(c.next, 0);
  CHECK(c.next == state(6, 2, 1));
  CHECK(c.reward == -0.1F);
  c = only(state(1, 0, 3), 3);
  CHECK(c.reward == 1);
  CHECK(c.terminal);
  CHECK_THROWS_AS(two_rooms(5), ValueError);
}

TEST_CASE("four rooms: the layout of Sutton, Precup, Singh 1999, moves that fail, planes") {
  const World& world = four_rooms_world();
  const auto cell = [](index_t x, index_t y) { return y * 13 + x; };
  CHECK(std::count(world.wall.begin(), world.wall.end(), 0) == 104);
  // What is neither wall nor room are the four hallways, each between the two rooms it joins.
  std::vector<int> room(world.wall.size(), -1);
  for (int r = 0; r < 4; ++r) {
    CHECK(four_rooms_cells(r).size() == std::array<std::size_t, 4>{25, 30, 25, 20}[r]);
    for (const index_t c : four_rooms_cells(r)) {
      CHECK(world.wall[c] == 0);
      CHECK(room[c] == -1);
      room[c] = r;
    }
  }
  const std::map<index_t, std::pair<int, int>> hallways{
      {cell(6, 3), {0, 1}}, {cell(2, 6), {0, 2}}, {cell(9, 7), {1, 3}}, {cell(6, 10), {2, 3}}};
  for (index_t c = 0; c < world.cells(); ++c) {
    const auto hallway = hallways.find(c);
    CHECK((world.wall[c] == 0 && room[c] == -1) == (hallway != hallways.end()));
    if (hallway == hallways.end()) continue;
    const index_t across = world.wall[c - 1] ? 13 : 1;
    CHECK(room[c - across] == hallway->second.first);
    CHECK(room[c + across] == hallway->second.second);
  }

  // One goal, below the hallway on the right; a corner of the upper left room.
  const Mdp mdp = four_rooms({.goal = cell(9, 8), .noise = 4.0 / 9, .step = -0.25F});
  const auto probability = [&](index_t from, index_t action, index_t to) {
    double p = 0;
    for (const Consequence& c : mdp.at(from, action)) p += c.next == to ? c.probability : 0;
    return p;
  };
  const index_t up = 0, down = 1, left = 2, corner = cell(1, 1);
  CHECK(probability(corner, down, cell(1, 2)) == doctest::Approx(2.0 / 3));
  CHECK(probability(corner, down, cell(2, 1)) == doctest::Approx(1.0 / 9));
  CHECK(probability(corner, down, corner) == doctest::Approx(2.0 / 9));
  CHECK(probability(corner, left, corner) == doctest::Approx(7.0 / 9));
  for (const Consequence& c : mdp.at(cell(9, 7), down)) {
    CHECK(c.terminal == (c.next == cell(9, 8)));
    CHECK(c.reward == (c.terminal ? 0.75F : -0.25F));
  }
  CHECK(mdp.start[corner] == doctest::Approx(1.0 / 103));
  CHECK(mdp.start[cell(9, 8)] == 0);
  CHECK(mdp.start[cell(6, 3)] > 0);

  // Without noise the shortest way from the corner to the goal has 15 steps.
  const Mdp sure = four_rooms({.goal = cell(9, 8)});
  const auto v = values(sure, 0.9, [&](index_t s, index_t a) {
    const index_t x = s % 13, y = s / 13;
    const index_t best = x < 9 && y == 3 ? 3 : x == 9 ? down : y < 3 ? down : up;
    return a == best ? 1.0 : 0.0;
  });
  CHECK(v[corner] == doctest::Approx(std::pow(0.9, 14)));

  CHECK(mdp.observations.shape() == Shape{169, 2, 13, 13});
  const auto* seen =
      four_rooms({.goal = cell(9, 8), .goal_seen = true}).observations.data<std::uint8_t>() +
      corner * 3 * 169;
  for (index_t c = 0; c < 169; ++c) {
    CHECK(seen[c] == world.wall[c]);
    CHECK(seen[169 + c] == (c == corner));
    CHECK(seen[2 * 169 + c] == (c == cell(9, 8)));
  }
  CHECK_THROWS_AS(four_rooms({.goal = cell(6, 6)}), ValueError);
  CHECK_THROWS_AS(four_rooms_cells(4), ValueError);
}

TEST_CASE("random worlds: goals can be reached, parameters show") {
  double walls = 0, bonuses = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const RandomWorldOptions o{.side = 13,
                               .walls = 0.2,
                               .goals = {5, 10, -3},
                               .bonus_probability = 0.1,
                               .bonus = 0.5F,
                               .seed = seed};
    const World w = random_world(o);
    CHECK(w.start == 6 * 13 + 6);
    CHECK(!w.wall[w.start]);
    const auto reached = w.reachable(w.start);
    int goals = 0;
    for (index_t c = 0; c < w.cells(); ++c) {
      walls += w.wall[c];
      bonuses += w.reward[c] == 0.5F;
      if (!w.terminal[c]) continue;
      ++goals;
      CHECK(reached[c]);
      CHECK(std::count(o.goals.begin(), o.goals.end(), w.reward[c]) == 1);
    }
    CHECK(goals == 3);
    RandomWorldOptions other = o;
    other.seed = seed + 1000;
    const World again = redraw_rewards(w, other);
    CHECK(again.wall == w.wall);
    CHECK(again.reward != w.reward);
  }
  CHECK(walls / (60 * 169) == doctest::Approx(0.2).epsilon(0.06));
  CHECK(bonuses / (60 * 169 * 0.8) == doctest::Approx(0.1).epsilon(0.1));
  CHECK_THROWS_AS(random_world({.side = 1}), ValueError);
  CHECK_THROWS_AS(random_world({.walls = 0.97, .goals = {1, 2, 3, 4}}), ValueError);
}

TEST_CASE("random world: one step in a hundred ends without reward") {
  const EnvPtr env =
      make_env("random_world", {.size = 1000, .seed = 1}, {{"view", "0"}, {"end", "0.01"}});
  const StepBuffers out = env->buffers();
  env->reset(out.observation);
  double ends = 0;
  testing::play(*env, 3, 0, 100, out, [&](index_t) {
    for (index_t i = 0; i < 1000; ++i)
      ends += out.terminated.data<std::uint8_t>()[i] && out.reward.data<float>()[i] == 0;
  });
  CHECK(ends / 1e5 == doctest::Approx(0.01).epsilon(0.15));  // 5 standard errors
}
