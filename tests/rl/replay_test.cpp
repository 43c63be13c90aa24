// The replay against the transitions as they were played, and its draws against their
// probabilities.
#include <concord/rl/replay.h>
#include <concord/rl/vectorised.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <cmath>
#include <map>

using namespace concord;
using namespace concord::rl;

namespace {

/// Shows its own step counter, which never repeats; pays the counter's square root. Episodes
/// terminate where a draw says so, and are truncated after five steps.
struct Counter {
  struct State {
    int count;
  };
  using Observed = float;
  using Action = int;
  EnvSpec spec() const {
    return {.name = "counter",
            .observation = {DType::f32, {2}},
            .action = {.count = 2, .names = {"on", "off"}},
            .max_steps = 5};
  }
  void reset(State& s, Draws&) const { s.count += 100; }
  Outcome step(State& s, Action, Draws& draws) const {
    ++s.count;
    return {std::sqrt(static_cast<float>(s.count)), draws.chance(0.15)};
  }
  void observe(const State& s, float* out) const {
    out[0] = static_cast<float>(s.count);
    out[1] = -out[0];
  }
  Canvas draw(const State&) const { return Canvas(1, 1); }
};

constexpr index_t kEnvs = 3;
constexpr double kGamma = 0.9;

struct Played {
  float reward, next;
  bool terminated, ended;
};

/// Plays `steps` steps into the replay; what followed each shown counter of each environment.
std::map<std::pair<index_t, float>, Played> play(Replay& replay, index_t steps) {
  const EnvPtr env = vectorise(Counter(), {.size = kEnvs, .seed = 4});
  const StepBuffers out = env->buffers();
  const Tensor actions = env->actions();
  env->reset(out.observation);
  replay.begin(out.observation);
  std::map<std::pair<index_t, float>, Played> played;
  for (index_t t = 0; t < steps; ++t) {
    const Tensor shown = out.observation.clone();
    for (index_t i = 0; i < kEnvs; ++i)
      actions.data<std::int64_t>()[i] = static_cast<int>(shown.at({i, 0})) % 2;
    env->step(actions, out);
    replay.add(actions, out.reward, out);
    for (index_t i = 0; i < kEnvs; ++i) {
      const bool over = out.terminated.data<std::uint8_t>()[i];
      const bool ended = over || out.truncated.data<std::uint8_t>()[i];
      const Tensor& next = ended ? out.final_observation : out.observation;
      played[{i, static_cast<float>(shown.at({i, 0}))}] = {
          out.reward.data<float>()[i], static_cast<float>(next.at({i, 0})), over, ended};
    }
  }
  return played;
}

Replay make(const ReplayOptions& o) {
  const EnvPtr env = vectorise(Counter(), {.size = kEnvs, .seed = 4});
  return Replay(*env, 0, kEnvs, o);
}

}  // namespace

TEST_CASE("replay: n-step transitions are those that were played, within their episode") {
  for (const index_t n : {1, 3}) {
    for (const index_t steps : {7, 200}) {  // before and after the rings are full
      CAPTURE(n);
      CAPTURE(steps);
      Replay replay = make({.capacity = 60, .n = n, .gamma = kGamma});
      const auto played = play(replay, steps);
      CHECK(replay.size() <= 60);
      CHECK(replay.size() > (steps == 7 ? 20 : 40));
      Transitions b;
      replay.sample(300, Rng(1), 0, b);
      for (index_t k = 0; k < 300; ++k) {
        // Counters of the environments differ in where episodes end only: find whose this one is.
        const index_t env = b.slots[static_cast<std::size_t>(k)] / (60 / kEnvs + 1);
        float shown = static_cast<float>(b.observation.at({k, 0}));
        CHECK(b.observation.at({k, 1}) == -shown);
        CHECK(b.action.data<std::int64_t>()[k] == static_cast<int>(shown) % 2);
        double reward = 0, factor = 1;
        bool over = false;
        float next = 0;
        for (index_t m = 0; m < n; ++m) {
          const auto it = played.find({env, shown});
          if (it == played.end()) break;  // the newest state
          reward += factor * it->second.reward;
          factor *= kGamma;
          next = it->second.next;
          over = it->second.terminated;
          if (it->second.ended) break;
          shown = next;
        }
        CHECK(b.reward.data<float>()[k] == doctest::Approx(reward));
        CHECK(b.discount.data<float>()[k] == doctest::Approx(over ? 0 : factor));
        if (!over) CHECK(b.next_observation.at({k, 0}) == next);
        CHECK(b.weight.data<float>()[k] == 1);
      }
    }
  }
}

TEST_CASE("replay: uniform draws are uniform over the transitions held") {
  Replay replay = make({.capacity = 30});
  play(replay, 50);
  std::map<index_t, double> count;
  Transitions b;
  const index_t draws = 20000;
  replay.sample(draws, Rng(2), 0, b);
  for (const index_t s : b.slots) ++count[s];
  CHECK(static_cast<index_t>(count.size()) == replay.size());
  const double p = 1.0 / static_cast<double>(replay.size());
  for (const auto& [slot, n] : count)
    CHECK(std::abs(n / draws - p) < 5 * std::sqrt(p * (1 - p) / draws));
}

TEST_CASE("replay: prioritised draws have their probabilities and weights") {
  const double alpha = 0.6, beta = 0.5;
  Replay replay = make({.capacity = 30, .alpha = alpha});
  play(replay, 50);
  Transitions b;
  replay.sample(400, Rng(3), beta, b);
  const std::vector<index_t> slots = b.slots;
  std::vector<float> errors;
  for (const index_t s : slots) errors.push_back(static_cast<float>(s % 7) - 3);
  replay.update(slots, errors);
  double total = 0;
  for (index_t s = 0; s < 33; ++s) total += replay.priority(s);
  CHECK(replay.priority(slots[5]) == doctest::Approx(std::pow(std::abs(errors[5]) + 1e-6, alpha)));
  std::map<index_t, double> count;
  const index_t draws = 20000;
  replay.sample(draws, Rng(4), beta, b);
  for (const index_t s : b.slots) ++count[s];
  float largest = 0;
  for (index_t s = 0; s < 33; ++s) {
    const double p = replay.priority(s) / total;
    CHECK(std::abs(count[s] / draws - p) < 5 * std::sqrt(p * (1 - p) / draws) + 1e-3);
  }
  double raw = 0;
  for (const index_t s : b.slots)
    raw = std::max(
        raw, std::pow(static_cast<double>(replay.size()) * replay.priority(s) / total, -beta));
  for (std::size_t k = 0; k < 50; ++k) {
    const double w =
        std::pow(static_cast<double>(replay.size()) * replay.priority(b.slots[k]) / total, -beta);
    CHECK(b.weight.data<float>()[k] == doctest::Approx(w / raw).epsilon(1e-5));
    largest = std::max(largest, b.weight.data<float>()[k]);
  }
  CHECK(largest <= 1);
}

TEST_CASE("sum tree: finds by mass, and depends on the priorities alone") {
  SumTree a(5), b(5);
  for (int k = 0; k < 100; ++k) a.set(k % 5, 0.1 * (k % 7));
  const double p[5] = {1, 0, 2, 0.5, 0};
  for (int i = 0; i < 5; ++i) a.set(i, p[i]);
  for (int i = 4; i >= 0; --i) b.set(i, p[i]);
  CHECK(a.total() == b.total());
  CHECK(a.total() == 3.5);
  CHECK(a.find(0) == 0);
  CHECK(a.find(0.999) == 0);
  CHECK(a.find(1) == 2);
  CHECK(a.find(2.999) == 2);
  CHECK(a.find(3) == 3);
  CHECK(a.find(3.5) == 3);  // rounding beyond the end: the last one that is possible
  CHECK(testing::error_text<UsageError>([] { SumTree(3).find(0); }) ==
        "replay: nothing to draw from");
}

TEST_CASE("replay: a restored one draws the same batches and goes on the same") {
  const ReplayOptions o{.capacity = 40, .n = 2, .alpha = 0.7};
  Replay replay = make(o);
  play(replay, 37);
  Transitions a, b;
  replay.sample(16, Rng(1), 0.4, a);
  replay.update(a.slots, std::vector<float>(16, 2.5f));
  TensorFile file;
  replay.archive(Archive::save(file));
  Replay other = make(o);
  other.archive(Archive::load(file));
  CHECK(other.size() == replay.size());
  replay.sample(64, Rng(9), 0.4, a);
  other.sample(64, Rng(9), 0.4, b);
  CHECK(a.slots == b.slots);
  CHECK(testing::relative_error(a.observation, b.observation) == 0);
  CHECK(testing::relative_error(a.weight, b.weight) == 0);
  file.tensors.erase("tree/priorities");
  CHECK(testing::error_text<FileError>([&] { other.archive(Archive::load(file)); }) ==
        "checkpoint: tensor 'tree/priorities' is missing");
}

TEST_CASE("replay: bytes stay bytes, options out of range are named") {
  struct Plane : Counter {
    using Observed [[maybe_unused]] = std::uint8_t;
    EnvSpec spec() const {
      EnvSpec s = Counter::spec();
      s.observation = {DType::u8, {1, 3, 3}};
      return s;
    }
    void observe(const State& s, std::uint8_t* out) const {
      for (int k = 0; k < 9; ++k) out[k] = static_cast<std::uint8_t>(s.count + k);
    }
  };
  const EnvPtr env = vectorise(Plane(), {.size = 2, .seed = 1});
  Replay replay(*env, 0, 2, {.capacity = 20});
  const StepBuffers out = env->buffers();
  env->reset(out.observation);
  replay.begin(out.observation);
  Transitions b;
  CHECK(testing::error_text<UsageError>([&] { replay.sample(1, Rng(), 0, b); }) ==
        "replay: nothing to draw from");
  env->step(env->actions(), out);
  replay.add(env->actions(), out.reward, out);
  replay.sample(4, Rng(), 0, b);
  CHECK(b.observation.dtype() == DType::f32);
  CHECK(b.observation.at({0, 0, 2, 1}) == 107);
  TensorFile file;
  replay.archive(Archive::save(file));
  CHECK(file.tensors.at("observation").dtype() == DType::u8);
  CHECK(testing::error_text<ValueError>([&] { Replay(*env, 0, 2, {.capacity = 4, .n = 3}); }) ==
        "replay: room for 4 transitions of 2 environments, expected 4 or more each");
}
