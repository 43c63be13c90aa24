// What the address and thread sanitisers must be told about fibers and device memory; empty
// functions in other builds.
#pragma once

#include <cstddef>

#if defined(CUDA_ON_CPU_ADDRESS_CHECK)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(CUDA_ON_CPU_RACE_CHECK)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#endif

namespace cuda_on_cpu {

#if defined(CUDA_ON_CPU_RACE_CHECK)
inline constexpr bool kRaceCheck = true;
inline void release(void* order) { __tsan_release(order); }
inline void acquire(void* order) { __tsan_acquire(order); }
/// What is done meanwhile is the machine's work, not that of the running thread.
struct Unwatched {
  Unwatched() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unwatched() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};
#else
inline constexpr bool kRaceCheck = false;
inline void release(void*) {}
inline void acquire(void*) {}
struct Unwatched {
  ~Unwatched() {}
};
#endif

#if defined(CUDA_ON_CPU_ADDRESS_CHECK)
inline constexpr bool kAddressCheck = true;
inline void forbid(const void* memory, std::size_t bytes) {
  __asan_poison_memory_region(memory, bytes);
}
inline void allow(const void* memory, std::size_t bytes) {
  __asan_unpoison_memory_region(memory, bytes);
}
#else
inline constexpr bool kAddressCheck = false;
inline void forbid(const void*, std::size_t) {}
inline void allow(const void*, std::size_t) {}
#endif

}  // namespace cuda_on_cpu
