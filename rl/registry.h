// The environments by name, for the command line and for experiments. A new one is a file in
// environments/, its factory in environments/environments.h, and one line in registry.cpp.
#pragma once

#include <concord/multitask/options.h>
#include <concord/rl/environment.h>
#include <concord/rl/vectorised.h>

#include <span>
#include <string_view>

namespace concord::rl {

using multitask::OptionMap;
using multitask::Options;

struct EnvEntry {
  std::string_view name;
  std::string_view help;    ///< one line
  std::string_view source;  ///< where the rules are described
  EnvPtr (*make)(Options& options, const EnvCount& count);
};

/// All of them, in the order in which they are listed.
std::span<const EnvEntry> environments();

/// Throws ValueError with the nearest valid names.
const EnvEntry& find_environment(std::string_view name);

/// `count.size` environments. Throws ValueError for an unknown name, an unknown option or a value
/// out of range.
EnvPtr make_env(std::string_view name, const EnvCount& count, const OptionMap& options = {});

/// Every option of an environment and its default.
std::vector<std::pair<std::string, std::string>> default_options(std::string_view name);

}  // namespace concord::rl
