// What every environment promises, checked on all of the registry.
#include <concord/rl/multi_env.h>
#include <concord/rl/registry.h>
#include <concord/tests/rl/playing.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace concord;
using namespace concord::rl;
using concord::testing::error_text;
using concord::testing::play;

namespace {

std::vector<std::byte> bytes_of(const Tensor& t, index_t rows) {
  const std::size_t n = t.bytes() / static_cast<std::size_t>(t.dim(0)) * rows;
  return {t.raw(), t.raw() + n};
}

void append(std::vector<std::byte>& out, const std::vector<std::byte>& more) {
  out.insert(out.end(), more.begin(), more.end());
}

/// Everything that the first `rows` environments showed in `steps` random steps.
std::vector<std::byte> history(VecEnv& env, index_t rows, index_t steps, index_t first = 0) {
  const StepBuffers out = env.buffers();
  std::vector<std::byte> seen;
  if (first == 0) {
    env.reset(out.observation);
    append(seen, bytes_of(out.observation, rows));
  }
  play(env, 5, first, steps, out, [&](index_t) {
    for (const Tensor& t : {out.observation, out.reward, out.terminated, out.truncated})
      append(seen, bytes_of(t, rows));
  });
  return seen;
}

}  // namespace

TEST_CASE("environments: shapes, flags and rewards of random play") {
  for (const EnvEntry& entry : environments()) {
    CAPTURE(entry.name);
    const EnvPtr env = make_env(entry.name, {.size = 5, .seed = 3});
    const EnvSpec& spec = env->spec();
    CHECK(spec.name == entry.name);
    CHECK((spec.action.count > 0) == (spec.action.dimensions == 0));
    if (spec.action.count > 0)
      CHECK(static_cast<index_t>(spec.action.names.size()) == spec.action.count);
    CHECK((spec.observation.dtype == DType::i64) == (spec.observation.states > 0));
    const StepBuffers out = env->buffers();
    env->reset(out.observation);
    index_t ends = 0;
    play(*env, 1, 0, 600, out, [&](index_t) {
      for (index_t i = 0; i < env->size(); ++i) {
        const int over = out.terminated.data<std::uint8_t>()[i],
                  late = out.truncated.data<std::uint8_t>()[i];
        REQUIRE(over + late <= 1);
        ends += over + late;
        REQUIRE(std::isfinite(out.reward.data<float>()[i]));
      }
      if (spec.observation.dtype == DType::i64)
        for (const std::int64_t s : out.observation.values<std::int64_t>())
          REQUIRE((s >= 0 && s < spec.observation.states));
      if (spec.observation.dtype == DType::f32)
        for (const float v : out.observation.values<float>()) REQUIRE(std::isfinite(v));
    });
    if (spec.max_steps > 0 && spec.max_steps <= 600) CHECK(ends >= env->size());
    const Canvas picture = env->render(2);
    CHECK(picture.width() > 0);
    CHECK(picture.height() > 0);
  }
}

TEST_CASE("environments: each observation is written whole, final ones only at an end") {
  for (const EnvEntry& entry : environments()) {
    CAPTURE(entry.name);
    const EnvPtr a = make_env(entry.name, {.size = 3, .seed = 3});
    const EnvPtr b = make_env(entry.name, {.size = 3, .seed = 3});
    const StepBuffers x = a->buffers(), y = b->buffers();
    const auto mark = [](const StepBuffers& s, int value) {
      for (const Tensor& t :
           {s.observation, s.final_observation, s.reward, s.terminated, s.truncated})
        std::memset(t.raw(), value, t.bytes());
    };
    mark(x, 0x00);
    mark(y, 0xA5);
    a->reset(x.observation);
    b->reset(y.observation);
    const std::size_t width = x.observation.bytes() / 3;
    const std::vector<std::byte> untouched(width, std::byte{0xA5});
    const Tensor actions = a->actions();
    for (index_t t = 0; t < 300; ++t) {
      REQUIRE(bytes_of(x.observation, 3) == bytes_of(y.observation, 3));
      testing::random_actions(*a, 2, t, actions);
      mark(y, 0xA5);
      a->step(actions, x);
      b->step(actions, y);
      for (index_t i = 0; i < 3; ++i) {
        const bool ended =
            y.terminated.data<std::uint8_t>()[i] || y.truncated.data<std::uint8_t>()[i];
        const std::byte* last = y.final_observation.raw() + i * width;
        REQUIRE((std::memcmp(last, untouched.data(), width) != 0) == ended);
      }
    }
  }
}

TEST_CASE("environments: the same for any number of threads and of environments") {
  const int threads = omp_get_max_threads();
  for (const EnvEntry& entry : environments()) {
    CAPTURE(entry.name);
    const auto run = [&](index_t size, std::uint64_t seed, int n) {
      omp_set_num_threads(n);
      const EnvPtr env = make_env(entry.name, {.size = size, .seed = seed});
      return history(*env, 7, 40);
    };
    const auto few = run(7, 11, 1);
    CHECK(few == run(600, 11, 1));
    CHECK(few == run(600, 11, 2));
  }
  omp_set_num_threads(threads);
}

TEST_CASE("environments: a restored state continues bit for bit") {
  for (const EnvEntry& entry : environments()) {
    CAPTURE(entry.name);
    const EnvPtr whole = make_env(entry.name, {.size = 4, .seed = 9});
    history(*whole, 4, 30);
    const EnvPtr resumed = make_env(entry.name, {.size = 4, .seed = 1});
    const auto saved = whole->state();
    for (const auto& [name, tensor] : resumed->state()) tensor.copy_from(saved.at(name));
    const StepBuffers a = whole->buffers(), b = resumed->buffers();
    whole->observe(a.observation);
    resumed->observe(b.observation);
    CHECK(bytes_of(a.observation, 4) == bytes_of(b.observation, 4));
    CHECK(history(*whole, 4, 100, 30) == history(*resumed, 4, 100, 30));
  }
}

TEST_CASE("environments: a saved state of another kind or version is refused") {
  const EnvPtr breakout = make_env("breakout", {.size = 2}),
               catches = make_env("catch", {.size = 2});
  const StepBuffers out = breakout->buffers();
  breakout->check_state();  // before the first reset
  breakout->reset(out.observation);
  breakout->check_state();
  const std::string text = "breakout: the saved environments are of another kind or version";
  breakout->state().at("layout").copy_from(catches->state().at("layout"));
  CHECK(error_text<FileError>([&] { breakout->check_state(); }) == text);
  // A joined environment looks at its members.
  std::vector<EnvPtr> members;
  members.push_back(make_env("catch", {.size = 2}));
  members.push_back(make_env("catch", {.size = 3}));
  const EnvPtr joined = join(std::move(members));
  joined->reset(joined->buffers().observation);
  joined->check_state();
  Tensor bytes = joined->state().at("task1.environments");
  std::memset(bytes.raw() + bytes.bytes() / 3, 0x55, bytes.bytes() / 3);
  CHECK(error_text<FileError>([&] { joined->check_state(); }) ==
        "catch: environment 1 of those saved has values out of range");
}

TEST_CASE("environments: a state with a wrong byte is refused, or harmless") {
  constexpr index_t kSize = 2, kGuard = 2;  // rows in front of and behind what may be written
  for (const EnvEntry& entry : environments()) {
    CAPTURE(entry.name);
    const EnvPtr env = make_env(entry.name, {.size = kSize, .seed = 9});
    const EnvSpec& spec = env->spec();
    history(*env, kSize, 40);
    const Tensor bytes = env->state().at("environments"), good = bytes.clone();
    const Tensor wide =
        Tensor::zeros(spec.observation.shape.insert(0, kSize + 2 * kGuard), spec.observation.dtype);
    StepBuffers out = env->buffers();
    out.observation = wide.rows(kGuard, kGuard + kSize);
    const Tensor actions = env->actions();
    const auto all_zero = [](const Tensor& t) {
      return std::all_of(t.raw(), t.raw() + t.bytes(),
                         [](std::byte b) { return b == std::byte{}; });
    };
    const Rng rng = Rng(7).fork(entry.name);
    int refused = 0;
    for (std::uint64_t k = 0; k < 300; ++k) {
      bytes.copy_from(good);
      const index_t at = rng.below(2 * k, static_cast<index_t>(bytes.bytes()));
      bytes.data<std::uint8_t>()[at] = static_cast<std::uint8_t>(rng.bits(2 * k + 1));
      try {
        env->check_state();
      } catch (const FileError&) {
        ++refused;
        continue;
      }
      env->observe(out.observation);
      for (index_t t = 0; t < 4; ++t) {
        CHECK(env->render(0).width() > 0);
        testing::random_actions(*env, k, t, actions);
        env->step(actions, out);
      }
      REQUIRE(all_zero(wide.rows(0, kGuard)));
      REQUIRE(all_zero(wide.rows(kGuard + kSize, 2 * kGuard + kSize)));
      if (spec.observation.dtype == DType::i64)
        for (const std::int64_t s : out.observation.values<std::int64_t>())
          REQUIRE((s >= 0 && s < spec.observation.states));
    }
    if (spec.observation.dtype == DType::u8) CHECK(refused > 5);
  }
}

TEST_CASE("environments: streams differ between environments and seeds") {
  const auto first = [](std::uint64_t seed) {
    const EnvPtr env = make_env("cartpole", {.size = 2, .seed = seed});
    const StepBuffers out = env->buffers();
    env->reset(out.observation);
    return out.observation;
  };
  const Tensor a = first(1), b = first(2);
  CHECK(bytes_of(a[0], 4) != bytes_of(a[1], 4));
  CHECK(bytes_of(a, 2) != bytes_of(b, 2));
}

TEST_CASE("draws: the words of the stream, in order") {
  const Rng stream = Rng(42).fork("x");
  Draws draws(stream);
  for (std::uint64_t i = 0; i < 9; ++i) CHECK(draws.bits() == stream.bits(i));
  CHECK(draws.uniform() == stream.uniform(9));
  CHECK(draws.below(7) == stream.below(10, 7));
  Draws copy = draws;
  CHECK(copy.bits() == draws.bits());
}

TEST_CASE("environments: the final observation is the last of its episode, not off by one") {
  const EnvPtr env = make_env("catch", {.size = 3, .seed = 4}, {{"rows", "4"}, {"columns", "6"}});
  const StepBuffers out = env->buffers();
  const Tensor actions = env->actions();
  actions.fill(1);  // the paddle stays in column 3
  const auto ball_row = [](const Tensor& view, index_t i) {
    const std::uint8_t* plane = view.data<std::uint8_t>() + i * 24;
    for (index_t k = 0; k < 24; ++k)
      if (plane[k] && k != 3 * 6 + 3) return k / 6;
    return index_t{3};  // caught: ball and paddle share a cell
  };
  env->reset(out.observation);
  for (int t = 1; t <= 9; ++t) {
    env->step(actions, out);
    for (index_t i = 0; i < 3; ++i) {
      const bool over = out.terminated.data<std::uint8_t>()[i] == 1;
      REQUIRE(over == (t % 3 == 0));
      CHECK(ball_row(out.observation, i) == t % 3);  // 0: already the next episode
      if (over) CHECK(ball_row(out.final_observation, i) == 3);
    }
  }
}

TEST_CASE("environments: rewards are not clipped") {
  const EnvPtr env = make_env("chain", {.size = 50, .seed = 4}, {{"slip", "0"}});
  const StepBuffers out = env->buffers();
  env->reset(out.observation);
  for (int t = 0; t < 5; ++t) env->step(env->actions(), out);
  for (const float r : out.reward.values<float>()) CHECK(r == 10);
}

TEST_CASE("environments: errors") {
  const EnvPtr env = make_env("cartpole", {.size = 3});
  const StepBuffers out = env->buffers();
  const Tensor actions = env->actions();
  CHECK(error_text<UsageError>([&] { env->step(actions, out); }) ==
        "cartpole: step before the first reset");
  CHECK(error_text<UsageError>([&] { env->observe(out.observation); }) ==
        "cartpole: observe before the first reset");
  env->reset(out.observation);
  actions.data<std::int64_t>()[1] = 2;
  CHECK(error_text<ValueError>([&] { env->step(actions, out); }) ==
        "cartpole: action 2 in environment 1, expected one of its 2");
  StepBuffers wrong = out;
  wrong.reward = Tensor::zeros({4});
  CHECK_THROWS_AS(env->step(env->actions(), wrong), ShapeError);
  wrong = out;
  wrong.terminated = Tensor::zeros({3});
  CHECK_THROWS_AS(env->step(env->actions(), wrong), DTypeError);
  CHECK_THROWS_AS(env->step(Tensor::zeros({3}), out), DTypeError);
  CHECK(error_text<ValueError>([] { make_env("catch", {.size = 0}); }) ==
        "catch: 0 environments, expected at least 1");
  CHECK_THROWS_AS(make_env("cartpol", {}), ValueError);
  CHECK_THROWS_AS(make_env("catch", {}, {{"rowz", "3"}}), ValueError);
  CHECK_THROWS_AS(make_env("catch", {}, {{"rows", "1"}}), ValueError);
}
