// Machine: what concord runs on and with. `concord info` prints it, config.json and reports keep
// it.
#pragma once

#include <concord/experiments/json.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace concord::experiments {

/// Limits that a container puts on this process; nothing where there is none.
struct ContainerLimits {
  std::optional<double> processors;    ///< cgroup quota / period
  std::optional<std::int64_t> memory;  ///< bytes
};

/// The tightest limit of the process's cgroup and its parents, version 2 or 1. `membership` is the
/// file /proc/self/cgroup, `root` the folder /sys/fs/cgroup.
ContainerLimits container_limits(const std::filesystem::path& membership = "/proc/self/cgroup",
                                 const std::filesystem::path& root = "/sys/fs/cgroup");

/// Threads to compute with: `requested` when positive; otherwise what OMP_NUM_THREADS asks for, at
/// most the processors of the affinity mask and of the container's quota (rounded up).
int choose_threads(int requested);
/// Makes OpenMP and OpenBLAS use so many.
void use_threads(int threads);

/// A warning when OpenBLAS is not the OpenMP build: beside OpenMP loops it is several times slower.
/// Empty when all is well.
std::string blas_warning();

/// {"concord": {"version", "revision"}, "processor": ..., "threads": ..., "simd": ..., ...}.
Json machine(int threads);

/// The same as aligned lines for a terminal.
std::string info_text(int threads);

}  // namespace concord::experiments
