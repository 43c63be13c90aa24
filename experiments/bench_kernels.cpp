// Benchmarks of single kernels, and of the machine itself.
#include <concord/experiments/bench_suite.h>
#include <concord/experiments/bench_trainee.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>

namespace concord::experiments {

namespace {

using kernels::cpu_table;
using kernels::one_row;

Tensor uniform(const Shape& shape, const char* name) {
  const Tensor t = Tensor::empty(shape);
  Rng(1).fork(name).fill_uniform(t, -1, 1);
  return t;
}

// --- The memory. Each thread works on one contiguous part, as the kernels do.

constexpr index_t kWords = index_t{1} << 24;  // 64 MiB of f32

/// 64 bytes, to be added as integers: no order of additions to respect.
using Line = std::uint64_t __attribute__((vector_size(64), may_alias));

/// Calls f(first, last) on every thread's part of [0, n).
template <class F>
void in_parts(index_t n, F&& f) {
#pragma omp parallel for schedule(static)
  for (index_t part = 0; part < 64; ++part) f(part * n / 64, (part + 1) * n / 64);
}

struct MemoryTimes {
  Timing copy, triad, read;
};

MemoryTimes time_memory() {
  const Tensor a = Tensor::zeros({kWords}), b = uniform({kWords}, "b"), c = uniform({kWords}, "c");
  float *pa = a.data<float>(), *pb = b.data<float>(), *pc = c.data<float>();
  const auto* lines = reinterpret_cast<const Line*>(b.raw());
  Line sums[64] = {};
  const auto times = time_in_turns({
      [&] {
        in_parts(kWords, [&](index_t first, index_t last) {
          std::memcpy(pa + first, pb + first,
                      sizeof(float) * static_cast<std::size_t>(last - first));
        });
      },
      [&] {
        in_parts(kWords, [&](index_t first, index_t last) {
#pragma omp simd
          for (index_t i = first; i < last; ++i) pa[i] = pb[i] + 3 * pc[i];
        });
      },
      [&] {
        in_parts(kWords / 16, [&](index_t first, index_t last) {
          Line sum{};
          for (index_t i = first; i < last; ++i) sum += lines[i];
          sums[first * 64 / (kWords / 16)] = sum;
        });
      },
  });
  return {times[0], times[1], times[2]};
}

constexpr double kArray = sizeof(float) * static_cast<double>(kWords);

// --- GEMM

struct Product {
  const char* name;
  index_t m, n, k;
  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
};

Timing time_gemm(const Product& p, double seconds = 0.3) {
  const Tensor a = uniform({p.m, p.k}, "a"), b = uniform({p.k, p.n}, "b"),
               c = Tensor::zeros({p.m, p.n});
  return time(
      [&] {
        cpu_table<float>().gemm(false, false, p.m, p.n, p.k, 1, a.data<float>(), p.k,
                                b.data<float>(), p.n, 0, c.data<float>(), p.n);
      },
      seconds);
}

constexpr Product kSquare{"square", 1024, 1024, 1024};

}  // namespace

Roofs measure_roofs() {
  const MemoryTimes memory = time_memory();
  return {.gemm = kSquare.flops() / time_gemm(kSquare, 1).minimum,
          .copy = 2 * kArray / memory.copy.minimum,
          .triad = 3 * kArray / memory.triad.minimum,
          .read = kArray / memory.read.minimum};
}

Section bench_copy(const Roofs&) {
  Timings rows;
  const MemoryTimes memory = time_memory();
  rows.add("memcpy", memory.copy, {2 * kArray, Work::bytes});
  rows.add("triad", memory.triad, {3 * kArray, Work::bytes});
  rows.add("read", memory.read, {kArray, Work::bytes});
  return rows.take();
}

Section bench_gemm(const Roofs& roofs) {
  // A convolution is the product [out, in kh kw] x [in kh kw, pixels of the batch].
  constexpr std::array products{
      kSquare,
      Product{"lenet conv1", 10, 256 * 32 * 32, 25},
      Product{"lenet conv2", 20, 256 * 12 * 12, 250},
      Product{"lenet fc1", 256, 50, 720},
      Product{"resnet18 layer1", 64, 32 * 32 * 32, 576},
      Product{"resnet18 layer2", 128, 32 * 16 * 16, 1152},
      Product{"resnet18 layer3", 256, 32 * 8 * 8, 2304},
      Product{"resnet18 layer4", 512, 32 * 4 * 4, 4608},
  };
  Timings rows;
  for (const Product& p : products) {
    rows.add(p.name, time_gemm(p), {p.flops(), Work::flops, roofs.gemm, "GEMM"},
             fmt::format("{} x {} x {}", p.m, p.n, p.k));
  }
  return rows.take();
}

Section bench_conv(const Roofs& roofs) {
  struct Layer {
    const char* name;
    index_t in, out, size, kernel, stride;
    index_t batch = 32, padding = kernel / 2;
  };
  constexpr std::array layers{
      Layer{"lenet conv1", 1, 10, 36, 5, 1, 256, 0},
      Layer{"lenet conv2", 10, 20, 16, 5, 1, 256, 0},
      Layer{"conv1", 3, 64, 32, 3, 1},
      Layer{"layer1", 64, 64, 32, 3, 1},
      Layer{"layer2.0.conv1", 64, 128, 32, 3, 2},
      Layer{"layer2.0.downsample", 64, 128, 32, 1, 2},
      Layer{"layer2", 128, 128, 16, 3, 1},
      Layer{"layer3.0.conv1", 128, 256, 16, 3, 2},
      Layer{"layer3.0.downsample", 128, 256, 16, 1, 2},
      Layer{"layer3", 256, 256, 8, 3, 1},
      Layer{"layer4.0.conv1", 256, 512, 8, 3, 2},
      Layer{"layer4.0.downsample", 256, 512, 8, 1, 2},
      Layer{"layer4", 512, 512, 4, 3, 1},
  };
  const auto& k = cpu_table<float>();
  Timings rows;
  for (const Layer& l : layers) {
    const Tensor x = uniform({l.batch, l.in, l.size, l.size}, "x");
    const Tensor w = uniform({l.out, l.in, l.kernel, l.kernel}, "w");
    const auto g = kernels::ConvGeometry::make(
        x, w, {.stride = {l.stride, l.stride}, .padding = {l.padding, l.padding}});
    const Tensor y = Tensor::zeros({g.n, g.k, g.p, g.q}), gy = uniform(y.shape(), "gy");
    const Tensor gx = Tensor::zeros_like(x), gw = Tensor::zeros_like(w);
    const auto cotangent = one_row<const float>(gy.data<float>());
    const auto times = time_in_turns({
        [&] { k.conv2d_forward(g, x.data<float>(), w.data<float>(), nullptr, y.data<float>()); },
        [&] { k.conv2d_grad_input(g, w.data<float>(), cotangent, one_row(gx.data<float>())); },
        [&] {
          k.conv2d_grad_weight(g, one_row<const float>(x.data<float>()), cotangent,
                               one_row(gw.data<float>()));
        },
    });
    constexpr std::array passes{"forward", "grad_input", "grad_weight"};
    for (std::size_t i = 0; i < passes.size(); ++i) {
      std::string remark;
      if (i == 0) {
        remark = fmt::format("{} -> {}, {}x{}, kernel {}x{}, stride {}", l.in, l.out, l.size,
                             l.size, l.kernel, l.kernel, l.stride);
      }
      rows.add(fmt::format("{} {}", l.name, passes[i]), times[i],
               {static_cast<double>(g.flops()), Work::flops, roofs.gemm, "GEMM"}, remark);
    }
  }
  return rows.take();
}

namespace {

/// Gradients of as many values as the MLP 784-1000-780 has, beside one pass that reads them all.
struct GradientRows {
  static constexpr index_t kColumns = 1'570'000;
  Tensor values;
  int tasks;

  explicit GradientRows(int count)
      : values(uniform({count, kColumns + 48}, "rows")), tasks(count) {}
  kernels::In<float> rows() const {
    return {values.data<float>(), values.dim(1), nullptr, tasks, false};
  }
  double bytes() const { return sizeof(float) * static_cast<double>(values.numel()); }
  void read() const {
    const auto* lines = reinterpret_cast<const Line*>(values.raw());
    const auto n = static_cast<index_t>(values.bytes() / sizeof(Line));
    in_parts(n, [&](index_t first, index_t last) {
      Line sum{};
      for (index_t i = first; i < last; ++i) sum += lines[i];
      // An empty instruction that might look at the sum: the loop must stay.
      asm volatile("" : : "v"(sum));
    });
  }
};

std::string of_read(const Timing& t, const Timing& read) {
  return fmt::format("{:.2f} of one read", t.minimum / read.minimum);
}

}  // namespace

Section bench_gram(const Roofs& roofs) {
  const auto& k = cpu_table<float>();
  Timings results;
  for (const int tasks : {2, 10, 40}) {
    const GradientRows g(tasks);
    const Tensor narrow = g.values.to(DType::bf16);
    const kernels::In<BFloat16> narrow_rows{narrow.data<BFloat16>(), narrow.dim(1), nullptr, tasks};
    std::vector<double> gram(static_cast<std::size_t>(tasks * tasks));
    const auto times = time_in_turns({
        [&] { g.read(); },
        [&] { k.gram(GradientRows::kColumns, g.rows(), gram.data()); },
        [&] { k.gram_bf16(GradientRows::kColumns, narrow_rows, gram.data()); },
    });
    const std::string name = fmt::format("{} x {} ", tasks, GradientRows::kColumns);
    const double flops = double(tasks) * (tasks + 1) * GradientRows::kColumns;
    const auto remark = [&](const Timing& t) {
      return fmt::format("{}, {:.1f} GFLOP/s in double", of_read(t, times[0]),
                         flops / t.minimum * 1e-9);
    };
    results.add(name + "read", times[0], {g.bytes(), Work::bytes, roofs.read, "read"});
    results.add(name + "Gram", times[1], {g.bytes(), Work::bytes, roofs.read, "read"},
                remark(times[1]));
    results.add(name + "Gram of bf16", times[2], {g.bytes() / 2, Work::bytes, roofs.read, "read"},
                remark(times[2]));
  }
  return results.take();
}

Section bench_update(const Roofs& roofs) {
  const auto& k = cpu_table<float>();
  constexpr index_t kSize = GradientRows::kColumns;
  const Tensor theta = Tensor::zeros({kSize}), m = Tensor::zeros({kSize}),
               v = Tensor::zeros({kSize});
  Timings results;
  for (const int tasks : {2, 10, 40}) {
    const GradientRows g(tasks);
    const std::vector<double> weights(static_cast<std::size_t>(tasks), 0.1);
    const auto adam = [&](int rows) {
      k.adam_step(kSize, {.rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
                  {g.rows().base, g.rows().stride, rows, weights.data()}, theta.data<float>(),
                  m.data<float>(), v.data<float>());
    };
    const auto sgd = [&](int rows) {
      k.sgd_step(kSize, {.rate = 1e-3, .momentum = 0.9},
                 {g.rows().base, g.rows().stride, rows, weights.data()}, theta.data<float>(),
                 m.data<float>());
    };
    const auto times = time_in_turns({[&] { g.read(); }, [&] { adam(0); }, [&] { adam(tasks); },
                                      [&] { sgd(0); }, [&] { sgd(tasks); }});
    const std::string name = fmt::format("{} x {} ", tasks, kSize);
    results.add(name + "read", times[0], {g.bytes(), Work::bytes, roofs.read, "read"});
    for (const int i : {1, 3}) {
      const char* method = i == 1 ? "adam" : "sgd";
      const double parts = times[0].minimum + times[i].minimum;
      results.add(name + method + ", no rows", times[i]);
      results.add(name + method, times[i + 1], {g.bytes(), Work::bytes, roofs.read, "read"},
                  fmt::format("{:.2f} of one read and one update", times[i + 1].minimum / parts));
    }
  }
  return results.take();
}

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Every slice of a network: what the cost model predicts of its Gram matrix's share either way,
/// and what both take; then the whole step's gradients with and without G.
void add_ways(Timings& results, const Trainee::Options& options) {
  Trainee net(options);
  net.forward();
  const int tasks = options.tasks;
  std::vector<Seed> seeds;
  for (int t = 0; t < tasks; ++t)
    seeds.push_back({net.losses()[static_cast<std::size_t>(t)], t, 1, {}});
  const std::vector<double> weights(static_cast<std::size_t>(tasks), 1.0);
  const auto make_streamed = [&] {
    return GradientMatrix(net.store(), tasks, DType::f32, Columns::shared, kCpu,
                          RowStorage::streamed);
  };
  GradientMatrix streamed = make_streamed(), forced = make_streamed();
  GradientMatrix combined(net.store(), 1);
  std::optional<GradientMatrix> g(std::in_place, net.store(), tasks);

  using Way = BlockGrams::Way;
  constexpr std::array ways{Way::cheaper, Way::rows, Way::products};
  std::array<std::vector<double>, ways.size()> seconds;  // by way and slice, the least of all
  BlockGrams grams(net.store(), tasks), kept(net.store(), tasks);
  const auto sweep = [&](std::size_t way) {
    grams.way = ways[way];
    net.tape().backward(seeds, tasks, way == 0 ? &streamed : &forced, {.grams = &grams});
    seconds[way].resize(static_cast<std::size_t>(net.store().slices()), kNever);
    for (const auto& c : grams.choices()) {
      double& least = seconds[way][static_cast<std::size_t>(c.slice)];
      if (c.by_products == (ways[way] == Way::products)) least = std::min(least, c.seconds);
    }
  };
  const auto times = time_in_turns({
      [&] { net.tape().backward(seeds, tasks, &*g, {.grams = &kept}); },
      [&] {
        net.update({*g, weights});
      },
      [&] { sweep(0); },
      [&] { net.tape().backward(seeds, tasks, &combined, {.combine = weights}); },
      [&] { sweep(1); },
      [&] { sweep(2); },
  });
  sweep(0);
  const std::string before =
      fmt::format("{}, T = {}, batch {}: ", options.network, tasks, options.batch);
  const auto micro = [](double s) { return s < kNever ? fmt::format("{:.0f}", s * 1e6) : "-"; };
  for (const auto& c : grams.choices()) {
    const auto id = static_cast<std::size_t>(c.slice);
    const Timing rows{seconds[1][id], seconds[1][id], 0};
    results.add(
        before + net.store().slice(c.slice).name, rows, {},
        fmt::format("{}; us by rows {}, predicted {}; without {}, predicted {}",
                    c.by_products ? "without rows" : "rows", micro(seconds[1][id]),
                    micro(c.rows_seconds), micro(seconds[2][id]), micro(c.products_seconds)));
  }
  const auto [with_g, without_g] = grams.estimate();
  results.add(before + "sweep into G", times[0], {},
              fmt::format("{:.1f} MB of rows", 4e-6 * double(g->columns()) * tasks));
  results.add(before + "update from G", times[1]);
  results.add(before + "sweep without G", times[2], {},
              fmt::format("scratch {:.1f} MB", 1e-6 * double(streamed.scratch_peak())));
  results.add(
      before + "combined sweep", times[3], {},
      fmt::format("without G over with G: {:.2f}; predicted of the parts that differ: {:.2f}",
                  (times[2].minimum + times[3].minimum) / (times[0].minimum + times[1].minimum),
                  without_g / with_g));
  results.rule();
}

}  // namespace

Section bench_ways(const Roofs&) {
  Timings results;
  for (const int tasks : {2, 10, 40}) {
    add_ways(
        results,
        {.network = "mlp", .input = {784}, .batch = 64, .tasks = tasks, .hidden = {1000, 780}});
  }
  add_ways(results, {.network = "lenet", .input = {1, 36, 36}, .batch = 256, .tasks = 10});
  add_ways(results, {.network = "resnet18-32", .input = {3, 32, 32}, .batch = 32, .tasks = 2});
  return results.take();
}

}  // namespace concord::experiments
