#include <concord/multitask/solvers/fair.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

/// In the lengths a = D w, D = diag(|g_t|), the equations read C a = k a^-p with the cosine matrix
/// C and k_t = |g_t|^(p-1): gradients of very unequal length no longer spoil the conditioning. k is
/// divided by its largest entry, which multiplies a by a constant.
void FairSolver::solve(const Gram& gram, double p, std::span<double> w) {
  const int tasks = gram.tasks();
  const auto n = static_cast<std::size_t>(tasks);
  target_.resize(n);
  trial_.resize(n);
  gradient_.resize(n);
  step_.resize(n);
  scaled_.resize(tasks);
  hessian_.resize(tasks);
  double longest = 0;
  for (int t = 0; t < tasks; ++t) {
    longest = std::max(longest, gram.norm(t));
    for (int j = 0; j < t; ++j) scaled_.set(t, j, gram.cosine(t, j));
    scaled_.set(t, t, 1);
  }
  const auto a = w;  // solved for in place
  double reference = 0;
  for (int t = 0; t < tasks; ++t) {
    reference = std::max(reference, std::pow(gram.norm(t) / longest, p - 1));
  }
  for (int t = 0; t < tasks; ++t) {
    const auto i = static_cast<std::size_t>(t);
    target_[i] = std::pow(gram.norm(t) / longest, p - 1) / reference;
    a[i] = std::pow(target_[i], 1 / (p + 1));  // exact for orthogonal gradients
  }

  double value = objective(a, p);
  double last_error = std::numeric_limits<double>::infinity();
  for (int iteration = 0; iteration < 200; ++iteration) {
    scaled_.times(a, gradient_);
    double error = 0;
    for (std::size_t t = 0; t < n; ++t) {
      const double wanted = target_[t] * std::pow(a[t], -p);
      gradient_[t] -= wanted;
      error = std::max(error, std::abs(gradient_[t]) / wanted);
      step_[t] = -gradient_[t];
    }
    if (error <= 4 * std::numeric_limits<double>::epsilon() ||
        (error < 1e-9 && error >= last_error))
      break;
    last_error = error;
    for (int t = 0; t < tasks; ++t) {
      const auto i = static_cast<std::size_t>(t);
      for (int j = 0; j < t; ++j) hessian_.set(t, j, scaled_(t, j));
      hessian_.set(t, t, 1 + p * target_[i] * std::pow(a[i], -p - 1));
    }
    factor_.reset(hessian_, 0);
    for (int t = 0; t < tasks; ++t) factor_.append(t);
    if (factor_.size() < tasks) break;  // weights so large that the Hessian is singular to rounding
    factor_.solve(step_);

    double slope = 0, length = 1;
    for (std::size_t t = 0; t < n; ++t) {
      slope += gradient_[t] * step_[t];
      if (step_[t] < 0) length = std::min(length, -0.95 * a[t] / step_[t]);
    }
    // Near the solution the objective cannot tell steps apart any more; full steps are right there.
    for (int halvings = 0;; ++halvings) {
      for (std::size_t t = 0; t < n; ++t) trial_[t] = a[t] + length * step_[t];
      const double at_trial = objective(trial_, p);
      if (error < 1e-5 || at_trial <= value + 1e-4 * length * slope || halvings == 60) {
        value = at_trial;
        break;
      }
      length *= 0.5;
    }
    std::copy(trial_.begin(), trial_.end(), a.begin());
  }

  // Undo the scaling: the equations are homogeneous of degree 1 + p in a.
  const double factor = std::pow(reference * std::pow(longest, p - 1), 1 / (p + 1));
  for (int t = 0; t < tasks; ++t)
    w[static_cast<std::size_t>(t)] = a[static_cast<std::size_t>(t)] * factor / gram.norm(t);
}

double FairSolver::objective(std::span<const double> a, double p) {
  double sum = 0.5 * scaled_.squared_norm(a);
  for (std::size_t t = 0; t < a.size(); ++t) {
    sum -= target_[t] * (p == 1 ? std::log(a[t]) : std::pow(a[t], 1 - p) / (1 - p));
  }
  return sum;
}

}  // namespace concord::multitask
