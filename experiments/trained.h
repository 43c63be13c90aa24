// Trained: a policy out of a run's checkpoints and the environments it plays: what `concord watch`
// and the GIFs of reports show.
#pragma once

#include <concord/rl/agent.h>

#include <functional>
#include <string>

namespace concord::experiments {

struct Trained {
  std::string name;  ///< "ppo-breakout-1"
  std::unique_ptr<rl::Agent> agent;
  rl::EnvPtr env;     ///< one environment per task of the agent
  index_t shown = 0;  ///< which of them is looked at
};

/// What is seen after each step.
struct Watched {
  rl::Canvas picture;
  double score;  ///< of the running episode
  bool ended;    ///< the episode; the picture is the next one's first
};

/// Plays up to `steps` greedy steps; `see` is also called for the first picture. False: enough.
void play_trained(Trained& trained, int steps, const std::function<bool(const Watched&)>& see);

}  // namespace concord::experiments
