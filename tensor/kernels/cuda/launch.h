// What the kernels of this folder are written with: shared memory, rows as a kernel argument,
// launching with errors that say what was launched.
//
// Every file here is also compiled as plain C++ (tests/cuda_on_cpu), so: shared memory through the
// two macros, launches through launch(), functors instead of lambdas in device code, no cooperative
// groups, inline PTX only under __CUDA_ARCH__.
#pragma once

#include <concord/tensor/kernels/cuda/cuda.h>

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <limits>

// CONCORD_SHARED(float, tile, [32][33]) declares a block's static shared array `tile`;
// CONCORD_DYNAMIC_SHARED(T, name) a pointer to the launch's dynamic shared memory.
#if defined(CUDA_ON_CPU)
#define CONCORD_SHARED(T, name, extents) CUDA_ON_CPU_SHARED(T, name, extents)
#define CONCORD_DYNAMIC_SHARED(T, name) CUDA_ON_CPU_DYNAMIC_SHARED(T, name)
#else
#define CONCORD_SHARED(T, name, extents) __shared__ T name extents
#define CONCORD_DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char concord_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(concord_dynamic_shared)
#endif

namespace concord::kernels::cuda {

/// Makes `device` the one that this thread's following calls are for. Throws DeviceError when it is
/// not there.
void run_on(int device);
/// The stream and the cuBLAS handle of the device that run_on() named last.
cudaStream_t stream();
cublasHandle_t blas();
/// Memory of the running device for the length of a kernel call: handed back at once, since later
/// work of the same stream cannot overtake it.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes);
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(storage_->data);
  }

 private:
  StoragePtr storage_;
};

/// Throws DeviceError "what: cudaErrorName, text".
void check(cudaError_t error, const char* what);
void check(cublasStatus_t status, const char* what);
/// After a launch: counts it, throws with the kernel's name and launch size; under
/// CONCORD_CUDA_SYNC=1 waits for the kernel first, so that the error is the kernel's own.
void launched(const char* kernel, dim3 grid, dim3 block, std::size_t shared_bytes,
              cudaError_t error);

/// Queues kernel<<<grid, block, shared_bytes>>>(arguments...). A grid without blocks does nothing.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t shared_bytes, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream();
#if defined(CUDA_ON_CPU)
  config.cuda_on_cpu_name = name;
#endif
  launched(name, grid, block, shared_bytes,
           cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

/// Blocks of `threads` that cover n elements.
inline unsigned blocks_for(index_t n, int threads) {
  return static_cast<unsigned>((n + threads - 1) / threads);
}

/// Rows<T> as a kernel takes it: the map by value, since it lies in host memory.
inline constexpr int kMaxRows = 64;
template <class T>
struct DeviceRows {
  T* base;
  index_t stride;
  std::int32_t count;
  bool accumulate;
  std::int32_t map[kMaxRows];

  __device__ T* operator[](int r) const { return base + map[r] * stride; }
  __device__ explicit operator bool() const { return base != nullptr; }
};

/// Rows first..first+count-1 of `rows`; count <= kMaxRows. An absent operand stays absent.
template <class T>
DeviceRows<T> device_rows(const Rows<T>& rows, std::int32_t first, std::int32_t count) {
  DeviceRows<T> d{rows.base, rows.stride, count, rows.accumulate, {}};
  for (std::int32_t r = 0; r < count; ++r) d.map[r] = rows.map ? rows.map[first + r] : first + r;
  return d;
}

/// f(first, count) for rows 0..total-1 in pieces of at most kMaxRows. Rows do not depend on each
/// other, so the pieces may be launched one after the other.
template <class F>
void for_each_piece(std::int32_t total, F&& f) {
  for (std::int32_t first = 0; first < total; first += kMaxRows)
    f(first, std::min(kMaxRows, total - first));
}

/// Grid y of a kernel whose threads walk through rows y, y + groups, ...: one group when `blocks`
/// fill a large device (8 for each of 132 multiprocessors) by themselves, since a thread then reads
/// what the rows share only once; more when it takes several rows at a time to fill it.
inline unsigned row_groups(unsigned blocks, std::int32_t rows) {
  constexpr unsigned kBlocksAtOnce = 8 * 132;
  const unsigned wanted = (kBlocksAtOnce + blocks - 1) / std::max(blocks, 1u);
  return std::min(std::max(wanted, 1u), static_cast<unsigned>(rows));
}

/// What an output element becomes.
template <class T>
__device__ inline void store(T* to, T value, bool accumulate) {
  *to = accumulate ? *to + value : value;
}

}  // namespace concord::kernels::cuda
