// When the CPU kernels' loops take several threads, and how.
#pragma once

#include <concord/tensor/types.h>

#include <algorithm>

namespace concord::kernels::cpu {

/// Starting a team of threads costs some microseconds: worth it above about this many simple
/// element operations.
inline constexpr index_t kParallelWork = index_t{1} << 15;

/// Long vectors are cut into pieces of this many elements: the unit of work of a thread, and of
/// buffers on the stack.
inline constexpr index_t kPiece = 1024;

inline index_t pieces(index_t n, index_t piece = kPiece) { return (n + piece - 1) / piece; }

/// f(i) for 0 <= i < count, by several threads if that pays. An `if` clause would do, but GCC's run
/// time makes a team of one for it, whose barrier is a call to the system: a microsecond.
template <class F>
void parallel_for(bool pays, index_t count, F f) {
  if (!pays) {
    for (index_t i = 0; i < count; ++i) f(i);
    return;
  }
#pragma omp parallel for schedule(static)
  for (index_t i = 0; i < count; ++i) f(i);
}

/// f(first, count) for each piece of [0, n), on several threads when `work` is large. For loops
/// whose elements do not depend on one another.
template <class F>
void for_pieces(index_t n, index_t work, F f) {
  const index_t count = pieces(n);
  parallel_for(work >= kParallelWork && count > 1, count,
               [&](index_t i) { f(i * kPiece, std::min(kPiece, n - i * kPiece)); });
}

}  // namespace concord::kernels::cpu
