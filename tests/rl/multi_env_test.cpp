// Joined environments against the same ones alone.
#include <concord/rl/multi_env.h>
#include <concord/rl/registry.h>
#include <concord/tests/rl/playing.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

using namespace concord;
using namespace concord::rl;
using concord::testing::error_text;

namespace {

EnvPtr tall() {
  return make_env("catch", {.size = 2, .seed = 1}, {{"rows", "6"}, {"columns", "5"}});
}
EnvPtr seen() { return make_env("four_rooms", {.size = 3, .seed = 2}, {{"goal_seen", "1"}}); }
EnvPtr unseen() { return make_env("four_rooms", {.size = 4, .seed = 3}); }

std::vector<EnvPtr> list(EnvPtr a, EnvPtr b) {
  std::vector<EnvPtr> all;
  all.push_back(std::move(a));
  all.push_back(std::move(b));
  return all;
}

}  // namespace

TEST_CASE("join: rows of the members, padded channels, tasks and masks") {
  const EnvPtr joined = join(list(seen(), unseen())), a = seen(), b = unseen();
  CHECK(joined->size() == 7);
  CHECK(joined->spec().observation.shape == Shape{3, 13, 13});
  for (index_t i = 0; i < 7; ++i) CHECK(joined->tasks().data<std::int64_t>()[i] == (i < 3 ? 0 : 1));
  const StepBuffers all = joined->buffers(), x = a->buffers(), y = b->buffers();
  all.observation.fill(9);
  joined->reset(all.observation);
  a->reset(x.observation);
  b->reset(y.observation);
  const Tensor actions = joined->actions(), first = a->actions(), second = b->actions();
  index_t ends = 0;
  for (index_t t = 0; t < 250; ++t) {
    testing::random_actions(*joined, 4, t, actions);
    first.copy_from(actions.rows(0, 3));
    second.copy_from(actions.rows(3, 7));
    all.final_observation.fill(9);
    joined->step(actions, all);
    a->step(first, x);
    b->step(second, y);
    const auto equal = [&](index_t i, const Tensor& whole, const Tensor& part) {
      const std::uint8_t* p = whole.data<std::uint8_t>() + i * 3 * 169;
      const index_t n = i < 3 ? 3 * 169 : 2 * 169;
      const std::uint8_t* q = part.data<std::uint8_t>() + (i < 3 ? i : i - 3) * n;
      return std::equal(q, q + n, p) &&
             std::all_of(p + n, p + 3 * 169, [](std::uint8_t v) { return v == 0; });
    };
    for (index_t i = 0; i < 7; ++i) {
      const StepBuffers& part = i < 3 ? x : y;
      const index_t k = i < 3 ? i : i - 3;
      REQUIRE(equal(i, all.observation, part.observation));
      REQUIRE(all.reward.data<float>()[i] == part.reward.data<float>()[k]);
      const bool over =
          all.terminated.data<std::uint8_t>()[i] || all.truncated.data<std::uint8_t>()[i];
      REQUIRE(over ==
              (part.terminated.data<std::uint8_t>()[k] || part.truncated.data<std::uint8_t>()[k]));
      if (over)
        REQUIRE(equal(i, all.final_observation, part.final_observation));
      else
        REQUIRE(all.final_observation.data<std::uint8_t>()[i * 3 * 169] == 9);
      ends += over;
    }
  }
  CHECK(ends >= 14);
  CHECK(joined->state().count("task1.environments") == 1);
  CHECK(joined->render(6).width() == b->render(3).width());
}

TEST_CASE("join: an action that a task lacks is an error") {
  // Three actions and two, on planes of one size.
  const EnvPtr joined = join(list(make_env("catch", {.size = 2}, {{"rows", "6"}, {"columns", "6"}}),
                                  make_env("deep_sea", {.size = 1}, {{"size", "6"}})));
  CHECK(joined->spec().action.count == 3);
  CHECK(joined->action_mask().at({1, 2}) == 1);
  CHECK(joined->action_mask().at({2, 2}) == 0);
  const StepBuffers out = joined->buffers();
  joined->reset(out.observation);
  const Tensor actions = joined->actions();
  actions.fill(2);
  CHECK(error_text<ValueError>([&] { joined->step(actions, out); }) ==
        "join: action 2 in environment 2, expected one of its 2");
}

TEST_CASE("join: what does not fit together") {
  CHECK(error_text<ValueError>([] { join({}); }) == "join: no environments, expected at least one");
  CHECK_THROWS_AS(join(list(tall(), seen())), ShapeError);
  CHECK_THROWS_AS(join(list(tall(), make_env("cartpole", {}))), DTypeError);
  CHECK_THROWS_AS(join(list(make_env("pendulum", {}), make_env("cartpole", {}))), ValueError);
}
