#include <concord/multitask/learned.h>

#include <cmath>

namespace concord::multitask {

double LearnedPerTask::value(std::size_t task) {
  if (task >= values_.size()) {
    values_.resize(task + 1, initial_);
    m_.resize(task + 1, 0.0);
    v_.resize(task + 1, 0.0);
    steps_.resize(task + 1, 0.0);
  }
  return values_[task];
}

void LearnedPerTask::descend(std::size_t task, double gradient) {
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
  gradient += decay_ * value(task);
  const double step = steps_[task] += 1;
  m_[task] += (1 - kBeta1) * (gradient - m_[task]);
  v_[task] += (1 - kBeta2) * (gradient * gradient - v_[task]);
  const double m = m_[task] / (1 - std::pow(kBeta1, step)),
               v = v_[task] / (1 - std::pow(kBeta2, step));
  values_[task] -= lr_ * m / (std::sqrt(v) + kEps);
}

void LearnedPerTask::save(State& state, const std::string& name) const {
  state[name] = values_;
  state[name + ".m"] = m_;
  state[name + ".v"] = v_;
  state[name + ".steps"] = steps_;
}

void LearnedPerTask::load(const State& state, std::string_view owner, const std::string& name) {
  const auto found = state.find(name);
  const std::size_t size = found == state.end() ? 0 : found->second.size();
  values_ = state_entry(state, owner, name, size);
  m_ = state_entry(state, owner, name + ".m", size);
  v_ = state_entry(state, owner, name + ".v", size);
  steps_ = state_entry(state, owner, name + ".steps", size);
}

}  // namespace concord::multitask
