// PCD: "Priority-Constrained Descent", TMLR 2026, arXiv 2606.29521. The nearest direction to a main
// task's gradient that grants every other task a share tau of its own progress. On rows u_t = g_t /
// sqrt(E_t + 1e-8), where E_t is the bias-corrected moving average of |g_t|^2 (decay beta) and m
// the main task:
//
//   d~ = argmin_d |d - u_m|^2   subject to   <u_t, d> >= tau |u_t|^2   for all t != m
//   d  = d~ |g_m| / |d~|
//
// Without a feasible d the main task goes alone: d = g_m. With x = d - u_m and h_t = tau |u_t|^2 -
// <u_t, u_m> this is a least distance program, min |x| subject to U x >= h: by Lawson and Hanson
// ("Solving Least Squares Problems", chapter 23.4) x = U^T y / (1 - h y), where y >= 0 minimises
// |U^T y|^2 + (h y - 1)^2, and there is no x when that minimum 1 - h y is 0. h is divided by its
// largest entry for the purpose, and x multiplied.
#include <concord/multitask/methods.h>
#include <concord/multitask/solvers/cone.h>

#include <algorithm>
#include <cmath>

namespace concord::multitask {

namespace {

class Pcd : public Aggregator {
 public:
  Pcd(int main, double tau, double beta) : Aggregator("pcd"), main_(main), tau_(tau), beta_(beta) {}

  void save(State& state) const override {
    state["pcd.squares"] = squares_;
    state["pcd.steps"] = steps_;
  }
  void load(const State& state) override {
    const auto found = state.find("pcd.squares");
    const std::size_t size = found == state.end() ? 0 : found->second.size();
    squares_ = state_entry(state, "pcd", "pcd.squares", size);
    steps_ = state_entry(state, "pcd", "pcd.steps", size);
  }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    normalise(in);
    const int main = in.row_of(main_);
    if (main < 0) {
      out.note = "main task absent";
      return;
    }
    const auto m = static_cast<std::size_t>(main);
    if (in.gram(main, main) == 0) {
      out.note = "main gradient is zero";
      return;
    }
    if (solve_constraints(main)) {
      y_[m] += 1;
    } else {
      std::fill(y_.begin(), y_.end(), 0.0);
      y_[m] = 1;
      out.note = "infeasible";
    }
    const double norm = std::sqrt(unit_.squared_norm(y_));
    double length = 0;
    for (int r = 0; r < in.rows(); ++r) length += y_[static_cast<std::size_t>(r)] * unit_.norm(r);
    if (norm <= 1e-7 * length) {
      out.note = "pareto-stationary";
      return;
    }
    if (out.note.empty()) out.residual = constraint_residual(main, length);
    for (std::size_t r = 0; r < y_.size(); ++r)
      out.weights[r] = y_[r] * scales_[r] * in.gram.norm(main) / norm;
  }

  /// The Gram matrix of the rows u_t, and their scales.
  void normalise(const StepInputs& in) {
    const int rows = in.rows();
    scales_.resize(static_cast<std::size_t>(rows));
    for (int r = 0; r < rows; ++r) {
      const auto t = static_cast<std::size_t>(in.task(r));
      if (t >= squares_.size()) {
        squares_.resize(t + 1, 0.0);
        steps_.resize(t + 1, 0.0);
      }
      steps_[t] += 1;
      squares_[t] += (1 - beta_) * (in.gram(r, r) - squares_[t]);
      const double mean = squares_[t] / (1 - std::pow(beta_, steps_[t]));
      scales_[static_cast<std::size_t>(r)] = 1 / std::sqrt(mean + 1e-8);
    }
    unit_.resize(rows);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j <= i; ++j) {
        unit_.set(i, j,
                  in.gram(i, j) * scales_[static_cast<std::size_t>(i)] *
                      scales_[static_cast<std::size_t>(j)]);
      }
    }
  }

  /// y = the coefficients of d~ - u_m. False when there is no feasible direction.
  bool solve_constraints(int main) {
    const int rows = unit_.tasks();
    for (auto* v : {&h_, &b_, &y_}) v->assign(static_cast<std::size_t>(rows), 0.0);
    double largest = 0;
    for (int t = 0; t < rows; ++t) {
      if (t == main) continue;
      double& h = h_[static_cast<std::size_t>(t)];
      h = tau_ * unit_(t, t) - unit_(t, main);
      largest = std::max(largest, h);
    }
    if (largest <= 0) return true;  // u_m satisfies all constraints
    program_.resize(rows);
    for (int i = 0; i < rows; ++i) {
      const auto a = static_cast<std::size_t>(i);
      h_[a] /= largest;
      b_[a] = -h_[a];
      for (int j = 0; j <= i; ++j) {
        // The main task has no constraint: a zero row keeps it out.
        const bool constraint = i != main && j != main;
        program_.set(i, j,
                     constraint ? unit_(i, j) + h_[a] * h_[static_cast<std::size_t>(j)] : 0.0);
      }
    }
    solver_.solve(program_, b_, 1.0, y_);
    double rest = 1;
    for (std::size_t t = 0; t < y_.size(); ++t) rest -= h_[t] * y_[t];
    if (rest <= 1e-10) return false;
    for (double& y : y_) y *= largest / rest;
    return true;
  }

  /// The worst of <u_t, d~> >= tau |u_t|^2 and of complementary slackness, relative to the terms.
  double constraint_residual(int main, double length) {
    unit_.times(y_, b_);
    double worst = 0;
    for (int t = 0; t < unit_.tasks(); ++t) {
      if (t == main || unit_(t, t) == 0) continue;
      const auto i = static_cast<std::size_t>(t);
      const double slack = (b_[i] - tau_ * unit_(t, t)) / (unit_.norm(t) * length);
      const double moved = y_[i] * unit_.norm(t) / length;
      worst = std::max({worst, -slack, std::min(std::abs(slack), moved)});
    }
    return worst;
  }

  int main_;
  double tau_, beta_;
  std::vector<double> squares_, steps_;  // by task
  Gram unit_, program_;
  ConeSolver solver_;
  std::vector<double> scales_, h_, b_, y_;
};

}  // namespace

AggregatorPtr make_pcd(Options& options) {
  const int main = options.integer("main", 0, 0, 1 << 30);
  const double tau = options.number("tau", 0.02, 0, 1);
  return std::make_unique<Pcd>(main, tau, options.number("beta", 0.999, 0, 0.999999999));
}

}  // namespace concord::multitask
