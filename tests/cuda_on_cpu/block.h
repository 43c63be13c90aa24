// A launched grid, and what runs it (block.cpp).
#pragma once

#include <concord/tests/cuda_on_cpu/cuda_on_cpu.h>

#include <functional>
#include <string>

namespace cuda_on_cpu {

struct Grid {
  dim3 blocks, threads;
  std::size_t dynamic_shared = 0;
  std::string name;
  std::function<void()> thread;  ///< the kernel with its arguments

  /// Where the race check notes that a grid's threads come after its launch, and before its end.
  void* start() const { return const_cast<dim3*>(&blocks); }
  void* end() const { return const_cast<dim3*>(&threads); }
};

/// Runs all threads of all blocks; throws Finding.
void run(const Grid&);

}  // namespace cuda_on_cpu
