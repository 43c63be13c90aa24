#include <concord/tests/cuda_on_cpu/fiber.h>
#include <concord/tests/cuda_on_cpu/sanitizers.h>
#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(CUDA_ON_CPU_UCONTEXT)
// void cuda_on_cpu_switch(void** keep_top, void* new_top): saves the six registers that a callee
// preserves on the old stack, takes the new stack, restores its six and returns into it.
asm(R"(
.pushsection .text
.type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_on_cpu_switch, . - cuda_on_cpu_switch
.popsection
)");
extern "C" void cuda_on_cpu_switch(void** keep_top, void* new_top);
#endif

namespace cuda_on_cpu {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kStack = std::size_t{kAddressCheck ? 256 : 64} << 10;
thread_local Fiber* running = nullptr;

}  // namespace

Fiber::Fiber() {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void* bottom = nullptr;
  pthread_attr_getstack(&attributes, &bottom, &size_);
  pthread_attr_destroy(&attributes);
  bottom_ = bottom;
#if defined(CUDA_ON_CPU_RACE_CHECK)
  watched_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(int number) : offset_(static_cast<std::size_t>(number % 16) * 192) {
  void* memory =
      mmap(nullptr, kPage + kStack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // The first page stays closed: a stack that overflows ends the program there.
  stack_ = static_cast<std::byte*>(memory) + kPage;
  mprotect(stack_, kStack, PROT_READ | PROT_WRITE);
  bottom_ = stack_;
  size_ = kStack;
#if defined(CUDA_ON_CPU_RACE_CHECK)
  watched_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  if (!stack_) return;
#if defined(CUDA_ON_CPU_RACE_CHECK)
  __tsan_destroy_fiber(watched_);
#endif
  allow(stack_, kStack);
  munmap(stack_ - kPage, kPage + kStack);
}

void Fiber::prepare(void (*entry)()) {
  entry_ = entry;
  allow(stack_, kStack);  // a fiber that was given up left its variables' surroundings closed
#if !defined(CUDA_ON_CPU_UCONTEXT)
  // What the switch takes from a stack: six registers and a return address, above which a function
  // expects its own return address 8 bytes off a multiple of 16.
  void** top = reinterpret_cast<void**>(stack_ + kStack - offset_);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&Fiber::enter);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  top_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStack - offset_;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::enter, 0);
#endif
}

void Fiber::enter() {
#if defined(CUDA_ON_CPU_ADDRESS_CHECK)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  running->entry_();
}

void Fiber::go(Fiber& from, Fiber& to, [[maybe_unused]] bool from_ends) {
  running = &to;
#if defined(CUDA_ON_CPU_ADDRESS_CHECK)
  __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.fake_stack_, to.bottom_, to.size_);
#endif
#if defined(CUDA_ON_CPU_RACE_CHECK)
  constexpr unsigned kUnordered = 1;  // a switch is no synchronisation between CUDA threads
  __tsan_switch_to_fiber(to.watched_, kUnordered);
#endif
#if !defined(CUDA_ON_CPU_UCONTEXT)
  cuda_on_cpu_switch(&from.top_, to.top_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
#if defined(CUDA_ON_CPU_ADDRESS_CHECK)
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

}  // namespace cuda_on_cpu
