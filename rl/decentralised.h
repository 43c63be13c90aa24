// Decentralised policy gradient for several tasks: every agent has an environment and a policy of
// its own, and now and then hears the parameters of its neighbours in a graph; there is no centre.
// In the end all have one policy that is good in all environments.
// Zeng et al., "A decentralized policy gradient approach to multi-task reinforcement learning",
// UAI 2021, arXiv 2006.04338; section, equation and algorithm numbers are theirs.
#pragma once

#include <concord/rl/draws.h>
#include <concord/rl/mdp.h>
#include <concord/tensor/comm.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::rl {

// --- Who hears whom

/// Undirected: j is in neighbours[i] when i is in neighbours[j]; ascending, without i itself.
struct Graph {
  std::vector<std::vector<int>> neighbours;
  int size() const { return static_cast<int>(neighbours.size()); }
};

/// "none" (nobody hears anybody), "ring", "complete", "path", or "random": every edge with
/// probability 1/2, drawn from `seed` until the graph is connected. Throws ValueError for another
/// name or n < 1.
Graph make_graph(std::string_view name, int n, std::uint64_t seed = 0);
const std::vector<std::string>& graph_names();

/// Lazy Metropolis weights: W_ij = 1 / (2 max(deg_i, deg_j)), after Olshevsky, or with 1 + the
/// degrees, for every edge, and W_ii = 1 - the rest of the row. On a ring: 1/4, 1/2, 1/4 or
/// 1/6, 2/3, 1/6. The paper cites the first without printing it; the second is common, too.
enum class Metropolis { degree, degree_plus_one };
/// W: f64 [N,N], symmetric, doubly stochastic, W_ij > 0 on edges and the diagonal only.
Tensor mixing_weights(const Graph& graph, Metropolis form);
/// W_ij = 1/N: everybody hears everybody.
Tensor averaging_weights(int n);
/// Of a square f64 matrix, largest first. Theorem 1 is about 1 minus the second of W's.
std::vector<double> singular_values(const Tensor& w);

// --- What one agent sees

/// An environment that is known exactly, and the objective there:
///   L(theta) = V^pi(start) - lambda RE(pi),  pi(a|s) = exp(theta_sa) / sum_b exp(theta_sb),
///   RE(pi) = -1/(|S||A|) sum_sa log pi(a|s) - log |A|.
/// theta is f64 [S,A], given as a span. Objects keep scratch memory: one per thread.
class TabularTask {
 public:
  /// Throws ValueError unless 0 <= gamma < 1 and lambda >= 0.
  TabularTask(Mdp mdp, double gamma, double lambda = 0);

  const Mdp& mdp() const { return mdp_; }
  index_t parameters() const { return mdp_.states() * mdp_.actions(); }

  /// V^pi(start), without the regulariser, exactly.
  double value(std::span<const double> theta);
  /// dL/dtheta into `out` (eq 8):
  ///   d(s) pi(a|s) A(s,a) + lambda/|S| (1/|A| - pi(a|s)),
  /// d(s) = sum_t gamma^t P(s_t = s), the visits, and A the advantage. Returns V^pi(start).
  double gradient(std::span<const double> theta, std::span<double> out);
  /// An unbiased estimate of the same (up to what lies beyond max_steps), the mean over `episodes`:
  ///   sum_t gamma^t G_t d log pi(a_t|s_t),  G_t the discounted return from t on.
  void sampled_gradient(std::span<const double> theta, Draws draws, index_t episodes,
                        index_t max_steps, std::span<double> out);

  struct Visit {
    index_t state, action;
    double reward;
  };
  /// An episode of pi, at most max_steps long; valid until the next call.
  std::span<const Visit> play(std::span<const double> theta, Draws& draws, index_t max_steps);

 private:
  void follow(std::span<const double> theta);
  void factor();
  void values();
  void visits();
  void play(Draws& draws, index_t max_steps);
  void add_regulariser(std::span<double> out) const;

  Mdp mdp_;
  double gamma_, lambda_;
  index_t band_;                // largest |s' - s| of a transition
  std::vector<double> policy_;  // pi [S,A]
  std::vector<double> matrix_;  // LU of I - gamma P_pi, its diagonals -band..band: [S, 2 band + 1]
  std::vector<double> value_;   // V [S]
  std::vector<double> visits_;  // d [S]
  std::vector<Visit> episode_;
};

/// The most probable action of each state; ties to the first.
std::vector<index_t> greedy_actions(std::span<const double> theta, index_t actions);

// --- All of them

struct DecentralisedOptions {
  double alpha = 1;  ///< constant step size
  /// Algorithm 1: theta_i <- sum_j W_ij theta_j + alpha g_i(theta_i). False: first the step, then
  /// the mixing, of theta_j + alpha g_j. With averaging weights the latter is the gradient method
  /// of a centre, on the mean of the objectives.
  bool mix_first = true;
  index_t episodes = 0;      ///< per gradient; 0: exact gradients
  index_t max_steps = 1000;  ///< of an episode
  std::uint64_t seed = 0;    ///< of the episodes
};

/// Agent i has tasks[i]; all begin with theta = 0. Agents are spread over the ranks of `comm` in
/// order, one each when there are as many. Which rank an agent is on changes no bit of its theta:
/// sums run in the order of the agents, and the draws of an episode are those of (seed, agent,
/// step).
class DecentralisedAgents {
 public:
  /// `tasks`: as many as W has rows, all with the same states and actions; every rank has all of
  /// them, and uses its own agents'. Throws ShapeError.
  DecentralisedAgents(Comm& comm, std::vector<TabularTask> tasks, const Tensor& weights,
                      const DecentralisedOptions& options);

  int size() const { return static_cast<int>(tasks_.size()); }
  std::int64_t steps() const { return steps_; }

  /// All ranks together.
  void step();
  /// theta of all agents, f64 [N,S,A], complete on rank 0; elsewhere only the rows of that rank's
  /// agents are meant to be read. Shares memory. All ranks together.
  const Tensor& collect();
  /// Goes on from what collect() gave after so many steps; on all ranks.
  void restore(const Tensor& theta, std::int64_t steps);

 private:
  int owner(int agent) const { return agent * comm_.size() / size(); }
  bool here(int agent) const { return owner(agent) == comm_.rank(); }
  std::span<double> theta(int agent) const;
  void exchange();
  void add_gradient(int agent, std::span<double> to);
  void mix(int agent, std::span<double> out) const;

  Comm& comm_;
  std::vector<TabularTask> tasks_;
  Tensor weights_;  // [N,N]
  DecentralisedOptions options_;
  std::int64_t steps_ = 0;
  Tensor theta_, next_;           // [N,S,A]; of agents elsewhere: what was last heard of them
  std::vector<double> gradient_;  // [S*A]
  std::vector<Outgoing> send_;
  std::vector<Incoming> receive_;
};

}  // namespace concord::rl
