// Optimality checks that do not trust the solvers: each is recomputed from the Gram matrix alone.
#pragma once

#include <concord/multitask/gram.h>

#include <span>

namespace concord::multitask {

/// For a maximin problem over the simplex: sum_t w_t <g_t, d> - min_t <g_t, d>, 0 at the optimum,
/// with d = J^T direction; relative to max_t |g_t| * sum_t |direction_t| |g_t|. Adds what w lacks
/// to be in the simplex.
double simplex_residual(const Gram& gram, std::span<const double> w,
                        std::span<const double> direction);

/// For min |J^T v|^2 over v >= u: the worst of <g_t, d> >= 0, v >= u and <g_t, d> (v - u)_t = 0,
/// with d = J^T v; relative to |g_t| * sum_j |v_j| |g_j|.
double cone_residual(const Gram& gram, std::span<const double> u, std::span<const double> v);

}  // namespace concord::multitask
