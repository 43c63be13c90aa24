// The inner product of the small solvers.
#pragma once

#include <cstddef>

namespace concord::multitask {

/// <a, b> with eight running sums in a fixed order: the same bits everywhere, and room for the
/// vectoriser, which may not reorder a single sum.
inline double dot(const double* a, const double* b, std::size_t n) {
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (std::size_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  }
  double rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7])) +
         rest;
}

}  // namespace concord::multitask
