// Counts every operator new of a test program: what a steady step asks for beside the caching
// allocator. Include it in one file of the program. The sanitisers bring an operator new of their
// own (and hand every block back at once): nothing can be counted there.
#pragma once

#include <atomic>
#include <cstdlib>
#include <new>

namespace concord::testing {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kCountsNew = false;
#else
inline constexpr bool kCountsNew = true;
#endif
inline std::atomic<long> new_calls{0};
}  // namespace concord::testing

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
[[gnu::noinline]] void* operator new(std::size_t n) {
  ++concord::testing::new_calls;
  if (void* p = std::malloc(n ? n : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif
