#include <concord/rl/agent.h>

#include <algorithm>

namespace concord::rl {

Agent::Agent(std::string name, EnvPtr env, std::uint64_t seed)
    : env_(std::move(env)),
      bounds_(task_bounds(*env_)),
      rng_(seed),
      name_(std::move(name)),
      episodes_(*env_) {}

void Agent::play(const Tensor& chosen, const StepBuffers& out) {
  env_->step(chosen, out);
  steps_ += env_->size();
  episodes_.record(out, steps_);
}

void Agent::begin_iteration() {
  began_ = steps_;
  watch_.start();
  for (std::size_t i = 0; i < metrics_.size(); ++i) metrics_[i].second = metric_counts_[i] = 0;
}

void Agent::measure(std::string_view name, double value) {
  auto it = std::find_if(metrics_.begin(), metrics_.end(),
                         [&](const auto& metric) { return metric.first == name; });
  if (it == metrics_.end()) {
    metrics_.emplace_back(name, 0.0);
    metric_counts_.push_back(0);
    it = metrics_.end() - 1;
  }
  const std::int64_t n = ++metric_counts_[static_cast<std::size_t>(it - metrics_.begin())];
  it->second += (value - it->second) / static_cast<double>(n);
}

void Agent::archive(const Archive& a) {
  a("steps", steps_);
  for (const auto& [name, values] : env_->state()) (a / "env")(name, values);
  episodes_.archive(a / "episodes");
  archive_own(a / name_);
}

double linear_decay(std::int64_t step, std::int64_t over) {
  if (over == 0) return 1;
  return std::max(0.0, 1 - static_cast<double>(step) / static_cast<double>(over));
}

void clip_rewards(const Tensor& rewards, double bound) {
  if (bound == 0) return;
  const auto b = static_cast<float>(bound);
  for (float& r : rewards.values<float>()) r = std::clamp(r, -b, b);
}

std::vector<double> evaluate(const Agent& agent, VecEnv& env, index_t episodes, bool greedy,
                             std::uint64_t seed) {
  const Bounds bounds = task_bounds(env);
  const std::size_t tasks = bounds.size() - 1;
  const Rng rng = Rng(seed).fork("evaluate");
  const StepBuffers out = env.buffers();
  const Tensor actions = env.actions();
  // Environment i of a task with n of them plays `quota[i]` episodes, the same whatever their
  // lengths.
  std::vector<index_t> quota(static_cast<std::size_t>(env.size()));
  std::vector<double> running(quota.size()), score(tasks);
  std::vector<std::size_t> task(quota.size());
  for (std::size_t t = 0; t < tasks; ++t) {
    const index_t n = bounds[t + 1] - bounds[t];
    for (index_t i = 0; i < n; ++i) {
      const auto e = static_cast<std::size_t>(bounds[t] + i);
      quota[e] = episodes / n + (i < episodes % n ? 1 : 0);
      task[e] = t;
    }
  }
  index_t left = episodes * static_cast<index_t>(tasks);
  env.reset(out.observation);
  for (std::uint64_t step = 0; left > 0; ++step) {
    agent.act(out.observation, bounds, rng.fork(step), greedy, actions);
    env.step(actions, out);
    for (std::size_t i = 0; i < quota.size(); ++i) {
      running[i] += out.reward.data<float>()[i];
      if (!(out.terminated.data<std::uint8_t>()[i] | out.truncated.data<std::uint8_t>()[i]))
        continue;
      if (quota[i] > 0) {
        score[task[i]] += running[i] / static_cast<double>(episodes);
        --quota[i];
        --left;
      }
      running[i] = 0;
    }
  }
  return score;
}

}  // namespace concord::rl
