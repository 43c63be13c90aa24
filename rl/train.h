// Training an agent for a number of steps, with reports and checkpoints: the loop of experiments.
#pragma once

#include <concord/rl/agent.h>

#include <filesystem>
#include <functional>

namespace concord::rl {

struct TrainOptions {
  std::int64_t steps = 100'000;        ///< of all environments together
  std::int64_t report_every = 10'000;  ///< steps between calls of `report`
  /// What to do with the agent at that point: episodes().take() are those that ended since,
  /// metrics(), learner().telemetry(), evaluate(). It is called once more at the end. False stops.
  std::function<bool(Agent&)> report;
  std::filesystem::path checkpoint;         ///< written and continued from; empty: none
  std::int64_t checkpoint_every = 100'000;  ///< steps between; it is written at the end as well
};

/// Iterates until `steps` steps are done. When the checkpoint file exists, the run goes on from it,
/// to the same bits as without the interruption. Throws FileError when it is of another run.
void train(Agent& agent, const TrainOptions& options);

void save_checkpoint(Agent& agent, const std::filesystem::path& path);
void load_checkpoint(Agent& agent, const std::filesystem::path& path);

}  // namespace concord::rl
