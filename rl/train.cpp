#include <concord/rl/train.h>

namespace concord::rl {

void save_checkpoint(Agent& agent, const std::filesystem::path& path) {
  TensorFile file;
  agent.archive(Archive::save(file));
  save_safetensors(path, file);
}

void load_checkpoint(Agent& agent, const std::filesystem::path& path) {
  agent.archive(Archive::load(load_safetensors(path)));
}

void train(Agent& agent, const TrainOptions& o) {
  if (o.report_every < 1 || o.checkpoint_every < 1)
    throw ValueError("train: report_every and checkpoint_every must be at least 1");
  const bool keep = !o.checkpoint.empty();
  if (keep && std::filesystem::exists(o.checkpoint)) load_checkpoint(agent, o.checkpoint);
  bool stopped = false;
  while (agent.steps() < o.steps && !stopped) {
    const std::int64_t before = agent.steps();
    agent.iterate();
    const auto passed = [&](std::int64_t every) { return agent.steps() / every > before / every; };
    const bool last = agent.steps() >= o.steps;
    if (o.report && (last || passed(o.report_every))) stopped = !o.report(agent);
    if (keep && (last || stopped || passed(o.checkpoint_every)))
      save_checkpoint(agent, o.checkpoint);
  }
}

}  // namespace concord::rl
