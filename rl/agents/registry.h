// The agents by name, for the command line and for experiments.
#pragma once

#include <concord/multitask/options.h>
#include <concord/rl/agents/ppo.h>

#include <memory>
#include <span>
#include <string_view>

namespace concord::rl {

struct AgentEntry {
  std::string_view name;
  std::string_view help;    ///< one line
  std::string_view source;  ///< paper
  bool continuous;          ///< takes continuous actions
  bool discrete;            ///< takes discrete actions
  std::unique_ptr<Agent> (*make)(EnvPtr env, multitask::Options& options, std::uint64_t seed);
};

std::span<const AgentEntry> agents();

/// Throws ValueError with the nearest valid names.
const AgentEntry& find_agent(std::string_view name);

/// Options are the fields of the agent's struct by name ("steps", "gamma", "minibatches" ...), of
/// its trunk ("network", "hidden", "activation") and learner ("optimizer", "rate", "method");
/// "method.NAME" is the method's own option NAME. Throws ValueError for an unknown agent or option
/// and a value out of range.
std::unique_ptr<Agent> make_agent(std::string_view name, EnvPtr env,
                                  const multitask::OptionMap& options, std::uint64_t seed);

/// The options of PPO as make_agent reads them, for those who add what has no name: a teacher.
PpoOptions ppo_options(const multitask::OptionMap& options);

/// Every option of an agent and its default.
std::vector<std::pair<std::string, std::string>> default_options_of_agent(std::string_view name);

}  // namespace concord::rl
