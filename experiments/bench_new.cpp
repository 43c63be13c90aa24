// Counts the calls of operator new: the standard library's array and nothrow forms end in the
// functions replaced here.
#include <concord/experiments/bench_suite.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONCORD_COUNTS_NEW 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONCORD_COUNTS_NEW 0
#endif
#endif
#ifndef CONCORD_COUNTS_NEW
#define CONCORD_COUNTS_NEW 1
#endif

#if CONCORD_COUNTS_NEW

namespace {
std::atomic<std::uint64_t> calls{0};
}

void* operator new(std::size_t bytes) {
  calls.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(std::max<std::size_t>(bytes, 1))) return p;
  throw std::bad_alloc();
}

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  calls.fetch_add(1, std::memory_order_relaxed);
  const auto a = static_cast<std::size_t>(alignment);
  if (void* p = std::aligned_alloc(a, (std::max<std::size_t>(bytes, 1) + a - 1) / a * a)) return p;
  throw std::bad_alloc();
}

void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

#endif

namespace concord::experiments {

std::optional<std::uint64_t> operator_new_calls() {
#if CONCORD_COUNTS_NEW
  return calls.load(std::memory_order_relaxed);
#else
  return std::nullopt;
#endif
}

}  // namespace concord::experiments
