// GradVac: Wang, Tsvetkov, Firat, Cao, "Gradient Vaccine", ICLR 2021, arXiv 2010.05874,
// Algorithm 1. Like PCGrad, with a goal for each pair's cosine instead of 0: a running mean phi_ij
// of what was seen.
//
//   for each task i:  p = g_i
//     for j in a fresh random order of the other tasks:
//       rho = cos(p, g_j)
//       if rho < phi_ij:  p += |p| (phi_ij sqrt(1 - rho^2) - rho sqrt(1 - phi_ij^2)) / (|g_j|
//       sqrt(1 - phi_ij^2)) g_j phi_ij <- (1 - beta) phi_ij + beta rho
//   d = sum_i p
//
// phi starts at 0, so that the first step is PCGrad's. Run on the Gram matrix like pcgrad.cpp.
// Pairs with a zero gradient are left alone; a goal of exactly 1 cannot be reached and is not
// tried.
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

class GradVac : public Aggregator {
 public:
  GradVac(double beta, bool random) : Aggregator("gradvac"), beta_(beta), random_(random) {}

  void save(State& state) const override { state["gradvac.goal"] = goal_; }
  void load(const State& state) override {
    const auto found = state.find("gradvac.goal");
    const std::size_t size = found == state.end() ? 0 : found->second.size();
    const auto side = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(size))));
    if (found == state.end() || side * side != size) {
      throw ValueError(fmt::format(
          "gradvac: state entry 'gradvac.goal' has {} values, expected a square number", size));
    }
    goal_ = found->second;
    known_ = side;
  }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const Gram& gram = in.gram;
    const int rows = in.rows();
    for (int r = 0; r < rows; ++r) make_room(static_cast<std::size_t>(in.task(r)) + 1);
    c_.resize(static_cast<std::size_t>(rows));
    q_.resize(static_cast<std::size_t>(rows));
    order_.resize(static_cast<std::size_t>(rows));
    const Rng step = in.rng.fork(static_cast<std::uint64_t>(in.step));
    for (int i = 0; i < rows; ++i) {
      for (std::size_t k = 0; k < order_.size(); ++k) order_[k] = static_cast<index_t>(k);
      if (random_) step.fork(static_cast<std::uint64_t>(in.task(i))).permutation(order_);
      std::fill(c_.begin(), c_.end(), 0.0);
      c_[static_cast<std::size_t>(i)] = 1;
      const auto start = gram.row(i);
      std::copy(start.begin(), start.end(), q_.begin());
      for (const index_t next : order_) {
        const int j = static_cast<int>(next);
        if (j != i)
          visit(gram, j,
                goal_[static_cast<std::size_t>(in.task(i)) * known_ +
                      static_cast<std::size_t>(in.task(j))]);
      }
      for (std::size_t k = 0; k < c_.size(); ++k) out.weights[k] += c_[k];
    }
  }

  void visit(const Gram& gram, int j, double& goal) {
    double squared = 0;
    for (std::size_t k = 0; k < c_.size(); ++k) squared += c_[k] * q_[k];
    const double norm = std::sqrt(std::max(squared, 0.0)), other = gram.norm(j);
    if (!(norm * other > 0)) return;
    const double rho = std::clamp(q_[static_cast<std::size_t>(j)] / (norm * other), -1.0, 1.0);
    const double sine_goal = std::sqrt(1 - goal * goal);
    if (rho < goal && sine_goal > 0) {
      const double step =
          norm * (goal * std::sqrt(1 - rho * rho) - rho * sine_goal) / (other * sine_goal);
      c_[static_cast<std::size_t>(j)] += step;
      const auto g = gram.row(j);
      for (std::size_t k = 0; k < q_.size(); ++k) q_[k] += step * g[k];
    }
    goal = std::clamp((1 - beta_) * goal + beta_ * rho, -1.0, 1.0);
  }

  /// Enlarges the table of goals to `tasks` x `tasks`.
  void make_room(std::size_t tasks) {
    if (tasks <= known_) return;
    std::vector<double> larger(tasks * tasks, 0.0);
    for (std::size_t i = 0; i < known_; ++i) {
      for (std::size_t j = 0; j < known_; ++j) larger[i * tasks + j] = goal_[i * known_ + j];
    }
    goal_ = std::move(larger);
    known_ = tasks;
  }

  double beta_;
  bool random_;
  std::size_t known_ = 0;     // tasks in the table of goals
  std::vector<double> goal_;  // phi, by task
  std::vector<double> c_, q_;
  std::vector<index_t> order_;
};

}  // namespace

AggregatorPtr make_gradvac(Options& options) {
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const double beta = options.number("beta", preset == "paper" ? 0.01 : 0.5, 0, 1);
  return std::make_unique<GradVac>(beta, options.choice("order", {"random", "index"}) == "random");
}

}  // namespace concord::multitask
