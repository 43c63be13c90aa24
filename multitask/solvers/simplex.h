// Shortest points of the convex hull of the gradients: MGDA's problem, and CAGrad's dual.
#pragma once

#include <concord/multitask/solvers/active_factor.h>
#include <concord/multitask/solvers/cone.h>

#include <span>
#include <vector>

namespace concord::multitask {

/// Exact minimisers over the simplex {w >= 0, sum w = 1}, with g_w = J^T w:
///
///   min_norm          |g_w|                            (Wolfe 1976)
///   conflict_averse   <g_w, g_0> + radius * |g_w|      (CAGrad's dual, arXiv 2110.14048 eq 5)
///
/// Both objectives are a linear term plus a norm. On the affine hull of a face such a function has
/// a closed-form minimum, so Wolfe's active set serves both: move to the minimum on the hull of the
/// current face, dropping tasks whose weight would turn negative; then let in the task against
/// which the objective falls fastest; stop when there is none. Each step lowers the objective:
/// finite and exact up to rounding, for dependent, identical and opposite rows too.
class SimplexSolver {
 public:
  void min_norm(const Gram& gram, std::span<double> w);

  /// `g0` holds <g_t, g_0> for each task, with g_0 = J^T u for some u; `g0_norm` = |g_0| and radius
  /// > 0. False when the minimum is g_w = 0, i.e. a convex combination of the gradients vanishes
  /// and no direction within `radius` of g_0 makes progress on all tasks; w is that combination.
  bool conflict_averse(const Gram& gram, std::span<const double> g0, double g0_norm, double radius,
                       std::span<double> w);

 private:
  struct Linear {  // the linear term; empty for min_norm
    std::span<const double> g0;
    double g0_norm = 0;
    double radius = 1;
  };

  void start(const Gram& gram, std::span<double> w);
  /// False when g_w = 0.
  bool minimise(const Gram& gram, const Linear& linear, std::span<double> w);
  void minimise_on_face(const Gram& gram, const Linear& linear, std::span<double> w);
  bool leave_zero(const Gram& gram, const Linear& linear, std::span<double> w);

  ActiveFactor factor_;
  ConeSolver cone_;
  std::vector<double> origin_, towards_, gw_;
  std::vector<char> blocked_;
};

/// x becomes the nearest point of the simplex: max(x - level, 0) (Held, Wolfe, Crowder 1974).
/// `scratch` is reused from call to call.
void project_onto_simplex(std::span<double> x, std::vector<double>& scratch);

}  // namespace concord::multitask
