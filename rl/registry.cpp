#include <concord/rl/environments/environments.h>
#include <concord/rl/registry.h>

namespace concord::rl {
namespace {

// clang-format off
constexpr EnvEntry kEnvironments[] = {
    {"cartpole", "balance a pole on a cart, left or right", "Barto, Sutton, Anderson 1983; Gymnasium's CartPole-v1", make_cartpole},
    {"catch", "move a paddle under a falling ball", "Mnih et al. 2014; bsuite (Osband et al. 2020)", make_catch},
};
// clang-format on

}  // namespace

std::span<const EnvEntry> environments() { return kEnvironments; }

const EnvEntry& find_environment(std::string_view name) {
  std::vector<std::string> names;
  for (const EnvEntry& entry : kEnvironments) {
    if (entry.name == name) return entry;
    names.emplace_back(entry.name);
  }
  throw_unknown("environment", name, names);
}

EnvPtr make_env(std::string_view name, const EnvCount& count, const OptionMap& options) {
  const EnvEntry& entry = find_environment(name);
  Options read(std::string(entry.name), options);
  EnvPtr env = entry.make(read, count);
  read.finish();
  return env;
}

std::vector<std::pair<std::string, std::string>> default_options(std::string_view name) {
  const EnvEntry& entry = find_environment(name);
  Options read{std::string(entry.name)};
  entry.make(read, {});
  return read.read();
}

}  // namespace concord::rl
