// One factory per environment: reads its options, each with the paper's or the usual default.
// registry.cpp lists them; each .cpp file describes its rules.
#pragma once

#include <concord/multitask/options.h>
#include <concord/rl/vectorised.h>

namespace concord::rl {

EnvPtr make_cartpole(multitask::Options& options, const EnvCount& count);
EnvPtr make_catch(multitask::Options& options, const EnvCount& count);

}  // namespace concord::rl
