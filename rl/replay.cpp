#include <concord/rl/replay.h>

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace concord::rl {

SumTree::SumTree(index_t size)
    : size_(size),
      leaves_(static_cast<index_t>(std::bit_ceil(static_cast<std::uint64_t>(size)))),
      nodes_(static_cast<std::size_t>(2 * leaves_)) {}

void SumTree::set(index_t i, double priority) {
  auto k = static_cast<std::size_t>(leaves_ + i);
  nodes_[k] = priority;
  for (k /= 2; k > 0; k /= 2) nodes_[k] = nodes_[2 * k] + nodes_[2 * k + 1];
}

index_t SumTree::find(double mass) const {
  if (!(total() > 0)) throw UsageError("replay: nothing to draw from");
  std::size_t k = 1;
  while (k < static_cast<std::size_t>(leaves_)) {
    k *= 2;
    if (mass >= nodes_[k] && nodes_[k + 1] > 0) {
      mass -= nodes_[k];
      ++k;
    }
  }
  return static_cast<index_t>(k) - leaves_;
}

void SumTree::archive(const Archive& a) {
  std::vector<double> priorities(nodes_.begin() + leaves_, nodes_.begin() + leaves_ + size_);
  a("priorities", std::span(priorities));
  for (std::size_t i = 0; i < priorities.size(); ++i) set(static_cast<index_t>(i), priorities[i]);
}

Replay::Replay(const VecEnv& env, index_t first, index_t last, const ReplayOptions& options)
    : options_(options),
      first_(first),
      rings_(last - first),
      length_(options.capacity / std::max<index_t>(rings_, 1) + 1),
      head_(static_cast<std::size_t>(rings_), 0),
      tree_(options.alpha > 0 ? rings_ * length_ : 1) {
  if (options.n < 1 || options.alpha < 0 || !(options.gamma >= 0 && options.gamma <= 1)) {
    throw ValueError(
        fmt::format("replay: n = {}, alpha = {}, gamma = {}, expected n >= 1, alpha >= 0, gamma in "
                    "[0, 1]",
                    options.n, options.alpha, options.gamma));
  }
  if (rings_ < 1 || length_ < options.n + 2) {
    throw ValueError(
        fmt::format("replay: room for {} transitions of {} environments, expected {} or more each",
                    options.capacity, rings_, options.n + 1));
  }
  const ObservationSpec& spec = env.spec().observation;
  const Tensor action = env.actions();
  const auto ring = [&](const Shape& one) { return one.insert(0, rings_ * length_); };
  observation_ = Tensor::zeros(ring(spec.shape), spec.dtype);
  action_ = Tensor::zeros(ring(action.shape().without(0)), action.dtype());
  reward_ = Tensor::zeros({rings_ * length_});
  kind_ = Tensor::zeros({rings_ * length_}, DType::u8);
}

void Replay::set_kind(index_t slot, Kind kind) {
  std::uint8_t& old = kind_.data<std::uint8_t>()[slot];
  const auto counts = [](std::uint8_t k) { return k == step || k == terminal_step; };
  count_ += counts(kind) - counts(old);
  old = kind;
  if (options_.alpha > 0) tree_.set(slot, counts(kind) ? std::pow(largest_, options_.alpha) : 0);
}

void Replay::append(index_t ring, const Tensor& observation, index_t i) {
  std::int64_t& head = head_[static_cast<std::size_t>(ring)];
  head = (head + 1) % length_;
  const index_t at = slot(ring, head);
  set_kind(at, empty);
  observation_[at].copy_from(observation[i]);
}

void Replay::begin(const Tensor& observation) {
  for (index_t at = 0; at < rings_ * length_; ++at) set_kind(at, empty);
  for (index_t ring = 0; ring < rings_; ++ring) append(ring, observation, first_ + ring);
}

void Replay::add(const Tensor& action, const Tensor& reward, const StepBuffers& out) {
  for (index_t ring = 0; ring < rings_; ++ring) {
    const index_t i = first_ + ring, at = slot(ring, head_[static_cast<std::size_t>(ring)]);
    const bool over = out.terminated.data<std::uint8_t>()[i];
    action_[at].copy_from(action[i]);
    reward_.data<float>()[at] = reward.data<float>()[i];
    set_kind(at, over ? terminal_step : step);
    if (out.truncated.data<std::uint8_t>()[i]) {
      append(ring, out.final_observation, i);
      set_kind(slot(ring, head_[static_cast<std::size_t>(ring)]), end);
    }
    append(ring, out.observation, i);
  }
}

index_t Replay::draw(index_t k, index_t batch, const Rng& rng) const {
  if (options_.alpha > 0) {  // one draw from each of `batch` strata of equal mass
    const double u = rng.uniform(static_cast<std::uint64_t>(k));
    return tree_.find((static_cast<double>(k) + u) / static_cast<double>(batch) * tree_.total());
  }
  const auto* kind = kind_.data<std::uint8_t>();
  const Rng own = rng.fork(static_cast<std::uint64_t>(k));
  for (std::uint64_t trial = 0;; ++trial) {  // entries that are no transitions are drawn again
    const index_t at = own.below(trial, rings_ * length_);
    if (kind[at] == step || kind[at] == terminal_step) return at;
  }
}

void Replay::sample(index_t batch, const Rng& rng, double beta, Transitions& out) const {
  if (count_ == 0) throw UsageError("replay: nothing to draw from");
  const Shape row{batch};
  if (!out.reward.defined() || !(out.reward.shape() == row)) {
    out.reward = Tensor::empty(row);
    out.discount = Tensor::empty(row);
    out.weight = Tensor::empty(row);
  }
  out.slots.resize(static_cast<std::size_t>(batch));
  next_rows_.resize(out.slots.size());
  const auto* kind = kind_.data<std::uint8_t>();
  float largest = 0;
  for (index_t k = 0; k < batch; ++k) {
    const index_t drawn = draw(k, batch, rng);
    double reward = 0, discount = 1;
    index_t at = drawn;
    for (index_t m = 0; m < options_.n; ++m) {
      reward += discount * reward_.data<float>()[at];
      discount *= kind[at] == terminal_step ? 0 : options_.gamma;
      if (discount == 0) break;
      at = next(at);
      // Beyond the last state of a truncated episode, and beyond the newest state, nothing is
      // known.
      if (kind[at] == end || kind[at] == empty) break;
    }
    out.slots[static_cast<std::size_t>(k)] = drawn;
    next_rows_[static_cast<std::size_t>(k)] = at;
    out.reward.data<float>()[k] = static_cast<float>(reward);
    out.discount.data<float>()[k] = static_cast<float>(discount);
    float& weight = out.weight.data<float>()[k];
    weight = 1;
    if (options_.alpha > 0)
      weight = static_cast<float>(
          std::pow(static_cast<double>(count_) * tree_[drawn] / tree_.total(), -beta));
    largest = std::max(largest, weight);
  }
  for (float& w : out.weight.values<float>()) w /= largest;
  gather_rows(observation_, out.slots, out.observation);
  gather_rows(observation_, next_rows_, out.next_observation);
  gather_rows(action_, out.slots, out.action);
}

void Replay::update(std::span<const index_t> slots, std::span<const float> errors) {
  if (options_.alpha == 0) return;
  for (std::size_t k = 0; k < slots.size(); ++k) {
    const double priority = std::abs(static_cast<double>(errors[k])) + 1e-6;
    largest_ = std::max(largest_, priority);
    tree_.set(slots[k], std::pow(priority, options_.alpha));
  }
}

void Replay::archive(const Archive& a) {
  a("observation", observation_);
  a("action", action_);
  a("reward", reward_);
  a("kind", kind_);
  a("head", std::span(head_));
  a("largest", largest_);
  tree_.archive(a / "tree");
  if (!a.loading()) return;
  for (const std::int64_t head : head_)
    if (head < 0 || head >= length_)
      throw FileError("checkpoint: a replay's place is outside of its ring");
  count_ = 0;
  for (const std::uint8_t kind : kind_.values<std::uint8_t>())
    count_ += kind == step || kind == terminal_step;
}

TaskReplay::TaskReplay(const VecEnv& env, const Bounds& tasks, const ReplayOptions& options,
                       index_t batch)
    : bounds_{0} {
  const auto count = static_cast<index_t>(tasks.size()) - 1;
  const ObservationSpec& spec = env.spec().observation;
  const DType input = spec.dtype == DType::u8 ? DType::f32 : spec.dtype;
  const Tensor action = env.actions();
  const Shape row{count * batch};
  all_ = {.observation = Tensor::empty(spec.shape.insert(0, row[0]), input),
          .action = Tensor::empty(action.shape().with(0, row[0]), action.dtype()),
          .reward = Tensor::empty(row),
          .next_observation = Tensor::empty(spec.shape.insert(0, row[0]), input),
          .discount = Tensor::empty(row),
          .weight = Tensor::empty(row)};
  for (std::size_t t = 0; t + 1 < tasks.size(); ++t) {
    replays_.emplace_back(env, tasks[t], tasks[t + 1], options);
    const index_t a = bounds_.back(), b = a + batch;
    parts_.push_back({all_.observation.rows(a, b), all_.action.rows(a, b), all_.reward.rows(a, b),
                      all_.next_observation.rows(a, b), all_.discount.rows(a, b),
                      all_.weight.rows(a, b)});
    bounds_.push_back(b);
  }
}

void TaskReplay::begin(const Tensor& observation) {
  for (Replay& r : replays_) r.begin(observation);
}

void TaskReplay::add(const Tensor& action, const Tensor& reward, const StepBuffers& out) {
  for (Replay& r : replays_) r.add(action, reward, out);
}

index_t TaskReplay::size() const {
  return std::min_element(replays_.begin(), replays_.end(),
                          [](const Replay& a, const Replay& b) { return a.size() < b.size(); })
      ->size();
}

void TaskReplay::sample(const Rng& rng, double beta) {
  for (std::size_t t = 0; t < replays_.size(); ++t)
    replays_[t].sample(bounds_[t + 1] - bounds_[t], rng.fork(t), beta, parts_[t]);
}

void TaskReplay::update(int task, std::span<const float> errors) {
  replays_[static_cast<std::size_t>(task)].update(batch(task).slots, errors);
}

void TaskReplay::archive(const Archive& a) {
  for (std::size_t t = 0; t < replays_.size(); ++t) replays_[t].archive(a / fmt::format("{}", t));
}

}  // namespace concord::rl
