// The alpha-fair equations of Nash-MTL and FairGrad.
#pragma once

#include <concord/multitask/solvers/active_factor.h>

#include <span>
#include <vector>

namespace concord::multitask {

/// Solves G w = w^(-p), w > 0, for p > 0 (p = 1: Nash), by a safeguarded Newton method. The
/// solution is the minimum of the strictly convex function 1/2 w^T G w - sum_t phi(w_t), phi' =
/// w^-p, which exists and is unique unless a convex combination of the gradients vanishes.
class FairSolver {
 public:
  /// All rows of G must be non-zero and no convex combination of them zero.
  void solve(const Gram& gram, double p, std::span<double> w);

 private:
  double objective(std::span<const double> a, double p);

  Gram scaled_, hessian_;
  ActiveFactor factor_;
  std::vector<double> target_, trial_, gradient_, step_;
};

}  // namespace concord::multitask
