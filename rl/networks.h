// The networks of agents: a trunk for what an environment shows, policy and value heads, one per
// task or one for all.
#pragma once

#include <concord/nn/network.h>
#include <concord/rl/distribution.h>
#include <concord/rl/environment.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::rl {

/// Where the rows of each task stand in a batch that is ordered by task: those of task t are
/// [bounds[t], bounds[t+1]).
using Bounds = std::vector<index_t>;

/// The bounds of one row per environment. Throws ValueError unless tasks() ascends from 0 without
/// gaps.
Bounds task_bounds(const VecEnv& env);

/// The group of each task's head when row first_row + t of the gradient matrix is all that reaches
/// it; kShared when `several` rows do, and with a single task.
std::vector<int> head_groups(int tasks, int first_row = 0, bool several = false);

struct TrunkOptions {
  /// mlp: linear layers on the flattened observation. minatar: first a convolution of 16 channels,
  /// 3x3, and ReLU (Young and Tian, 1903.03176, sec. 4.1; use hidden = {128}, relu). Otherwise a
  /// name of nn::networks(), with its own sizes. States that are shown by number have a row of an
  /// embedding in place of the first linear layer.
  std::string name = "mlp";
  std::vector<index_t> hidden{64, 64};
  std::string activation = "tanh";
  bool layer_norm = false;  ///< before each activation of a linear layer
};

/// Weights start orthogonal with gain sqrt(2), biases at 0. Input: f32 [B, ...]; i64 [B] for
/// numbers of states.
std::unique_ptr<nn::Trunk> make_trunk(const Scope& scope, const ObservationSpec& spec,
                                      const TrunkOptions& options);

/// Features of every task's rows of x [B, ...]: out[t] is [B_t, d], undefined where B_t = 0. While
/// recording, each task's rows go through the trunk by themselves, so that a loss reaches its own
/// rows alone and the sweep of T losses costs one pass: through common nodes it would carry T rows
/// of cotangents over the whole batch, all but 1/T of them zeros.
void features_by_task(const nn::Trunk& trunk, const Context& ctx, const Var& x,
                      const Bounds& bounds, std::vector<Var>& out);

/// Linear layers on the same features: one per task, or a single one for all.
class Heads {
 public:
  /// groups[t] is the group of task t's parameters (its row of the gradient matrix; kShared when
  /// several rows reach it). One group: one head, whatever the task. Weights start orthogonal with
  /// `gain`. Names: scope.0.weight ...
  Heads(const Scope& scope, std::span<const int> groups, index_t in, index_t out, double gain);

  /// features[t] [B_t, in] through the head of task t: [B_t, out]; undefined where they are.
  void operator()(const Context& ctx, std::span<const Var> features, std::vector<Var>& out) const;
  index_t outputs() const { return outputs_; }
  int heads() const { return static_cast<int>(heads_.size()); }

 private:
  index_t outputs_;
  std::vector<std::unique_ptr<nn::Linear>> heads_;
};

struct ActorCriticOptions {
  TrunkOptions trunk;
  bool separate = true;       ///< the critic has a trunk of its own
  bool shared_heads = false;  ///< one policy and one value for all tasks
};

/// Policy and value of every task. Gaussian policies have a log standard deviation per dimension
/// that does not depend on the state, 0 at the start.
class ActorCritic {
 public:
  /// actor_groups[t], critic_groups[t]: the row that reaches task t's heads, or kShared.
  ActorCritic(const Scope& scope, const VecEnv& env, const ActorCriticOptions& options,
              std::span<const int> actor_groups, std::span<const int> critic_groups);

  int tasks() const { return static_cast<int>(masks_.size()); }
  /// x [B, ...] ordered by task. policies[t] and values[t] ([B_t]) are task t's, with no values
  /// where B_t = 0. A null is not computed.
  void operator()(const Context& ctx, const Var& x, const Bounds& bounds,
                  std::vector<Distribution>* policies, std::vector<Var>* values) const;

 private:
  std::unique_ptr<nn::Trunk> actor_, critic_;  // no critic_: the actor's trunk serves both
  std::unique_ptr<Heads> policy_, value_;
  std::vector<SliceId> log_std_;  // per head
  std::vector<Tensor> masks_;     // per task
  mutable std::vector<Var> features_, outputs_;
};

/// Policies from columns (Distral: Teh et al. 1707.04175, section 3): the logits of task i are
/// shared * h + f_i, those of the distilled policy pi_0 are h. A column is a trunk of its own with
/// a head for logits; a task's value is a head on its column f_i, or on h where it has none.
class ColumnNetwork {
 public:
  /// `shared` is the factor of h in the policies, `own`: there are f_i. h is there in any case: a
  /// method wants parameters that the tasks share. Throws ValueError for continuous actions, and
  /// when policies would have no column.
  ColumnNetwork(const Scope& scope, const VecEnv& env, const TrunkOptions& trunk, double shared,
                bool own);

  int tasks() const { return static_cast<int>(masks_.size()); }
  /// As ActorCritic's. distilled[t] is pi_0 on the rows of task t, with the actions that it has.
  void operator()(const Context& ctx, const Var& x, const Bounds& bounds,
                  std::vector<Distribution>* policies, std::vector<Distribution>* distilled,
                  std::vector<Var>* values) const;

 private:
  struct Column {
    Column(const Scope& scope, const EnvSpec& spec, const TrunkOptions& options);
    std::unique_ptr<nn::Trunk> trunk;
    std::unique_ptr<nn::Linear> logits;
  };

  double factor_;
  std::vector<Tensor> masks_;  // per task
  Column shared_;
  std::vector<Column> own_;                          // per task, or empty
  std::vector<std::unique_ptr<nn::Linear>> values_;  // per task
  mutable std::vector<Var> features_;
};

/// Action values of every task: [B_t, A], of actions that do not exist -1e9.
class QNetwork {
 public:
  QNetwork(const Scope& scope, const VecEnv& env, const TrunkOptions& options,
           std::span<const int> groups);
  int tasks() const { return static_cast<int>(masks_.size()); }
  void operator()(const Context& ctx, const Var& x, const Bounds& bounds,
                  std::vector<Var>& q) const;
  /// Which actions task t has: f32 [A] as of mask_of, or undefined.
  const Tensor& mask(int task) const { return masks_[static_cast<std::size_t>(task)]; }

 private:
  std::unique_ptr<nn::Trunk> trunk_;
  std::unique_ptr<Heads> heads_;
  std::vector<Tensor> masks_;
  mutable std::vector<Var> features_;
};

/// What a network takes: u8 becomes f32, the rest is as it is.
Tensor to_input(const Tensor& observation);

/// Rows rows[k] of `source` [M, ...] in that order into `out` [rows, ...], u8 as f32. `out` is
/// allocated when it does not fit.
void gather_rows(const Tensor& source, std::span<const index_t> rows, Tensor& out);

}  // namespace concord::rl
