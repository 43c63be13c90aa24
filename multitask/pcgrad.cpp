// PCGrad: Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning",
// NeurIPS 2020, arXiv 2001.06782, Algorithm 1:
//
//   for each task i:  p = g_i
//     for j in a fresh random order of the *other* tasks:  if <p, g_j> < 0:  p -= <p, g_j> /
//     |g_j|^2 g_j
//   d = sum_i p_i
//
// p stays in the span of the rows: p = J^T c. The loop runs on c and on q = G c (q_j = <p, g_j>),
// so a projection costs O(T) whatever the number of parameters.
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace concord::multitask {

namespace {

class PCGrad : public Aggregator {
 public:
  PCGrad(bool random, std::vector<int> order, bool mean)
      : Aggregator("pcgrad"), random_(random), tasks_in_order_(std::move(order)), mean_(mean) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const Gram& gram = in.gram;
    const int rows = in.rows();
    order_.resize(static_cast<std::size_t>(rows));
    q_.resize(static_cast<std::size_t>(rows));
    fixed_order(in);
    const Rng step = in.rng.fork(static_cast<std::uint64_t>(in.step));
    for (int i = 0; i < rows; ++i) {
      // The stream belongs to the task, not to the row: absent tasks do not shift the orders of
      // others.
      if (random_) step.fork(static_cast<std::uint64_t>(in.task(i))).permutation(order_);
      const auto start = gram.row(i);
      std::copy(start.begin(), start.end(), q_.begin());
      out.weights[static_cast<std::size_t>(i)] += 1;
      for (const index_t next : order_) {
        const int j = static_cast<int>(next);
        const double conflict = q_[static_cast<std::size_t>(j)];
        if (j == i || !(conflict < 0) || gram(j, j) == 0) continue;
        const double step_back = conflict / gram(j, j);
        out.weights[static_cast<std::size_t>(j)] -= step_back;
        const auto g = gram.row(j);
        for (std::size_t k = 0; k < q_.size(); ++k) q_[k] -= step_back * g[k];
      }
    }
    if (mean_) {
      for (double& w : out.weights) w /= rows;
    }
  }

  /// order=index, or the given tasks as rows (those that are present).
  void fixed_order(const StepInputs& in) {
    if (random_) return;
    if (tasks_in_order_.empty()) {
      for (std::size_t k = 0; k < order_.size(); ++k) order_[k] = static_cast<index_t>(k);
      return;
    }
    order_.clear();
    for (const int task : tasks_in_order_) {
      const int row = in.row_of(task);
      if (row >= 0) order_.push_back(row);
    }
    if (order_.size() != static_cast<std::size_t>(in.rows())) {
      throw ValueError(
          fmt::format("pcgrad: option order names {} of the {} tasks present, expected all of them",
                      order_.size(), in.rows()));
    }
  }

  bool random_;
  std::vector<int> tasks_in_order_;
  bool mean_;
  std::vector<index_t> order_;
  std::vector<double> q_;
};

}  // namespace

AggregatorPtr make_pcgrad(Options& options) {
  auto [order, tasks] = options.choice_or_tasks("order", {"random", "index"});
  std::vector<int> sorted = tasks;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    throw ValueError("pcgrad: option order names a task twice, expected each task once");
  }
  return std::make_unique<PCGrad>(order == "random", std::move(tasks),
                                  options.choice("scale", {"sum", "mean"}) == "mean");
}

}  // namespace concord::multitask
