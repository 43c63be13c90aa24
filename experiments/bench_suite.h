// What the benchmarks share: timing, the machine's roofs, the table of results.
#pragma once

#include <concord/experiments/json.h>
#include <concord/experiments/table.h>
#include <concord/tensor/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace concord::experiments {

/// Seconds per call.
struct Timing {
  double median = 0, minimum = 0;
  int samples = 0;
};

/// Calls the functions in turns (so that a busy moment of the machine hits all alike) for about
/// `seconds` per function, after a warm-up. A sample groups calls until it lasts 100 us.
std::vector<Timing> time_in_turns(const std::vector<std::function<void()>>& functions,
                                  double seconds = 0.3);
Timing time(const std::function<void()>& f, double seconds = 0.3);

/// What the machine reaches, by the minimum of the times, and where the CUDA benchmarks measure.
struct Roofs {
  double gemm = 0;   ///< FLOP/s of a 1024 x 1024 x 1024 product in f32
  double copy = 0;   ///< bytes/s, read and written, of memcpy on arrays beyond the caches
  double triad = 0;  ///< bytes/s of a[i] = b[i] + s c[i]
  double read = 0;   ///< bytes/s of a sum
  Device device;     ///< the CPU: they only compute what a device would take
};
Roofs measure_roofs();

/// The outcome of one benchmark, for people and for programs.
struct Section {
  Table table;
  Json::Array results;
};

/// What a call does, and what bounds it.
struct Work {
  double amount = 0;  ///< FLOP or bytes; 0: neither is of interest
  enum { flops, bytes } unit = flops;
  double roof = 0;             ///< FLOP/s or bytes/s; 0: none
  const char* roof_name = "";  ///< "GEMM"
};

/// The usual section: name, median, minimum, rate, share of the roof, remark.
class Timings {
 public:
  Timings() : table_({"<", "median", "minimum", "rate", "<share", "<remark"}) {}

  /// `remark` is for people; `more` goes into the JSON.
  void add(const std::string& name, const Timing& t, const Work& work = {},
           const std::string& remark = "", Json::Object more = {});
  void rule() { table_.rule(); }
  Section take() { return {std::move(table_), std::move(results_)}; }

 private:
  Table table_;
  Json::Array results_;
};

/// "18.3 us", "1.23 ms".
std::string time_text(double seconds);

/// How often operator new was called since the start; nothing where a sanitizer owns it. Memory
/// that C libraries take by malloc, once at their start, is not counted.
std::optional<std::uint64_t> operator_new_calls();

/// What a step asks of the memory, once it has run a few times.
struct Requests {
  double blocks = 0;                   ///< handed out by the allocator
  double system = 0;                   ///< of these, taken from the system
  std::optional<double> operator_new;  ///< calls
};
Requests requests_per_step(const std::function<void()>& step);

// The benchmarks. bench_kernels.cpp:
Section bench_copy(const Roofs& roofs);
Section bench_gemm(const Roofs& roofs);
Section bench_conv(const Roofs& roofs);
Section bench_gram(const Roofs& roofs);
Section bench_update(const Roofs& roofs);
Section bench_ways(const Roofs& roofs);
// bench_steps.cpp:
Section bench_mlp(const Roofs& roofs);
Section bench_lenet(const Roofs& roofs);
Section bench_resnet18(const Roofs& roofs);
Section bench_rows(const Roofs& roofs);
Section bench_mallocs(const Roofs& roofs);
// bench_multitask.cpp:
Section bench_multitask_lenet(const Roofs& roofs);
Section bench_multitask_mlp(const Roofs& roofs);
Section bench_multitask_resnet18(const Roofs& roofs);
Section bench_multitask_solvers(const Roofs& roofs);
Section bench_multitask_memory(const Roofs& roofs);
// bench_cuda.cpp:
Section bench_cuda_resnet18(const Roofs& roofs);
Section bench_cuda_resnet50(const Roofs& roofs);
Section bench_cuda_tasks(const Roofs& roofs);
// bench_rl.cpp:
Section bench_environments(const Roofs& roofs);
Section bench_ppo(const Roofs& roofs);

}  // namespace concord::experiments
