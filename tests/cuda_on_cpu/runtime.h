// What the runtime (runtime.cpp) offers cuBLAS.
#pragma once

#include <concord/tests/cuda_on_cpu/cuda_on_cpu.h>

#include <functional>

namespace cuda_on_cpu {

/// Queues work on a stream. Operations with equal keys may replace each other in a graph.
cudaError_t enqueue(cudaStream_t, const void* key, std::function<void()> work);
/// Throws Finding unless bytes [p, p + bytes) lie in one allocation of device memory.
void check_device_memory(const void* p, std::size_t bytes, const char* what);

}  // namespace cuda_on_cpu
