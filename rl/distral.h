// Distral: Teh, Bapst, Czarnecki, Quan, Kirkpatrick, Hadsell, Heess, Pascanu, "Distral: Robust
// multitask reinforcement learning", 1707.04175, in tables. n tasks with policies pi_i share one
// distilled policy pi_0; maximised is (section 2.1)
//
//   J = sum_i E_{pi_i} sum_t g^t [ R_i + (alpha/beta) log pi_0(a_t|s_t) - (1/beta) log
//   pi_i(a_t|s_t) ]
//
// with alpha = c_KL / (c_KL + c_Ent) and beta = 1 / (c_KL + c_Ent). alpha = 0 is regularisation by
// entropy without transfer, alpha = 1 by the divergence from pi_0 alone.
#pragma once

#include <concord/rl/tabular/soft_q.h>
#include <concord/tensor/random.h>

#include <span>
#include <string_view>
#include <vector>

namespace concord::rl {

// --- Section 2.2: soft Q-learning and distillation in turn ---------------------------------------

/// What the tasks have in common.
enum class Sharing {
  nothing,    ///< pi_0 stays as it was given: one soft Q-learner per task
  visits,     ///< pi_0 is what all tasks did in a state so far, their maximum likelihood: Distral
  centroid,   ///< pi_0 is the mean of the tasks' policies, each state alike however often visited
  one_policy  ///< one table of action values, and so one policy, for all tasks
};

struct DistralOptions {
  Sharing sharing = Sharing::visits;
  double alpha = 1;
  double pseudocount = 1;  ///< of each action in each state, for Sharing::visits
  index_t rollouts = 10;   ///< per task and iteration
  tabular::SoftQOptions learner;
};

class Distral {
 public:
  /// Tasks with the same states and actions. `prior` is pi_0 at first. Throws ValueError for tasks
  /// that do not fit together.
  Distral(std::vector<Mdp> tasks, tabular::ActionTable prior, const DistralOptions& options,
          const Rng& rng);

  /// Means over tasks and rollouts.
  struct Outcome {
    double reward = 0;  ///< plain sum of an episode's
    double ended = 0;   ///< share of episodes that came to their end
  };
  /// Every task plays and learns with pi_0 as it is, then pi_0 follows. Tasks run in parallel; the
  /// result does not depend on the number of threads.
  Outcome iterate();
  std::int64_t iterations() const { return iterations_; }

  const tabular::ActionTable& distilled() const { return prior_; }  ///< pi_0
  tabular::ActionTable policy(std::size_t task) const;              ///< pi_i
  const Mdp& task(std::size_t i) const { return tasks_[i]; }

 private:
  std::size_t table_of(std::size_t task) const {
    return options_.sharing == Sharing::one_policy ? 0 : task;
  }
  void update_prior();

  std::vector<Mdp> tasks_;
  DistralOptions options_;
  Rng rng_;
  std::int64_t iterations_ = 0;
  tabular::ActionTable prior_, weights_, counts_;  // pi_0, pi_0^alpha, visits with pseudocounts
  std::vector<tabular::ActionTable> q_, visited_;  // by table; by task, of one iteration
};

// --- Section 3: logits in columns, all of them learned by gradient -------------------------------

/// pi_i = softmax(shared * h + own * f_i) and pi_0 = softmax(h): the forms of the paper's table 1.
struct ColumnForm {
  std::string_view name;
  double shared;  ///< factor of the shared column h: 0, alpha or 1
  bool own;       ///< whether tasks have columns f_i
  double alpha;
};
/// All seven. The paper's alpha h + f_i would drop h from A3C_2col, whose alpha is 0; the appendix
/// has two columns there, simply added.
std::span<const ColumnForm> column_forms();
/// Throws ValueError with the nearest names.
const ColumnForm& find_column_form(std::string_view name);

/// h and the f_i, or the gradient of J with respect to them.
struct Columns {
  tabular::ActionTable shared;
  std::vector<tabular::ActionTable> own;

  Columns(std::size_t tasks, index_t states, index_t actions)
      : shared(states, actions), own(tasks, shared) {}
};

tabular::ActionTable column_policy(const ColumnForm& form, const Columns& columns,
                                   std::size_t task);
/// J, with the expectation over each task's start.
double column_objective(std::span<const Mdp> tasks, const ColumnForm& form, const Columns& columns,
                        double beta, double discount);
/// With A_i the advantage under the regularised reward and d_i the discounted visits,
///   dJ/df_i = d_i pi_i A_i
///   dJ/dh   = shared * sum_i d_i pi_i A_i + (alpha/beta) sum_i d_i (pi_i - pi_0).
Columns column_gradient(std::span<const Mdp> tasks, const ColumnForm& form, const Columns& columns,
                        double beta, double discount);

}  // namespace concord::rl
