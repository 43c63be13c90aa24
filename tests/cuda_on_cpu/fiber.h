// A fiber: a stack, and where on it to go on. Switching from one to another costs a few
// nanoseconds, since only the registers that a function call must preserve are kept.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#define CUDA_ON_CPU_UCONTEXT  // the C library's switch: the same, ten times slower
#endif
#if defined(CUDA_ON_CPU_UCONTEXT)
#include <ucontext.h>
#endif

namespace cuda_on_cpu {

class Fiber {
 public:
  /// The stack that the operating system gave this thread.
  Fiber();
  /// A stack of its own, and for the race check a thread of its own, which counts as ordered after
  /// what its maker has done so far. `number` shifts its start within the page, or all stacks would
  /// fight for the same lines of the cache.
  explicit Fiber(int number);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to this fiber calls `entry`, which must not return. Whatever the stack held is
  /// forgotten.
  void prepare(void (*entry)());
  /// Leaves `from`, which is running, for `to`. Returns when somebody switches back; never if
  /// `from` ends.
  static void go(Fiber& from, Fiber& to, bool from_ends = false);

 private:
  static void enter();

  std::byte* stack_ = nullptr;  // null: the operating system's
  std::size_t offset_ = 0;
  void (*entry_)() = nullptr;
#if defined(CUDA_ON_CPU_UCONTEXT)
  ucontext_t context_{};
#else
  void* top_ = nullptr;  // the stack pointer while it does not run
#endif
  const void* bottom_ = nullptr;  // for the address sanitiser
  std::size_t size_ = 0;
  [[maybe_unused]] void* fake_stack_ = nullptr;
  [[maybe_unused]] void* watched_ = nullptr;  // the thread sanitiser's thread
};

}  // namespace cuda_on_cpu
