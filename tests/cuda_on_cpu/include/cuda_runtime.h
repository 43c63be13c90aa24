// The parts of CUDA that concord's .cu files use, as plain C++: found in place of the toolkit's
// header of the same name when they are compiled for the CPU. README.md says how it works.
//
// First what a kernel sees (qualifiers, coordinates, barriers, warps, atomics), then what the host
// calls. Names, arguments and meanings are NVIDIA's (CUDA C++ Programming Guide; CUDA Runtime API).
#pragma once

#include <math.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

#define CUDA_ON_CPU 1

// --- Qualifiers: where a function runs makes no difference here ----------------------------------
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

// --- Where am I? Set by the scheduler whenever it continues a thread (block.cpp) -----------------
inline constinit thread_local uint3 threadIdx{}, blockIdx{};
inline constinit thread_local dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

// --- Meeting other threads -----------------------------------------------------------------------
namespace cuda_on_cpu {

/// A line of a kernel; default arguments take the caller's.
struct Place {
  const char* file = nullptr;
  int line = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

/// Waits until all threads of the block are here.
void barrier(Place);

enum class Exchange : std::uint8_t { sync, shuffle, ballot };
/// Waits until all lanes of `mask` are here, each with a value. A shuffle gives the value of lane
/// `source` (NaN bits if that lane is not in the mask: CUDA calls it undefined), a ballot one bit
/// per lane whose value is not 0.
std::uint64_t exchange(Exchange, unsigned mask, std::uint64_t value, int source, Place);
int lane();

/// A block's shared array, 16-byte aligned and filled with NaN before the block. `site` tells
/// arrays apart.
std::byte* shared_array(const void* site, std::size_t bytes);
std::byte* dynamic_shared();
/// Orders memory for the race check; on the CPU itself nothing is reordered.
void fence();

template <class T>
T shuffle(unsigned mask, T value, int source, Place place) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(Exchange::shuffle, mask, bits, source, place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_ON_CPU_PLACE) { cuda_on_cpu::barrier({file, line}); }
inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_ON_CPU_PLACE) {
  cuda_on_cpu::exchange(cuda_on_cpu::Exchange::sync, mask, 0, 0, {file, line});
}
inline void __threadfence() { cuda_on_cpu::fence(); }

// Shuffles move values between the lanes of a segment of `width` lanes; a lane whose source would
// lie outside its segment gets its own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_ON_CPU_PLACE) {
  const int segment = cuda_on_cpu::lane() & ~(width - 1);
  return cuda_on_cpu::shuffle(mask, value, segment + (source & (width - 1)), {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_ON_CPU_PLACE) {
  const int own = cuda_on_cpu::lane(), from = own + static_cast<int>(delta);
  const int last = own | (width - 1);
  return cuda_on_cpu::shuffle(mask, value, from > last ? own : from, {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CUDA_ON_CPU_PLACE) {
  const int own = cuda_on_cpu::lane(), from = own ^ lanes;
  const int last = own | (width - 1);
  return cuda_on_cpu::shuffle(mask, value, from > last ? own : from, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_ON_CPU_PLACE) {
  return static_cast<unsigned>(
      cuda_on_cpu::exchange(cuda_on_cpu::Exchange::ballot, mask, predicate != 0, 0, {file, line}));
}
inline int __any_sync(unsigned mask, int predicate, CUDA_ON_CPU_PLACE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_ON_CPU_PLACE) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}

// Shared memory: __shared__ T name extents, and extern __shared__ T name[].
#define CUDA_ON_CPU_SHARED(T, name, extents)             \
  static const char name##_site = 0;                     \
  typedef T name##_array extents;                        \
  name##_array& name = *reinterpret_cast<name##_array*>( \
      cuda_on_cpu::shared_array(&name##_site, sizeof(name##_array)))
#define CUDA_ON_CPU_DYNAMIC_SHARED(T, name) \
  T* const name = reinterpret_cast<T*>(cuda_on_cpu::dynamic_shared())

// --- Atomics -------------------------------------------------------------------------------------
// Of integers only: a sum of floats would depend on the order of the threads.
#define CUDA_ON_CPU_ATOMIC_ADD(T) \
  inline T atomicAdd(T* to, T v) { return __atomic_fetch_add(to, v, __ATOMIC_RELAXED); }
CUDA_ON_CPU_ATOMIC_ADD(int)
CUDA_ON_CPU_ATOMIC_ADD(unsigned)
CUDA_ON_CPU_ATOMIC_ADD(unsigned long long)
#undef CUDA_ON_CPU_ATOMIC_ADD

// --- Arithmetic ----------------------------------------------------------------------------------
/// For all types: an overload for int alone would silently truncate floats. For floats as fmin:
/// the number wins over a NaN.
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = a, y = b;
  return y < x || x != x ? y : x;
}
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = a, y = b;
  return y > x || x != x ? y : x;
}
inline int __popc(unsigned x) { return std::popcount(x); }

// ===== The host's side ===========================================================================
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorIllegalState = 401,
  cudaErrorGraphExecUpdateFailure = 910,
};
const char* cudaGetErrorName(cudaError_t);
const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();

// Devices
struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  int major, minor, multiProcessorCount;
};
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int device);

// Memory
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice
};
struct CUstream_st;
struct CUevent_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;

cudaError_t cudaMalloc(void**, std::size_t bytes);
cudaError_t cudaFree(void*);
cudaError_t cudaMallocHost(void**, std::size_t bytes);
cudaError_t cudaFreeHost(void*);
template <class T>
cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(memory), bytes);
}
template <class T>
cudaError_t cudaMallocHost(T** memory, std::size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void**>(memory), bytes);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device,
                                std::size_t bytes, cudaStream_t);
cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t);

// Streams and events. The null stream, with its rules of its own, is not there.
enum { cudaStreamNonBlocking = 1 };
enum { cudaEventDisableTiming = 2 };
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);

// Graphs
struct CUgraph_st;
struct CUgraphExec_st;
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraphExec_st*;
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
struct cudaGraphExecUpdateResultInfo {
  int result;
};
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long flags = 0);
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t, cudaGraph_t, cudaGraphExecUpdateResultInfo*);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);

// Launching
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  const char* cuda_on_cpu_name = nullptr;  ///< ours: the kernel's name for findings
};

namespace cuda_on_cpu {

using Function = void (*)();

/// Queues a grid; `thread` is what each of its threads runs.
cudaError_t enqueue(const cudaLaunchConfig_t&, Function kernel, std::function<void()> thread);
/// Reports a pointer that a kernel is about to get and that is not device or page-locked memory.
void check_argument(const cudaLaunchConfig_t&, const void* pointer, int position);

template <class P>
void check_argument_of(const cudaLaunchConfig_t& config, const P& p, int position) {
  if constexpr (std::is_pointer_v<P>)
    check_argument(config, p, position);
  else if constexpr (requires { static_cast<const void*>(p.base); })
    check_argument(config, p.base, position);
}

}  // namespace cuda_on_cpu

/// Arguments are copied now; every thread gets copies of its own, as from the constant bank.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...));
  std::tuple<Parameters...> copies(static_cast<Parameters>(arguments)...);
  std::apply(
      [&](const auto&... each) {
        int position = 0;
        (cuda_on_cpu::check_argument_of(*config, each, ++position), ...);
      },
      copies);
  return cuda_on_cpu::enqueue(*config, reinterpret_cast<cuda_on_cpu::Function>(kernel),
                              [kernel, copies] { std::apply(kernel, copies); });
}
