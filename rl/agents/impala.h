// IMPALA (Espeholt et al., 1802.01561): the policy that acts is older than the one that learns, and
// V-trace corrects for it. Here actors are synchronous and lag by a fixed number of steps, so that
// a run repeats bit by bit.
#pragma once

#include <concord/rl/agents/on_policy.h>

#include <vector>

namespace concord::rl {

/// The losses here are means: the paper's eps of 0.1 and norm of 40 belong to sums over hundreds of
/// steps.
struct ImpalaOptions : OnPolicyOptions {
  ImpalaOptions() {
    steps = 20;
    learner.optimizer = "rmsprop";
    learner.rate = 4.8e-4;
  }
  index_t lag = 1;  ///< the actors' parameters are those of so many learner steps ago
  double lambda = 1, rho = 1, c = 1;  ///< of V-trace
};

class Impala final : public OnPolicyAgent {
 public:
  /// Throws ValueError for a negative lag.
  Impala(EnvPtr env, const ImpalaOptions& options, std::uint64_t seed);
  void iterate() override;

 private:
  void archive_own(const Archive& a) override;

  ImpalaOptions options_;
  /// The last `lag` parameters; those of step k are at k % lag.
  std::vector<Theta> past_;
  Tensor log_ratio_;  // [T,N]
  Tensor inputs_, actions_;
  std::vector<Distribution> policies_;
};

}  // namespace concord::rl
