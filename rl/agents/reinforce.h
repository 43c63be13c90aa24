// REINFORCE: policy gradient on the returns of whole episodes (Williams 1992), with a learned value
// as baseline.
#pragma once

#include <concord/rl/agents/on_policy.h>

namespace concord::rl {

struct ReinforceOptions : OnPolicyOptions {
  /// `steps` bounds the length of an episode; 0: the environment's own limit. What an episode that
  /// is cut off would have earned counts as 0.
  ReinforceOptions() {
    steps = 0;
    learner.rate = 1e-3;
  }
};

/// Each iteration plays one episode per environment, from the start, and takes one step on the mean
/// over the steps of all of them; what environments show after their episode is not used, or short
/// episodes would count more often.
class Reinforce final : public OnPolicyAgent {
 public:
  /// Throws ValueError when neither `steps` nor the environment bounds an episode.
  Reinforce(EnvPtr env, const ReinforceOptions& options, std::uint64_t seed);
  void iterate() override;

 private:
  std::vector<index_t> length_;  // of each environment's episode
  Rows rows_;
};

}  // namespace concord::rl
