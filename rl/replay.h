// Replay: what has been seen, to be learned from again; uniform or prioritised, with n-step
// returns.
#pragma once

#include <concord/rl/archive.h>
#include <concord/rl/networks.h>

#include <cstdint>
#include <span>
#include <vector>

namespace concord::rl {

/// Priorities p_i >= 0 of n items, drawn with probability p_i / sum. A binary tree of sums: set and
/// find take log2(n) steps. Every sum is formed from its two parts, so that a tree depends on the
/// priorities alone, not on their history.
class SumTree {
 public:
  explicit SumTree(index_t size);

  void set(index_t i, double priority);
  double operator[](index_t i) const { return nodes_[static_cast<std::size_t>(leaves_ + i)]; }
  double total() const { return nodes_[1]; }
  /// The item at `mass` in [0, total): the first i with p_0 + ... + p_i > mass, up to rounding;
  /// never one of priority 0. Throws UsageError when all are 0.
  index_t find(double mass) const;

  void archive(const Archive& a);

 private:
  index_t size_, leaves_;
  std::vector<double> nodes_;  // children of k: 2k, 2k+1
};

struct ReplayOptions {
  index_t capacity = 10000;  ///< transitions, of all environments together
  index_t n = 1;             ///< rewards summed before bootstrapping
  double gamma = 0.99;
  /// Prioritised replay (Schaul et al., 1511.05952, sec. 3.3): P(i) ~ priority^alpha. 0: uniform.
  double alpha = 0;
};

/// A batch of B transitions.
struct Transitions {
  Tensor observation;       ///< [B, ...], u8 as f32
  Tensor action;            ///< i64 [B] or f32 [B,D]
  Tensor reward;            ///< f32 [B]: sum_{k<m} gamma^k r_k, m <= n
  Tensor next_observation;  ///< [B, ...]: what followed m steps later; any where discount is 0
  Tensor discount;          ///< f32 [B]: gamma^m, or 0 where the episode terminated
  Tensor weight;            ///< f32 [B]: (N P(i))^-beta over its largest in the batch; 1 if uniform
  std::vector<index_t> slots;  ///< for update()
};

/// The latest steps of environments [first, last) of a VecEnv, each observation once and in the
/// type in which it was shown: a ring per environment, in which what a step led to is the next
/// entry. The last state of a truncated episode has an entry of its own, without an action.
class Replay {
 public:
  /// Throws ValueError for options out of range, or when the rings have less than n + 2 entries.
  Replay(const VecEnv& env, index_t first, index_t last, const ReplayOptions& options);

  /// The first observations, after VecEnv::reset: [N, ...] of all environments of the VecEnv.
  void begin(const Tensor& observation);
  /// One step: what was done, rewards [N] as they are to be learned from, and what followed.
  void add(const Tensor& action, const Tensor& reward, const StepBuffers& out);

  index_t size() const { return count_; }  ///< transitions held
  /// B transitions; draw k looks at rng's numbers from k on. `beta`: see Transitions::weight.
  /// Throws UsageError when there is none.
  void sample(index_t batch, const Rng& rng, double beta, Transitions& out) const;
  /// New priorities |error| + 1e-6 of a sampled batch; new transitions get the largest so far.
  void update(std::span<const index_t> slots, std::span<const float> errors);
  double priority(index_t slot) const { return tree_[slot]; }  ///< to the power of alpha

  void archive(const Archive& a);

 private:
  enum Kind : std::uint8_t { empty, step, terminal_step, end };

  index_t slot(index_t ring, index_t place) const { return ring * length_ + place; }
  index_t next(index_t slot) const {
    return slot % length_ + 1 < length_ ? slot + 1 : slot + 1 - length_;
  }
  void set_kind(index_t slot, Kind kind);
  /// Moves the ring's head on and puts row i of `observation` there.
  void append(index_t ring, const Tensor& observation, index_t i);
  index_t draw(index_t k, index_t batch, const Rng& rng) const;

  ReplayOptions options_;
  index_t first_, rings_, length_;
  Tensor observation_, action_, reward_, kind_;  // [rings, length, ...]
  std::vector<std::int64_t> head_;               // per ring: the entry that waits for its action
  std::int64_t count_ = 0;
  SumTree tree_;
  double largest_ = 1;  // priority so far
  mutable std::vector<index_t> next_rows_;
};

/// A replay per task, and one batch of `batch` transitions of each.
class TaskReplay {
 public:
  /// `capacity` is per task.
  TaskReplay(const VecEnv& env, const Bounds& tasks, const ReplayOptions& options, index_t batch);

  void begin(const Tensor& observation);
  void add(const Tensor& action, const Tensor& reward, const StepBuffers& out);
  /// The smallest number of transitions that a task has.
  index_t size() const;

  void sample(const Rng& rng, double beta);
  const Transitions& batch() const { return all_; }  ///< ordered by task; without `slots`
  const Transitions& batch(int task) const { return parts_[static_cast<std::size_t>(task)]; }
  const Bounds& bounds() const { return bounds_; }  ///< of batch()
  void update(int task, std::span<const float> errors);

  void archive(const Archive& a);

 private:
  std::vector<Replay> replays_;
  Transitions all_;
  std::vector<Transitions> parts_;  // share memory with all_
  Bounds bounds_;
};

}  // namespace concord::rl
