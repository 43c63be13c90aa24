// Environments alone: random actions drawn beforehand, one thread.
#include <concord/experiments/bench_suite.h>
#include <concord/rl/multi_env.h>
#include <concord/rl/registry.h>

#include <fmt/format.h>
#include <omp.h>

#include <array>

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

}  // namespace

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
