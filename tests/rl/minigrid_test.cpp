// Minigrid against episodes of the package (golden/generate_minigrid.py), and its levels against
// what they promise.
#include <concord/rl/environments/minigrid.h>
#include <concord/rl/registry.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/rl/playing.h>

#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <string>

using namespace concord;
using namespace concord::rl;
using namespace concord::rl::minigrid;

namespace {

template <class T>
std::uint64_t fnv(std::uint64_t h, const T* values, std::size_t n) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(values);
  for (std::size_t i = 0; i < n * sizeof(T); ++i) h = (h ^ data[i]) * 0x100000001B3U;
  return h;
}

/// A game that begins in a level of the package: u8 [W,H,3], codes of object, colour, state.
Minigrid restored(const Tensor& level, const std::uint8_t* agent) {
  Minigrid g{"restored", static_cast<int>(level.dim(0)), static_cast<int>(level.dim(1)),
             agent[3] + 256 * agent[4], agent[5] == 1};
  const int x = agent[0], y = agent[1], direction = agent[2];
  g.level = [level, x, y, direction](const Minigrid& self, Minigrid::State& s, Draws&) {
    const std::uint8_t* code = level.data<std::uint8_t>();
    for (int i = 0; i < self.width; ++i) {
      for (int j = 0; j < self.height; ++j, code += 3) {
        const int kind = code[0] == kOpenDoor && code[2] > 0 ? 10 + code[2] : code[0];
        s.cells[self.at(i, j)] = cell(static_cast<Kind>(kind), static_cast<Shade>(code[1]));
      }
    }
    s.position = self.at(x, y);
    s.direction = direction;
  };
  return g;
}

}  // namespace

TEST_CASE("minigrid: views, rewards and ends of the package's episodes") {
  const TensorFile golden =
      load_safetensors(std::string(CONCORD_TEST_FILES) + "/rl/golden/minigrid.safetensors");
  const std::size_t episodes = golden.tensors.size() / 4;
  CHECK(episodes == 24);
  index_t ends = 0;
  for (std::size_t k = 0; k < episodes; ++k) {
    CAPTURE(k);
    const auto part = [&](const char* name) {
      return golden.tensors.at(std::to_string(k) + "." + name);
    };
    const Tensor actions = part("actions"), hashes = part("hashes");
    const Minigrid game = restored(part("level"), part("agent").data<std::uint8_t>());
    Minigrid::State state;
    Draws draws;
    std::uint8_t view[3 * 49];
    game.reset(state, draws);
    game.observe(state, view);
    std::uint64_t h = fnv(0xCBF29CE484222325U, view, 147);
    index_t t = 0;
    const auto same = [&] {
      const std::uint8_t* expected = hashes.data<std::uint8_t>() + 2 * t;
      return (h & 255) == expected[0] && (h >> 8 & 255) == expected[1];
    };
    for (; same() && t < actions.numel(); ++t) {
      const Outcome outcome = game.step(state, actions.data<std::uint8_t>()[t], draws);
      game.observe(state, view);
      h = fnv(h, &outcome.reward, 1);
      const std::uint8_t over = outcome.terminated;
      h = fnv(fnv(h, &over, 1), view, 147);
      ends += over;
    }
    CHECK(t == actions.numel());
    CHECK(same());
  }
  CHECK(ends >= 5);
}

TEST_CASE("minigrid: every level can be solved, and levels differ") {
  const std::pair<const char*, OptionMap> kLevels[] = {
      {"minigrid_empty", {{"random_start", "1"}}},
      {"minigrid_four_rooms", {}},
      {"minigrid_door_key", {{"size", "6"}}},
      {"minigrid_simple_crossing", {{"crossings", "3"}}},
      {"minigrid_simple_crossing", {{"size", "11"}, {"crossings", "8"}}},
      {"minigrid_lava_gap", {}},
      {"minigrid_multi_room", {{"rooms", "6"}, {"room_size", "10"}}},
      {"minigrid_multi_room", {{"rooms", "2"}, {"room_size", "4"}}},
  };
  for (const auto& [name, options] : kLevels) {
    CAPTURE(name);
    const EnvPtr env = make_env(name, {.size = 40, .seed = 5}, options);
    const StepBuffers out = env->buffers();
    std::set<std::vector<std::byte>> pictures;
    for (int round = 0; round < 5; ++round) {
      env->reset(out.observation);
      for (index_t i = 0; i < env->size(); ++i) {
        // From the picture: cells by the colour of their middle, the agent's red arrow included.
        const Canvas canvas = env->render(i);
        constexpr int kTile = 12;
        const int width = canvas.width() / kTile, height = canvas.height() / kTile;
        int start = -1, goal = -1, keys = 0, locked = 0;
        std::vector<char> free(static_cast<std::size_t>(width) * height);
        for (int c = 0; c < width * height; ++c) {
          const int left = c % width * kTile, top = c / width * kTile;
          const Colour middle = canvas.at(left + 5, top + 5), corner = canvas.at(left, top);
          const bool arrow = middle == kRed && corner == kPaper;
          const bool lava = middle == kOrange, wall = middle == kInk && corner == kInk;
          if (arrow) start = c;
          if (middle == kGreen && corner == kGreen) goal = c;
          keys += middle == kYellow && corner == kPaper;
          locked += middle == kInk && corner == kYellow;
          free[c] = !wall && !lava;
        }
        REQUIRE(start >= 0);
        REQUIRE(goal >= 0);
        CHECK(keys == locked);
        std::vector<int> open = {start};
        std::vector<char> reached(free.size());
        while (!open.empty()) {
          const int c = open.back();
          open.pop_back();
          if (reached[c] || !free[c]) continue;
          reached[c] = 1;
          for (const int next : {c - 1, c + 1, c - width, c + width})
            if (next >= 0 && next < width * height) open.push_back(next);
        }
        CHECK(reached[goal]);
        const Tensor image = canvas.image();
        pictures.insert({image.raw(), image.raw() + image.bytes()});
      }
    }
    CHECK(pictures.size() > 10);
  }
}

TEST_CASE("minigrid: the goal late is worth less, time is not an end of the task") {
  const EnvPtr env = make_env("minigrid_empty", {.size = 1}, {{"size", "5"}});
  CHECK(env->spec().max_steps == 100);
  const StepBuffers out = env->buffers();
  env->reset(out.observation);
  const Tensor actions = env->actions();
  const auto act = [&](int action) {
    actions.fill(action);
    env->step(actions, out);
  };
  for (const int action : {kDone, kForward, kForward, kTurnRight, kForward, kForward}) act(action);
  CHECK(out.terminated.item() == 1);
  CHECK(out.reward.item() == doctest::Approx(1 - 0.9 * 6 / 100));
  for (int t = 0; t < 99; ++t) {
    act(kTurnLeft);
    CHECK(out.truncated.item() == 0);
  }
  act(kTurnLeft);
  CHECK(out.truncated.item() == 1);
  CHECK(out.terminated.item() == 0);
}
