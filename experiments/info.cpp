#include <cblas.h>
#include <concord/experiments/info.h>
#include <concord/experiments/revision.h>
#include <concord/experiments/table.h>
#include <concord/tensor/comm.h>
#include <concord/tensor/device.h>
#include <fmt/format.h>
#include <omp.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

namespace concord::experiments {

namespace fs = std::filesystem;

namespace {

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

void tighten(ContainerLimits& limits, double processors) {
  if (processors > 0)
    limits.processors = std::min(limits.processors.value_or(processors), processors);
}

void tighten(ContainerLimits& limits, std::int64_t memory) {
  // Version 1 writes "no limit" as a number close to 2^63.
  if (memory > 0 && memory < (std::int64_t{1} << 60))
    limits.memory = std::min(limits.memory.value_or(memory), memory);
}

std::int64_t whole(const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); }

/// Reads the limits of one cgroup folder, whichever version's files it has.
void read_limits(const fs::path& folder, ContainerLimits& limits) {
  std::istringstream quota_and_period(first_line(folder / "cpu.max"));
  double quota = 0, period = 0;
  if (quota_and_period >> quota >> period && period > 0) tighten(limits, quota / period);
  const auto old_quota = static_cast<double>(whole(first_line(folder / "cpu.cfs_quota_us")));
  const auto old_period = static_cast<double>(whole(first_line(folder / "cpu.cfs_period_us")));
  if (old_period > 0) tighten(limits, old_quota / old_period);
  tighten(limits, whole(first_line(folder / "memory.max")));
  tighten(limits, whole(first_line(folder / "memory.limit_in_bytes")));
}

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(':');
    if (line.compare(0, 10, "model name") == 0 && colon != std::string::npos &&
        colon + 2 < line.size()) {
      return line.substr(colon + 2);
    }
  }
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "unknown";
}

int affinity_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

/// The widest vector instructions the compiler was allowed to use.
const char* compiled_simd() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__)
  return "AVX2";
#elif defined(__SSE4_2__)
  return "SSE4.2";
#elif defined(__ARM_FEATURE_SVE)
  return "SVE";
#elif defined(__ARM_NEON)
  return "NEON";
#else
  return "none";
#endif
}

/// The widest that this processor has.
const char* processor_simd() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return "AVX-512";
  if (__builtin_cpu_supports("avx2")) return "AVX2";
  if (__builtin_cpu_supports("sse4.2")) return "SSE4.2";
  return "SSE2";
#else
  return compiled_simd();
#endif
}

std::string operating_system() {
  std::ifstream in("/etc/os-release");
  for (std::string line; std::getline(in, line);) {
    if (line.compare(0, 13, "PRETTY_NAME=\"") == 0) return line.substr(13, line.size() - 14);
  }
  utsname names{};
  return ::uname(&names) == 0 ? fmt::format("{} {}", names.sysname, names.release) : "unknown";
}

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("GCC {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

const char* blas_threading() {
  switch (openblas_get_parallel()) {
    case OPENBLAS_SEQUENTIAL:
      return "none";
    case OPENBLAS_THREAD:
      return "pthreads";
    case OPENBLAS_OPENMP:
      return "OpenMP";
    default:
      return "unknown";
  }
}

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const Device device : devices()) names.push_back(describe(device));
  return names;
}

std::string gibibytes(std::int64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

std::int64_t physical_memory() {
  return static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

ContainerLimits container_limits(const fs::path& membership, const fs::path& root) {
  ContainerLimits limits;
  // Lines "0::/path" (version 2) or "4:cpu,cpuacct:/path" (version 1, one mount per controller).
  // Inside a container the mount often starts at the container's own group: then the path does not
  // exist below it, and the mount's root is what counts.
  std::ifstream in(membership);
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path mount = controllers.empty() ? root : root / controllers;
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    for (;; group = group.parent_path()) {
      read_limits(mount / group, limits);
      if (group.empty()) break;
    }
  }
  for (const char* controller : {"cpu", "memory"}) read_limits(root / controller, limits);
  return limits;
}

int choose_threads(int requested) {
  if (requested > 0) return requested;
  int threads = std::min(omp_get_max_threads(), affinity_processors());
  if (const auto limit = container_limits().processors) {
    threads = std::min(threads, static_cast<int>(std::ceil(*limit)));
  }
  return std::max(threads, 1);
}

void use_threads(int threads) {
  omp_set_num_threads(threads);
  openblas_set_num_threads(threads);
}

std::string blas_warning() {
  if (openblas_get_parallel() == OPENBLAS_OPENMP) return "";
  return fmt::format(
      "OpenBLAS is built with threading '{}', expected the OpenMP build (Debian: "
      "libopenblas-openmp-dev); "
      "matrix products and our own loops will fight over the processors",
      blas_threading());
}

Json machine(int threads) {
  const ContainerLimits limits = container_limits();
  Json container;
  if (limits.processors) container.set("processors", *limits.processors);
  if (limits.memory) container.set("memory", *limits.memory);
  return Json::object({
      {"concord", Json::object({{"version", kVersion}, {"revision", revision()}})},
      {"system", operating_system()},
      {"processor", processor_name()},
      {"processors", affinity_processors()},
      {"container", container},
      {"threads", threads},
      {"memory", physical_memory()},
      {"simd", Json::object({{"compiled", compiled_simd()}, {"processor", processor_simd()}})},
      {"blas", Json::object({{"build", openblas_get_config()},
                             {"kernel", openblas_get_corename()},
                             {"threading", blas_threading()}})},
      {"ranks", comm_library()},
      {"devices", device_names()},
      {"compiler", compiler()},
      {"openmp", std::int64_t{_OPENMP}},
      {"fmt", std::int64_t{FMT_VERSION}},
  });
}

std::string info_text(int threads) {
  const ContainerLimits limits = container_limits();
  std::string out;
  const auto line = [&](const char* name, const std::string& value) {
    out += fmt::format("{:<11} {}\n", name, value);
  };
  line("concord", fmt::format("{}, revision {}", kVersion, revision()));
  line("system", operating_system());
  line("processor", processor_name());
  std::string reason = fmt::format("{} processors", affinity_processors());
  if (limits.processors) reason += fmt::format(", the container may use {:g}", *limits.processors);
  line("threads", fmt::format("{}   ({}; --threads N decides otherwise)", threads, reason));
  line("SIMD", fmt::format("{} compiled, {} in the processor", compiled_simd(), processor_simd()));
  line("BLAS", openblas_get_config());
  line("", fmt::format("kernel {}, threading {}", openblas_get_corename(), blas_threading()));
  std::string memory = gibibytes(physical_memory());
  if (limits.memory) memory += fmt::format(", the container may use {}", gibibytes(*limits.memory));
  line("memory", memory);
  line("ranks", comm_library());
  const std::string why = why_no_cuda();
  line("devices", why.empty() ? "cpu" : fmt::format("cpu   (no CUDA: {})", why));
  for (const Device device : devices()) {
    if (!(device == kCpu)) line("", describe(device));
  }
  line("compiler", fmt::format("{}, OpenMP {}, fmt {}.{}.{}", compiler(), _OPENMP,
                               FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100));
  return out;
}

}  // namespace concord::experiments
