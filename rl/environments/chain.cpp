// The chain of Strens ("A Bayesian framework for reinforcement learning", ICML 2000, section 5):
// "forward" moves one state along and pays 10 in the last one, which it stays in; "back" returns to
// the first state and pays 2. With probability `slip` the other action is carried out. It never
// ends; an episode here is max_steps long.
#include <concord/rl/environments/environments.h>
#include <concord/rl/mdp.h>

#include <algorithm>

namespace concord::rl {

EnvPtr make_chain(multitask::Options& options, const EnvCount& count) {
  const int length = options.integer("length", 5, 2, 1000);
  const double slip = options.number("slip", 0.2, 0, 1);
  Mdp mdp("chain", length, {"forward", "back"});
  for (int s = 0; s < length; ++s) {
    const std::int32_t next = std::min(s + 1, length - 1);
    const float forward = s == length - 1 ? 10 : 0;
    mdp.set(s, 0, {{1 - slip, next, forward}, {slip, 0, 2}});
    mdp.set(s, 1, {{slip, next, forward}, {1 - slip, 0, 2}});
  }
  mdp.max_steps = options.integer("max_steps", 100, 0, 1000000);
  return make_mdp_env(mdp, count);
}

}  // namespace concord::rl
