// Benchmarks of single kernels, and of the machine itself.
#include <concord/autograd/gradient_matrix.h>
#include <concord/experiments/bench_suite.h>
#include <concord/multitask/gram.h>
#include <concord/nn/init.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

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

Section bench_gram(const Roofs& roofs) {
  constexpr int kTasks = 10;
  constexpr index_t kColumns = 1'570'000;
  ParameterStore store;
  store.add("theta", {kColumns}, nn::init::zeros());
  const GradientMatrix gradients(store, kTasks);
  for (int t = 0; t < kTasks; ++t)
    Rng(1).fork(static_cast<std::uint64_t>(t)).fill_uniform(gradients.row(t), -1, 1);
  multitask::Gram gram;
  const Timing t = time([&] { multitask::gram_of(gradients, {}, gram); }, 1);
  constexpr double kBytes = sizeof(float) * double{kTasks} * double{kColumns};
  constexpr double kFlops = double{kTasks} * (kTasks + 1) * double{kColumns};
  Timings rows;
  rows.add("10 x 1570000", t, {kBytes, Work::bytes, roofs.read, "read"},
           fmt::format("{:.1f} GFLOP/s", kFlops / t.minimum * 1e-9));
  return rows.take();
}

}  // namespace concord::experiments
