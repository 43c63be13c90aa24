// One factory per environment: reads its options, each with the paper's or the usual default.
// registry.cpp lists them; each .cpp file describes its rules.
#pragma once

#include <concord/multitask/options.h>
#include <concord/rl/vectorised.h>

namespace concord::rl {

EnvPtr make_cartpole(multitask::Options& options, const EnvCount& count);
EnvPtr make_pendulum(multitask::Options& options, const EnvCount& count);
EnvPtr make_catch(multitask::Options& options, const EnvCount& count);
EnvPtr make_deep_sea(multitask::Options& options, const EnvCount& count);
EnvPtr make_chain(multitask::Options& options, const EnvCount& count);
EnvPtr make_breakout(multitask::Options& options, const EnvCount& count);
EnvPtr make_asterix(multitask::Options& options, const EnvCount& count);
EnvPtr make_freeway(multitask::Options& options, const EnvCount& count);
EnvPtr make_seaquest(multitask::Options& options, const EnvCount& count);
EnvPtr make_space_invaders(multitask::Options& options, const EnvCount& count);
EnvPtr make_minigrid_empty(multitask::Options& options, const EnvCount& count);
EnvPtr make_minigrid_four_rooms(multitask::Options& options, const EnvCount& count);
EnvPtr make_minigrid_door_key(multitask::Options& options, const EnvCount& count);
EnvPtr make_minigrid_simple_crossing(multitask::Options& options, const EnvCount& count);
EnvPtr make_minigrid_lava_gap(multitask::Options& options, const EnvCount& count);
EnvPtr make_minigrid_multi_room(multitask::Options& options, const EnvCount& count);
EnvPtr make_random_world(multitask::Options& options, const EnvCount& count);
EnvPtr make_two_rooms(multitask::Options& options, const EnvCount& count);
EnvPtr make_four_rooms(multitask::Options& options, const EnvCount& count);
EnvPtr make_zeng_chain(multitask::Options& options, const EnvCount& count);
EnvPtr make_zeng_drift_chain(multitask::Options& options, const EnvCount& count);
EnvPtr make_zeng_map(multitask::Options& options, const EnvCount& count);

}  // namespace concord::rl
