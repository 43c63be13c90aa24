// The balance of two quadratics under the single gradient step update of Lee and Son, "Multitask
// Learning with Single Gradient Step Update for Task Balancing", arXiv 2005.09910.
#pragma once

#include <concord/experiments/toy.h>

namespace concord::experiments {

/// L1 = a (x1 - 1)^2 / 2, L2 = b (x1 + 1)^2 / 2; x2 takes no part.
LossPair sgsu_quadratics(const Point& x, double a, double b);

/// The outer gradients of a landscape: each task takes a step of `alpha` of its own, x_i' = x -
/// alpha g_i(x), and reports its gradient g_i' from there. first_order: g_i'. exact: (I - alpha
/// H_i) g_i', the gradient of L_i(x_i'(x)), H_i g_i' by a central difference of g_i around x.
enum class Outer { first_order, exact };
Landscape single_step_update(Landscape landscape, double alpha, Outer outer);

/// Where descent on the sum of the outer gradients of sgsu_quadratics ends: (A - B) / (A + B) with
/// A = a (1 - alpha a)^p, B = b (1 - alpha b)^p; p = 0 for the plain sum, 1 first order, 2 exact.
double sgsu_fixed_point(double a, double b, double alpha, int p);

Experiment sgsu_toy();

}  // namespace concord::experiments
