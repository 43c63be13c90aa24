#include <concord/rl/episodes.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::rl {

Episodes::Episodes(const VecEnv& env, index_t window)
    : tasks_(env.tasks()),
      window_(window),
      score_(static_cast<std::size_t>(env.size())),
      length_(static_cast<std::size_t>(env.size())) {
  const auto tasks = tasks_.values<std::int64_t>();
  const auto count = static_cast<std::size_t>(*std::max_element(tasks.begin(), tasks.end())) + 1;
  finished_.resize(count);
  recent_.resize(count * static_cast<std::size_t>(window));
}

void Episodes::record(const StepBuffers& step, std::int64_t at) {
  const auto* over = step.terminated.data<std::uint8_t>();
  const auto* cut = step.truncated.data<std::uint8_t>();
  for (std::size_t i = 0; i < score_.size(); ++i) {
    score_[i] += step.reward.data<float>()[i];
    ++length_[i];
    if (!(over[i] | cut[i])) continue;
    const auto task = static_cast<std::size_t>(tasks_.data<std::int64_t>()[i]);
    const auto slot = static_cast<std::size_t>(finished_[task]++ % window_);
    recent_[task * static_cast<std::size_t>(window_) + slot] = score_[i];
    ended_.push_back({static_cast<int>(task), std::exchange(score_[i], 0.0),
                      static_cast<std::int64_t>(std::exchange(length_[i], 0.0)), at});
  }
}

double Episodes::mean_score(int task) const {
  const index_t held = std::min<index_t>(finished(task), window_);
  double sum = 0;
  for (index_t k = 0; k < held; ++k) sum += recent_[static_cast<std::size_t>(task * window_ + k)];
  return held > 0 ? sum / static_cast<double>(held) : NAN;
}

std::vector<Episode> Episodes::take() { return std::exchange(ended_, {}); }

void Episodes::archive(const Archive& a) {
  a("score", std::span(score_));
  a("length", std::span(length_));
  a("finished", std::span(finished_));
  a("recent", std::span(recent_));
  std::vector<double> ended;
  for (const Episode& e : ended_)
    for (const double x : {double(e.task), e.score, double(e.length), double(e.at)})
      ended.push_back(x);
  a("ended", ended);
  ended_.clear();
  for (std::size_t k = 0; k + 3 < ended.size(); k += 4) {
    if (!(ended[k] >= 0 && ended[k] < tasks()))
      throw FileError("checkpoint: an episode of a task that does not exist");
    ended_.push_back({static_cast<int>(ended[k]), ended[k + 1],
                      static_cast<std::int64_t>(ended[k + 2]),
                      static_cast<std::int64_t>(ended[k + 3])});
  }
  for (const std::int64_t n : finished_)
    if (n < 0) throw FileError("checkpoint: a negative number of episodes");
}

}  // namespace concord::rl
