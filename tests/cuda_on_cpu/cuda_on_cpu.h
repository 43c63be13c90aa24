// What tests ask of the machine that stands in for a GPU: how its threads are ordered, how many
// devices and how much memory it has, which call fails next.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace cuda_on_cpu {

/// A mistake that a GPU would not report: thrown by the call that makes the device work (a wait, a
/// blocking copy), or by the call itself when it can tell. Names kernel, block, thread and line.
struct Finding : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Which of the threads that could go on does. The shuffled orders depend on the seed; `lifo`
/// continues the thread that was stopped last, so that one warp can run far ahead of the others.
enum class Order { ascending, descending, fifo, lifo };
struct Schedule {
  Order order = Order::ascending;
  std::uint64_t seed = 1;
};
/// The environment's CUDA_ON_CPU_ORDER ("descending", "lifo:7") until set.
void set_schedule(Schedule);
Schedule schedule();

/// Devices that exist: CUDA_ON_CPU_DEVICES, else 1; at most 4.
void set_device_count(int);
/// Bytes of each device's memory: CUDA_ON_CPU_MEMORY, else 8 GiB.
void set_memory(std::size_t bytes);

/// The next call of the CUDA function `name` does nothing and returns `error`.
void fail_next(const std::string& name, cudaError_t error);

/// Operations queued on any stream that nobody has waited for.
std::size_t pending();

}  // namespace cuda_on_cpu
