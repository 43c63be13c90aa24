#include <concord/multitask/solvers/symmetric_eigen.h>
#include <concord/rl/decentralised.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

namespace concord::rl {

// --- Who hears whom

namespace {

bool connected(const Graph& graph) {
  std::set<int> reached = {0};
  std::vector<int> open = {0};
  while (!open.empty()) {
    const int i = open.back();
    open.pop_back();
    for (const int j : graph.neighbours[i])
      if (reached.insert(j).second) open.push_back(j);
  }
  return static_cast<int>(reached.size()) == graph.size();
}

Graph graph_of(int n, const std::function<bool(int i, int j)>& edge) {
  Graph graph{std::vector<std::vector<int>>(static_cast<std::size_t>(n))};
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j)
      if (i != j && edge(std::min(i, j), std::max(i, j))) graph.neighbours[i].push_back(j);
  return graph;
}

}  // namespace

const std::vector<std::string>& graph_names() {
  static const std::vector<std::string> names = {"none", "ring", "complete", "path", "random"};
  return names;
}

Graph make_graph(std::string_view name, int n, std::uint64_t seed) {
  if (n < 1) throw ValueError(fmt::format("graph: {} agents, expected at least 1", n));
  if (name == "none") return graph_of(n, [](int, int) { return false; });
  if (name == "complete") return graph_of(n, [](int, int) { return true; });
  if (name == "path") return graph_of(n, [](int i, int j) { return j == i + 1; });
  if (name == "ring")
    return graph_of(n, [n](int i, int j) { return j == i + 1 || (i == 0 && j == n - 1); });
  if (name != "random") throw_unknown("graph", name, graph_names());
  for (std::uint64_t attempt = 0;; ++attempt) {
    const Rng rng = Rng(seed).fork("graph").fork(attempt);
    Graph graph = graph_of(
        n, [&](int i, int j) { return rng.uniform(static_cast<std::uint64_t>(i * n + j)) < 0.5; });
    if (connected(graph)) return graph;
  }
}

Tensor mixing_weights(const Graph& graph, Metropolis form) {
  const int n = graph.size();
  const auto degree = [&](int i) {
    return static_cast<double>(graph.neighbours[i].size()) + (form == Metropolis::degree ? 0 : 1);
  };
  const Tensor w = Tensor::zeros({n, n}, DType::f64);
  for (int i = 0; i < n; ++i) {
    double* row = w.data<double>() + i * n;
    row[i] = 1;
    for (const int j : graph.neighbours[i]) {
      row[j] = 1 / (2 * std::max(degree(i), degree(j)));
      row[i] -= row[j];
    }
  }
  return w;
}

Tensor averaging_weights(int n) { return Tensor::full({n, n}, 1.0 / n, DType::f64); }

std::vector<double> singular_values(const Tensor& w) {
  // The eigenvalues of W W^T are their squares.
  multitask::SymmetricEigen eigen;
  eigen.decompose(multitask::Gram::of(w.values<double>(), static_cast<int>(w.dim(0)), w.dim(1)));
  std::vector<double> values(eigen.values().begin(), eigen.values().end());
  for (double& v : values) v = std::sqrt(std::max(v, 0.0));
  std::sort(values.begin(), values.end(), std::greater<>());
  return values;
}

// --- What one agent sees

TabularTask::TabularTask(Mdp mdp, double gamma, double lambda)
    : mdp_(std::move(mdp)), gamma_(gamma), lambda_(lambda), band_(0) {
  if (!(gamma >= 0 && gamma < 1) || !(lambda >= 0)) {
    throw ValueError(fmt::format(
        "tabular task: gamma {}, lambda {}, expected gamma in [0, 1) and lambda of at least 0",
        gamma, lambda));
  }
  const index_t states = mdp_.states();
  for (index_t s = 0; s < states; ++s)
    for (index_t a = 0; a < mdp_.actions(); ++a)
      for (const Consequence& c : mdp_.at(s, a))
        if (!c.terminal) band_ = std::max(band_, std::abs(c.next - s));
  policy_.resize(parameters());
  matrix_.resize(states * (2 * band_ + 1));
  value_.resize(states);
  visits_.resize(states);
}

void TabularTask::follow(std::span<const double> theta) {
  const index_t actions = mdp_.actions();
  if (static_cast<index_t>(theta.size()) != parameters()) {
    throw ShapeError(fmt::format("tabular task: {} parameters, expected {} states * {} actions",
                                 theta.size(), mdp_.states(), actions));
  }
  for (index_t k = 0; k < parameters(); k += actions) {
    const auto row = theta.subspan(k, actions);
    const double most = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (index_t a = 0; a < actions; ++a) sum += policy_[k + a] = std::exp(row[a] - most);
    for (index_t a = 0; a < actions; ++a) policy_[k + a] /= sum;
  }
}

// I - gamma P_pi is a band around the diagonal (a step in a grid world changes the state by 1 or by
// the width) and dominated by its diagonal, so that elimination needs no pivots and stays in the
// band: S * band^2 operations instead of S^3.
void TabularTask::factor() {
  const index_t states = mdp_.states(), actions = mdp_.actions(), width = 2 * band_ + 1;
  std::fill(matrix_.begin(), matrix_.end(), 0.0);
  const auto row = [&](index_t s) { return matrix_.data() + s * width + band_ - s; };  // [column]
  for (index_t s = 0; s < states; ++s) {
    row(s)[s] = 1;
    for (index_t a = 0; a < actions; ++a)
      for (const Consequence& c : mdp_.at(s, a))
        if (!c.terminal) row(s)[c.next] -= gamma_ * policy_[s * actions + a] * c.probability;
  }
  for (index_t k = 0; k < states; ++k) {
    const index_t end = std::min(states, k + band_ + 1);
    const double* pivot = row(k);
    for (index_t i = k + 1; i < end; ++i) {
      double* r = row(i);
      if (r[k] == 0) continue;
      r[k] /= pivot[k];
      for (index_t j = k + 1; j < end; ++j) r[j] -= r[k] * pivot[j];
    }
  }
}

// V = (I - gamma P_pi)^-1 r_pi.
void TabularTask::values() {
  const index_t states = mdp_.states(), actions = mdp_.actions();
  const auto row = [&](index_t s) { return matrix_.data() + s * 2 * band_ + band_; };
  for (index_t s = 0; s < states; ++s) {
    value_[s] = 0;
    for (index_t a = 0; a < actions; ++a)
      for (const Consequence& c : mdp_.at(s, a))
        value_[s] += policy_[s * actions + a] * c.probability * c.reward;
    for (index_t j = std::max<index_t>(0, s - band_); j < s; ++j)
      value_[s] -= row(s)[j] * value_[j];
  }
  for (index_t s = states - 1; s >= 0; --s) {
    const index_t end = std::min(states, s + band_ + 1);
    for (index_t j = s + 1; j < end; ++j) value_[s] -= row(s)[j] * value_[j];
    value_[s] /= row(s)[s];
  }
}

// d^T = start^T (I - gamma P_pi)^-1: the transposed factors, U first.
void TabularTask::visits() {
  const index_t states = mdp_.states();
  const auto row = [&](index_t s) { return matrix_.data() + s * 2 * band_ + band_; };
  std::copy(mdp_.start.begin(), mdp_.start.end(), visits_.begin());
  for (index_t s = 0; s < states; ++s) {
    visits_[s] /= row(s)[s];
    const index_t end = std::min(states, s + band_ + 1);
    for (index_t j = s + 1; j < end; ++j) visits_[j] -= row(s)[j] * visits_[s];
  }
  for (index_t s = states - 1; s >= 0; --s)
    for (index_t j = std::max<index_t>(0, s - band_); j < s; ++j)
      visits_[j] -= row(s)[j] * visits_[s];
}

void TabularTask::add_regulariser(std::span<double> out) const {
  const double share = lambda_ / static_cast<double>(mdp_.states());
  const double even = 1 / static_cast<double>(mdp_.actions());
  for (std::size_t k = 0; k < out.size(); ++k) out[k] += share * (even - policy_[k]);
}

double TabularTask::value(std::span<const double> theta) {
  follow(theta);
  factor();
  values();
  double sum = 0;
  for (std::size_t s = 0; s < value_.size(); ++s) sum += mdp_.start[s] * value_[s];
  return sum;
}

double TabularTask::gradient(std::span<const double> theta, std::span<double> out) {
  const double at_start = value(theta);
  visits();
  const index_t actions = mdp_.actions();
  for (index_t s = 0; s < mdp_.states(); ++s) {
    for (index_t a = 0; a < actions; ++a) {
      double q = 0;
      for (const Consequence& c : mdp_.at(s, a))
        q += c.probability * (c.reward + (c.terminal ? 0 : gamma_ * value_[c.next]));
      const index_t k = s * actions + a;
      out[k] = visits_[s] * policy_[k] * (q - value_[s]);
    }
  }
  add_regulariser(out);
  return at_start;
}

void TabularTask::play(Draws& draws, index_t max_steps) {
  const index_t actions = mdp_.actions();
  // The first k whose running sum of weights exceeds a uniform number; the last if none does.
  const auto choose = [&](index_t count, auto&& weight) {
    double u = draws.uniform();
    index_t k = 0;
    while (k + 1 < count && (u -= weight(k)) >= 0) ++k;
    return k;
  };
  episode_.clear();
  index_t s = choose(mdp_.states(), [&](index_t k) { return mdp_.start[k]; });
  for (bool over = false; !over && static_cast<index_t>(episode_.size()) < max_steps;) {
    const index_t a = choose(actions, [&](index_t k) { return policy_[s * actions + k]; });
    const auto list = mdp_.at(s, a);
    const Consequence& c = list[choose(static_cast<index_t>(list.size()),
                                       [&](index_t k) { return list[k].probability; })];
    episode_.push_back({s, a, c.reward});
    s = c.next;
    over = c.terminal;
  }
}

std::span<const TabularTask::Visit> TabularTask::play(std::span<const double> theta, Draws& draws,
                                                      index_t max_steps) {
  follow(theta);
  play(draws, max_steps);
  return episode_;
}

void TabularTask::sampled_gradient(std::span<const double> theta, Draws draws, index_t episodes,
                                   index_t max_steps, std::span<double> out) {
  follow(theta);
  std::fill(out.begin(), out.end(), 0.0);
  const index_t actions = mdp_.actions();
  for (index_t e = 0; e < episodes; ++e) {
    play(draws, max_steps);
    double discounted = 0;  // gamma^t G_t = sum_(t' >= t) gamma^t' r_t'
    for (std::size_t t = episode_.size(); t-- > 0;) {
      const Visit& v = episode_[t];
      if (v.reward != 0) discounted += std::pow(gamma_, static_cast<double>(t)) * v.reward;
      if (discounted == 0) continue;
      const double share = discounted / static_cast<double>(episodes);
      for (index_t b = 0; b < actions; ++b) {
        const index_t k = v.state * actions + b;
        out[k] += share * ((b == v.action ? 1 : 0) - policy_[k]);
      }
    }
  }
  add_regulariser(out);
}

std::vector<index_t> greedy_actions(std::span<const double> theta, index_t actions) {
  std::vector<index_t> best(theta.size() / static_cast<std::size_t>(actions));
  for (std::size_t s = 0; s < best.size(); ++s) {
    const auto row = theta.begin() + static_cast<std::ptrdiff_t>(s) * actions;
    best[s] = std::max_element(row, row + actions) - row;
  }
  return best;
}

// --- All of them

DecentralisedAgents::DecentralisedAgents(Comm& comm, std::vector<TabularTask> tasks,
                                         const Tensor& weights, const DecentralisedOptions& options)
    : comm_(comm), tasks_(std::move(tasks)), weights_(weights), options_(options) {
  check_dtype("decentralised", "weights", weights, DType::f64);
  check_shape("decentralised", "weights", weights, {size(), size()});
  const index_t states = tasks_.front().mdp().states(), actions = tasks_.front().mdp().actions();
  for (const TabularTask& task : tasks_) {
    if (task.mdp().states() == states && task.mdp().actions() == actions) continue;
    throw ShapeError(
        fmt::format("decentralised: an environment of {} states and {} actions, expected {} and {} "
                    "as the first",
                    task.mdp().states(), task.mdp().actions(), states, actions));
  }
  theta_ = Tensor::zeros({size(), states, actions}, DType::f64);
  next_ = Tensor::zeros({size(), states, actions}, DType::f64);
  gradient_.resize(states * actions);
  // One message per agent and per rank that has somebody who hears it.
  const double* w = weights_.data<double>();
  std::set<std::pair<int, int>> to, from;
  for (int i = 0; i < size(); ++i) {
    for (int j = 0; j < size(); ++j) {
      if (w[i * size() + j] == 0 || owner(i) == owner(j)) continue;
      if (here(j)) to.insert({j, owner(i)});
      if (here(i)) from.insert({j, owner(j)});
    }
  }
  for (const auto& [agent, rank] : to) send_.push_back({rank, agent, std::as_bytes(theta(agent))});
  for (const auto& [agent, rank] : from)
    receive_.push_back({rank, agent, std::as_writable_bytes(theta(agent))});
}

std::span<double> DecentralisedAgents::theta(int agent) const {
  return theta_[agent].values<double>();
}

void DecentralisedAgents::exchange() { comm_.exchange(send_, receive_); }

void DecentralisedAgents::add_gradient(int agent, std::span<double> to) {
  if (options_.episodes == 0) {
    tasks_[agent].gradient(theta(agent), gradient_);
  } else {
    const Rng rng = Rng(options_.seed).fork("episodes").fork(agent).fork(steps_);
    tasks_[agent].sampled_gradient(theta(agent), Draws(rng), options_.episodes, options_.max_steps,
                                   gradient_);
  }
  for (std::size_t k = 0; k < to.size(); ++k) to[k] += options_.alpha * gradient_[k];
}

void DecentralisedAgents::mix(int agent, std::span<double> out) const {
  const double* w = weights_.data<double>() + agent * size();
  std::fill(out.begin(), out.end(), 0.0);
  for (int j = 0; j < size(); ++j) {
    if (w[j] == 0) continue;
    const auto of_j = theta(j);
    for (std::size_t k = 0; k < out.size(); ++k) out[k] += w[j] * of_j[k];
  }
}

void DecentralisedAgents::step() {
  if (!options_.mix_first) {
    for (int i = 0; i < size(); ++i)
      if (here(i)) add_gradient(i, theta(i));
  }
  exchange();
  for (int i = 0; i < size(); ++i) {
    if (!here(i)) continue;
    const auto next = next_[i].values<double>();
    mix(i, next);
    if (options_.mix_first) add_gradient(i, next);
  }
  for (int i = 0; i < size(); ++i)
    if (here(i)) theta_[i].copy_from(next_[i]);
  ++steps_;
}

const Tensor& DecentralisedAgents::collect() {
  std::vector<Outgoing> send;
  std::vector<Incoming> receive;
  for (int i = 0; i < size(); ++i) {
    if (owner(i) == 0) continue;
    if (here(i)) send.push_back({0, i, std::as_bytes(theta(i))});
    if (comm_.rank() == 0) receive.push_back({owner(i), i, std::as_writable_bytes(theta(i))});
  }
  comm_.exchange(send, receive);
  return theta_;
}

void DecentralisedAgents::restore(const Tensor& theta, std::int64_t steps) {
  check_shape("decentralised", "theta", theta, theta_.shape());
  theta_.copy_from(theta);
  steps_ = steps;
}

}  // namespace concord::rl
