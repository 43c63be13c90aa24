// The verb `bench`: how fast this machine runs what training is made of. tests/bench/peers/ holds
// the PyTorch twin of every benchmark and prints both sides.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::experiments {

struct Roofs;
struct Section;

struct Benchmark {
  std::string_view name;
  std::string_view help;               ///< one line: what is measured
  Section (*run)(const Roofs& roofs);  ///< bench_suite.h
};

/// All of them, in the order in which they run.
std::span<const Benchmark> benchmarks();

struct BenchOptions {
  std::vector<std::string> names;  ///< empty: all; "multitask" for all of "multitask/..."
  bool list = false;               ///< only say which there are
  bool json = false;               ///< one JSON object instead of tables
  bool model = false;              ///< cuda/...: compute only, also where there is a device
  int threads = 0;                 ///< 0: as info.h chooses
};

/// Tables (or JSON) to stdout. The machine's GEMM rate and memory rates are measured first, so that
/// every figure stands beside what this machine reaches in the same run. Throws ValueError for an
/// unknown name.
int bench(const BenchOptions& options);

}  // namespace concord::experiments
