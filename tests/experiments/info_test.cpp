#include <concord/experiments/info.h>
#include <doctest/doctest.h>
#include <omp.h>

#include <fstream>

#include "../testing.h"

using namespace concord::experiments;
using concord::testing::TemporaryFolder;

namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text << "\n";
}

}  // namespace

TEST_CASE("container limits, version 2: the tightest of a group and its parents") {
  const TemporaryFolder folder;
  const fs::path root = folder.path() / "cgroup", membership = folder.path() / "self";
  write(membership, "0::/outer/inner");
  write(root / "outer/cpu.max", "150000 100000");
  write(root / "outer/inner/cpu.max", "max 100000");
  write(root / "outer/memory.max", "max");
  write(root / "outer/inner/memory.max", "1073741824");
  const ContainerLimits limits = container_limits(membership, root);
  REQUIRE(limits.processors);
  CHECK(*limits.processors == 1.5);
  REQUIRE(limits.memory);
  CHECK(*limits.memory == 1073741824);
}

TEST_CASE("container limits, version 1: one folder per controller; -1 and 2^63 mean none") {
  const TemporaryFolder folder;
  const fs::path root = folder.path() / "cgroup", membership = folder.path() / "self";
  // As in a container: the path is the host's, the mount shows the container's own group at its
  // root.
  write(membership, "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x");
  write(root / "cpu,cpuacct/cpu.cfs_quota_us", "200000");
  write(root / "cpu,cpuacct/cpu.cfs_period_us", "100000");
  write(root / "memory/memory.limit_in_bytes", "9223372036854771712");
  const ContainerLimits limits = container_limits(membership, root);
  REQUIRE(limits.processors);
  CHECK(*limits.processors == 2);
  CHECK_FALSE(limits.memory);
  write(root / "cpu,cpuacct/cpu.cfs_quota_us", "-1");
  CHECK_FALSE(container_limits(membership, root).processors);
}

TEST_CASE("threads: as requested, else at most what the process may use") {
  CHECK(choose_threads(7) == 7);
  CHECK(choose_threads(0) >= 1);
  CHECK(choose_threads(0) <= omp_get_max_threads());
}

TEST_CASE("info: BLAS is the OpenMP build, and the essentials are there") {
  CHECK(blas_warning() == "");
  const Json json = machine(3);
  CHECK(json["threads"].as<std::int64_t>() == 3);
  CHECK(json["blas"]["threading"].as<std::string>() == "OpenMP");
  CHECK(json["concord"]["version"].as<std::string>() == "0.1.0");
  const std::string text = info_text(3);
  for (const char* word : {"concord     0.1.0", "threads     3", "SIMD  ", "BLAS  ", "memory  ",
                           "ranks       ", "devices     cpu"}) {
    CHECK_MESSAGE(text.find(word) != std::string::npos, word);
  }
}
