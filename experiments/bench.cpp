#include <concord/experiments/bench.h>
#include <concord/experiments/bench_suite.h>
#include <concord/experiments/info.h>
#include <concord/tensor/check.h>
#include <concord/tensor/device.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace concord::experiments {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr std::array kBenchmarks{
    Benchmark{"copy", "rates of the memory: memcpy, triad, sum; 64 MiB each", bench_copy},
    Benchmark{"gemm", "matrix products of LeNet (batch 256) and ResNet-18 (batch 32), f32",
              bench_gemm},
    Benchmark{"conv",
              "the convolutions of LeNet (batch 256) and ResNet-18 on 32x32 images (batch 32), f32",
              bench_conv},
    Benchmark{"gram", "Gram matrix of 2, 10 and 40 gradients of 1.57M values, f32 and bf16",
              bench_gram},
    Benchmark{"update", "a step over the weighted sum of these gradients, fused", bench_update},
    Benchmark{"ways",
              "Gram matrices with the rows of G and without: every layer, predicted and timed",
              bench_ways},
    Benchmark{"mlp", "forward pass of a 64-64 MLP (16 inputs, 4 outputs), batch 4", bench_mlp},
    Benchmark{"lenet", "training step, two tasks on LeNet, 36x36 images, batch 256, Adam",
              bench_lenet},
    Benchmark{"resnet18", "training step, ResNet-18 on 32x32 images, batch 32, SGD with momentum",
              bench_resnet18},
    Benchmark{"rows", "backward pass: one sweep for T tasks over T separate sweeps", bench_rows},
    Benchmark{"mallocs", "memory requests of a training step after the first few", bench_mallocs},
    Benchmark{"multitask/lenet",
              "steps of T tasks and their parts: LeNet, 36x36 images, batch 256, Adam",
              bench_multitask_lenet},
    Benchmark{"multitask/mlp",
              "steps of T tasks and their parts: MLP 784-1000-780, batch 64, SGD with momentum",
              bench_multitask_mlp},
    Benchmark{"multitask/resnet18",
              "steps of T tasks and their parts: ResNet-18 on 32x32 images, SGD with momentum",
              bench_multitask_resnet18},
    Benchmark{"multitask/solvers",
              "the methods alone, on the Gram matrix of a Gaussian T x P matrix",
              bench_multitask_solvers},
    Benchmark{"multitask/memory", "peak memory of a PCGrad step beside its parts, MB",
              bench_multitask_memory},
    Benchmark{"cuda/resnet18",
              "a step on an H100: ResNet-18 on 32x32 images, batch 256, SGD with momentum",
              bench_cuda_resnet18},
    Benchmark{"cuda/resnet50",
              "a step on an H100: ResNet-50 on 224x224 images, batch 64, SGD with momentum",
              bench_cuda_resnet50},
    Benchmark{"cuda/tasks",
              "a step on an H100: ResNet-18 on 32x32 images, batch 64, PCGrad with 10 tasks",
              bench_cuda_tasks},
    Benchmark{"rl/environments", "environments alone, random play, 256 of each, one thread",
              bench_environments},
    Benchmark{"rl/ppo", "PPO from the first step to the last, and where its time goes", bench_ppo},
};

/// "multitask" for "multitask/mlp".
std::string_view family(std::string_view name) { return name.substr(0, name.find('/')); }

/// The benchmarks asked for, by name or by family, in the order of the list.
std::vector<const Benchmark*> chosen(const std::vector<std::string>& wanted) {
  const auto answers = [](const Benchmark& b, const std::string& name) {
    return name == b.name || name == family(b.name);
  };
  for (const std::string& name : wanted) {
    if (std::any_of(kBenchmarks.begin(), kBenchmarks.end(),
                    [&](const Benchmark& b) { return answers(b, name); })) {
      continue;
    }
    std::vector<std::string> names;
    for (const Benchmark& b : kBenchmarks) names.emplace_back(b.name);
    throw_unknown("benchmark", name, names);
  }
  std::vector<const Benchmark*> list;
  for (const Benchmark& b : kBenchmarks) {
    if (wanted.empty() || std::any_of(wanted.begin(), wanted.end(),
                                      [&](const std::string& name) { return answers(b, name); })) {
      list.push_back(&b);
    }
  }
  return list;
}

}  // namespace

std::span<const Benchmark> benchmarks() { return kBenchmarks; }

std::vector<Timing> time_in_turns(const std::vector<std::function<void()>>& functions,
                                  double seconds) {
  constexpr double kShortest = 100e-6;
  constexpr std::size_t kFewest = 5;
  const std::size_t n = functions.size();
  std::vector<int> calls(n, 1);
  for (std::size_t i = 0; i < n; ++i) {
    functions[i]();  // first touch of memory, threads woken up
    for (;;) {       // as many calls as make a sample that the clock can resolve
      const auto start = Clock::now();
      for (int c = 0; c < calls[i]; ++c) functions[i]();
      if (seconds_since(start) >= kShortest) break;
      calls[i] *= 2;
    }
  }
  std::vector<std::vector<double>> samples(n);
  const auto begin = Clock::now();
  while (samples[0].size() < kFewest || seconds_since(begin) < seconds * static_cast<double>(n)) {
    for (std::size_t i = 0; i < n; ++i) {
      const auto start = Clock::now();
      for (int c = 0; c < calls[i]; ++c) functions[i]();
      samples[i].push_back(seconds_since(start) / calls[i]);
    }
  }
  std::vector<Timing> timings;
  for (auto& s : samples) {
    std::sort(s.begin(), s.end());
    const std::size_t half = s.size() / 2;
    const double median = s.size() % 2 ? s[half] : (s[half - 1] + s[half]) / 2;
    timings.push_back({median, s.front(), static_cast<int>(s.size())});
  }
  return timings;
}

Timing time(const std::function<void()>& f, double seconds) {
  return time_in_turns({f}, seconds).front();
}

std::string time_text(double seconds) {
  const auto digits = [](double x) { return x < 10 ? 2 : x < 100 ? 1 : 0; };
  for (const auto& [unit, scale] : {std::pair{"us", 1e6}, {"ms", 1e3}}) {
    const double x = seconds * scale;
    if (x < 999.5) return fmt::format("{:.{}f} {}", x, digits(x), unit);
  }
  return fmt::format("{:.{}f} s", seconds, digits(seconds));
}

void Timings::add(const std::string& name, const Timing& t, const Work& work,
                  const std::string& remark, Json::Object more) {
  const double rate = work.amount / t.minimum;
  std::string shown, share;
  if (work.amount > 0) {
    shown = fmt::format("{:.1f} {}", rate * 1e-9, work.unit == Work::flops ? "GFLOP/s" : "GB/s");
  }
  if (work.roof > 0) share = fmt::format("{:3.0f} % of {}", 100 * rate / work.roof, work.roof_name);
  table_.add({name, time_text(t.median), time_text(t.minimum), shown, share, remark});

  Json result = Json::object(
      {{"name", name}, {"median_s", t.median}, {"minimum_s", t.minimum}, {"samples", t.samples}});
  if (work.amount > 0) result.set(work.unit == Work::flops ? "flop_per_s" : "bytes_per_s", rate);
  if (work.roof > 0) result.set("share_of_" + std::string(work.roof_name), rate / work.roof);
  for (auto& [key, value] : more) result.set(key, std::move(value));
  results_.push_back(std::move(result));
}

int bench(const BenchOptions& options) {
  const auto list = chosen(options.names);
  if (options.list) {
    for (const Benchmark* b : list) fmt::print("{:<19} {}\n", b->name, b->help);
    return 0;
  }
  const int threads = choose_threads(options.threads);
  use_threads(threads);
  if (const std::string warning = blas_warning(); !warning.empty()) {
    fmt::print(stderr, "warning: {}\n", warning);
  }

  Roofs roofs = measure_roofs();
  if (!options.model) roofs.device = devices().back();
  Json all = Json::object({{"machine", machine(threads)},
                           {"roofs", Json::object({{"gemm_flop_per_s", roofs.gemm},
                                                   {"copy_bytes_per_s", roofs.copy},
                                                   {"triad_bytes_per_s", roofs.triad},
                                                   {"read_bytes_per_s", roofs.read}})}});
  if (!options.json) {
    fmt::print(
        "{} thread{}. Rates and shares are those of the minimum time; in this run the machine "
        "reaches\nGEMM {:.0f} GFLOP/s (1024 x 1024 x 1024, f32), copy {:.1f} GB/s, triad {:.1f} "
        "GB/s, read {:.1f} GB/s\n",
        threads, threads == 1 ? "" : "s", roofs.gemm * 1e-9, roofs.copy * 1e-9, roofs.triad * 1e-9,
        roofs.read * 1e-9);
  }
  Json results = Json::object({});
  for (const Benchmark* b : list) {
    Section section = b->run(roofs);
    if (options.json) {
      results.set(b->name, std::move(section.results));
    } else {
      fmt::print("\n{}: {}\n{}", b->name, b->help, section.table.text());
      std::fflush(stdout);
    }
  }
  if (options.json) {
    all.set("results", std::move(results));
    fmt::print("{}\n", all.dump());
  }
  return 0;
}

}  // namespace concord::experiments
