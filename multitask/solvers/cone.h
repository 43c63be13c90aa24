// Projection onto cones spanned by gradients: the quadratic programs of UPGrad, DualProj and
// CAGrad's degenerate case.
#pragma once

#include <concord/multitask/solvers/active_factor.h>

#include <span>
#include <vector>

namespace concord::multitask {

/// Minimises 1/2 y^T G y + b^T y over y >= 0, exactly, by the active set of Lawson and Hanson
/// ("Solving Least Squares Problems", chapter 23) on the Gram matrix, after block principal
/// pivoting (Portugal, Judice, Vicente, Mathematics of Computation 63, 1994) where there are many
/// tasks: it exchanges all wrong tasks at once and nearly always ends at the optimum in a few
/// steps, but only the active set is sure to. b must lie in the range of G (b = G u), so that a
/// minimum exists: J^T (y + u) is then the projection of J^T u onto the dual cone {d: J d >= 0}.
class ConeSolver {
 public:
  /// `y` is start and answer: tasks with y > 0 begin in the active set (zeros: a cold start). Each
  /// b_t must be computed from G to rounding; |b_t| is judged against `scale` * |g_t|.
  void solve(const Gram& gram, std::span<const double> b, double scale, std::span<double> y);

 private:
  /// True, with the optimum in y, when block pivoting ends at it. Expects y = 0.
  bool pivot_in_blocks(const Gram& gram, std::span<const double> b, double scale,
                       std::span<double> y);
  /// Moves y to the minimum on the face of the set, dropping what would turn negative.
  void minimise_on_face(std::span<const double> b, std::span<double> y);

  ActiveFactor factor_;
  std::vector<double> x_, gradient_, norms_;
  std::vector<int> set_;
  std::vector<char> blocked_;
};

}  // namespace concord::multitask
