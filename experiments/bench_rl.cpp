// Environments alone, with random actions drawn beforehand, and agents with all that they do.
#include <concord/experiments/bench_suite.h>
#include <concord/rl/agents/registry.h>
#include <concord/rl/multi_env.h>
#include <concord/rl/registry.h>

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <vector>

namespace concord::experiments {
namespace {

/// Enough environments for the loop to be steady, few enough for the second-level cache.
constexpr index_t kEnvironments = 256;

struct Case {
  std::string_view name;
  rl::OptionMap options;
  double target;  ///< steps per second of one core
};

/// Seconds per step of one environment under random play.
double seconds_per_step(rl::VecEnv& env) {
  const rl::StepBuffers out = env.buffers();
  std::array<Tensor, 16> actions;
  rl::Draws draws(Rng(1));
  for (Tensor& a : actions) {
    a = env.actions();
    if (env.spec().action.count > 0) {
      for (std::int64_t& v : a.values<std::int64_t>())
        v = draws.below(static_cast<int>(env.spec().action.count));
    } else {
      for (float& v : a.values<float>())
        v = static_cast<float>(draws.uniform(env.spec().action.low, env.spec().action.high));
    }
  }
  env.reset(out.observation);
  for (int t = 0; t < 1000; ++t) env.step(actions[t % 16], out);  // away from the common start
  std::size_t t = 0;
  const auto sixteen = [&] {
    for (int k = 0; k < 16; ++k) env.step(actions[t++ % 16], out);
  };
  return time(sixteen, 0.4).minimum / (16.0 * static_cast<double>(env.size()));
}

/// Training by PPO, timed by its median iteration. tests/bench/peers/ppo.py has the same settings.
struct Training {
  std::string name;
  std::vector<const char*> games;  ///< each a task
  index_t environments;            ///< of each game
  std::int64_t steps;              ///< of all environments
  rl::OptionMap options;           ///< that differ from PPO's own
};

std::vector<Training> trainings() {
  const rl::OptionMap minatar{{"network", "minatar"}, {"hidden", "128"}, {"activation", "relu"},
                              {"separate", "false"},  {"steps", "32"},   {"minibatches", "8"},
                              {"rate", "0.0025"}};
  rl::OptionMap five = minatar;
  five["method"] = "pcgrad";
  return {{"cartpole", {"cartpole"}, 4, 500'000, {}},
          {"breakout", {"breakout"}, 64, 200'000, minatar},
          {"five MinAtar games, PCGrad",
           {"breakout", "asterix", "freeway", "seaquest", "space_invaders"},
           32,
           100'000,
           five}};
}

void run(const Training& t, Section& section) {
  std::vector<rl::EnvPtr> games;
  for (const char* game : t.games)
    games.push_back(rl::make_env(game, {.size = t.environments, .seed = 1}));
  rl::EnvPtr env = games.size() == 1 ? std::move(games[0]) : rl::join(std::move(games));
  rl::OptionMap options = t.options;
  options["anneal"] = std::to_string(t.steps);
  const auto agent = rl::make_agent("ppo", std::move(env), options, 1);

  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;  // of an iteration
  while (agent->steps() < t.steps) {
    const Clock::time_point start = Clock::now();
    agent->iterate();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  const auto median = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), median, seconds.end());
  const double rate =
      static_cast<double>(agent->steps()) / static_cast<double>(seconds.size()) / *median;

  constexpr std::pair<const char*, rl::Phase> kPhases[] = {
      {"environment", rl::Phase::environment}, {"acting", rl::Phase::acting},
      {"forward", rl::Phase::forward},         {"backward", rl::Phase::backward},
      {"optimizer", rl::Phase::optimizer},     {"other", rl::Phase::other}};
  double total = 0;
  for (const auto& [_, phase] : kPhases) total += agent->watch().seconds(phase);
  const double score = agent->episodes().mean_score(0);
  std::vector<std::string> row{t.name, fmt::format("{:.0f}", rate), fmt::format("{:.1f}", total)};
  Json result =
      Json::object({{"name", t.name}, {"steps_per_s", rate}, {"seconds", total}, {"score", score}});
  for (const auto& [name, phase] : kPhases) {
    const double share = agent->watch().seconds(phase) / total;
    row.push_back(fmt::format("{:.0f} %", 100 * share));
    result.set(name, share);
  }
  row.push_back(fmt::format("{:.1f}", score));
  section.table.add(row);
  section.results.push_back(std::move(result));
}

}  // namespace

Section bench_ppo(const Roofs&) {
  Section section{Table({"<", "steps/s", "seconds", "environment", "acting", "forward", "backward",
                         "optimizer", "other", "score"}),
                  {}};
  for (const Training& t : trainings()) run(t, section);
  return section;
}

Section bench_environments(const Roofs&) {
  const Case cases[] = {
      {"cartpole", {}, 20e6},
      {"pendulum", {}, 0},
      {"catch", {}, 0},
      {"deep_sea", {}, 0},
      {"chain", {}, 0},
      {"random_world", {{"view", "0"}}, 20e6},
      {"random_world", {}, 0},
      {"two_rooms", {}, 20e6},
      {"zeng_map", {}, 20e6},
      {"four_rooms", {}, 0},
      {"breakout", {}, 10e6},
      {"asterix", {}, 3e6},
      {"freeway", {}, 10e6},
      {"seaquest", {}, 3e6},
      {"space_invaders", {}, 10e6},
      {"minigrid_empty", {}, 3e6},
      {"minigrid_four_rooms", {}, 3e6},
      {"minigrid_door_key", {}, 3e6},
      {"minigrid_simple_crossing", {}, 3e6},
      {"minigrid_lava_gap", {}, 3e6},
      {"minigrid_multi_room", {}, 3e6},
  };
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  Section section{Table({"<", "Msteps/s", "ns/step", "target Msteps/s", "<observation"}), {}};
  for (const Case& c : cases) {
    const rl::EnvPtr env = rl::make_env(c.name, {.size = kEnvironments, .seed = 1}, c.options);
    const double seconds = seconds_per_step(*env);
    std::string name(c.name);
    for (const auto& [option, value] : c.options) name += fmt::format(" {}={}", option, value);
    section.table.add({name, fmt::format("{:.1f}", 1e-6 / seconds),
                       fmt::format("{:.0f}", 1e9 * seconds),
                       c.target > 0 ? fmt::format("{:.0f}", c.target * 1e-6) : "",
                       fmt::format("{}{}", concord::name(env->spec().observation.dtype),
                                   to_string(env->spec().observation.shape))});
    section.results.push_back(Json::object({{"name", name}, {"steps_per_s", 1 / seconds}}));
  }
  omp_set_num_threads(threads);
  return section;
}

}  // namespace concord::experiments
