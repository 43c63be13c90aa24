#include <concord/rl/agent.h>

#include <algorithm>
#include <utility>

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
  if (a.loading()) env_->check_state();
  episodes_.archive(a / "episodes");
  archive_own(a / name_);
}

double linear_decay(std::int64_t step, std::int64_t over) {
  if (over == 0) return 1;
  return std::max(0.0, 1 - static_cast<double>(step) / static_cast<double>(over));
}

void choose(const std::vector<Distribution>& policies, const Bounds& bounds, const Rng& rng,
            bool greedy, const Tensor& actions, const Tensor& log_probs) {
  for (std::size_t t = 0; t < policies.size(); ++t) {
    const index_t first = bounds[t], last = bounds[t + 1];
    if (first == last) continue;
    if (greedy)
      mode(policies[t], actions.rows(first, last));
    else
      sample(policies[t], rng, first, actions.rows(first, last),
             log_probs.defined() ? log_probs.rows(first, last) : Tensor());
  }
}

void clip_rewards(const Tensor& rewards, double bound) {
  if (bound == 0) return;
  const auto b = static_cast<float>(bound);
  for (float& r : rewards.values<float>()) r = std::clamp(r, -b, b);
}

Evaluation evaluate(const Agent& agent, VecEnv& env, index_t episodes, bool greedy,
                    std::uint64_t seed, std::int64_t max_steps) {
  if (episodes < 1 || max_steps < 1)
    throw ValueError("evaluate: episodes and max_steps must be at least 1");
  const Bounds bounds = task_bounds(env);
  const std::size_t tasks = bounds.size() - 1;
  const Rng rng = Rng(seed).fork("evaluate");
  const StepBuffers out = env.buffers();
  const Tensor actions = env.actions();
  struct Seat {  // of one environment
    std::size_t task;
    index_t quota;  // episodes left to play
    double score = 0;
  };
  std::vector<Seat> seats;
  for (std::size_t t = 0; t < tasks; ++t) {
    const index_t n = bounds[t + 1] - bounds[t];
    for (index_t i = 0; i < n; ++i) seats.push_back({t, episodes / n + (i < episodes % n ? 1 : 0)});
  }
  std::vector<double> sums(tasks);
  std::vector<index_t> counts(tasks);
  const auto count = [&](Seat& seat) {
    sums[seat.task] += std::exchange(seat.score, 0.0);
    ++counts[seat.task];
    --seat.quota;
  };
  index_t left = episodes * static_cast<index_t>(tasks);
  env.reset(out.observation);
  for (std::int64_t step = 0; left > 0 && step < max_steps; ++step) {
    agent.act(out.observation, bounds, rng.fork(static_cast<std::uint64_t>(step)), greedy, actions);
    env.step(actions, out);
    for (std::size_t i = 0; i < seats.size(); ++i) {
      if (seats[i].quota == 0) continue;
      seats[i].score += out.reward.data<float>()[i];
      if (!(out.terminated.data<std::uint8_t>()[i] | out.truncated.data<std::uint8_t>()[i]))
        continue;
      count(seats[i]);
      --left;
    }
  }
  Evaluation result{.score = {}, .cut = std::vector<index_t>(tasks)};
  for (Seat& seat : seats) {
    if (seat.quota == 0) continue;
    count(seat);
    ++result.cut[seat.task];
  }
  for (std::size_t t = 0; t < tasks; ++t)
    result.score.push_back(sums[t] / static_cast<double>(counts[t]));
  return result;
}

}  // namespace concord::rl
