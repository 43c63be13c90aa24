// Grids: what a kernel computes, in all thread orders, and the mistakes that are found.
#include <concord/tests/cuda_on_cpu/cuda_on_cpu.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

using concord::testing::error_text;
using cuda_on_cpu::Finding;
using cuda_on_cpu::Order;
using cuda_on_cpu::Schedule;

namespace {

#if defined(CUDA_ON_CPU_RACE_CHECK)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

/// The stream of this program; copies into pageable memory wait for it.
cudaStream_t stream() {
  static cudaStream_t s = [] {
    cudaStream_t made{};
    REQUIRE(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking) == cudaSuccess);
    return made;
  }();
  return s;
}

/// n values of device memory.
template <class T>
class Array {
 public:
  explicit Array(const std::vector<T>& values) : size_(values.size()) {
    REQUIRE(cudaMalloc(&memory_, size_ * sizeof(T)) == cudaSuccess);
    cudaMemcpyAsync(memory_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, stream());
  }
  ~Array() { cudaFree(memory_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  operator T*() const { return memory_; }
  std::vector<T> values() const {
    std::vector<T> v(size_);
    cudaMemcpyAsync(v.data(), memory_, size_ * sizeof(T), cudaMemcpyDeviceToHost, stream());
    return v;
  }

 private:
  std::size_t size_;
  T* memory_ = nullptr;
};

/// Runs kernel<<<grid, block, shared>>>(arguments...) and waits.
template <class... P, class... A>
void run(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, A&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream();
  config.cuda_on_cpu_name = "k";
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
  REQUIRE(error == cudaSuccess);
  cudaStreamSynchronize(stream());
}

std::vector<Schedule> all_orders() {
  std::vector<Schedule> all{{Order::ascending}, {Order::descending}};
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    all.push_back({Order::fifo, seed});
    all.push_back({Order::lifo, seed});
  }
  return all;
}

/// f() in each thread order; how many of them returned false.
template <class F>
int failures(F&& f) {
  int count = 0;
  for (const Schedule& s : all_orders()) {
    cuda_on_cpu::set_schedule(s);
    count += !f();
  }
  cuda_on_cpu::set_schedule({});
  return count;
}

std::vector<float> numbers(std::size_t n) {
  std::vector<float> v(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<float>(i % 17) - 5.25f;
  return v;
}

// --- Kernels -------------------------------------------------------------------------------------

__global__ void where_am_i(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[i] = static_cast<int>(i) + 1;
}

/// Sums of 256 values by a tree in shared memory; `Barriers` bit s keeps the barrier of step s.
template <int Barriers>
__global__ void tree_sum(const float* x, float* sums) {
  CUDA_ON_CPU_SHARED(float, part, [256]);
  const int t = static_cast<int>(threadIdx.x);
  part[t] = x[blockIdx.x * 256 + threadIdx.x];
  if (Barriers & 1) __syncthreads();
  int step = 1;
  for (int half = 128; half > 0; half /= 2, ++step) {
    if (t < half) part[t] += part[t + half];
    if (Barriers >> step & 1) __syncthreads();
  }
  if (t == 0) sums[blockIdx.x] = part[0];
}

__global__ void warp_sum(const float* x, float* sums) {
  float sum = x[blockIdx.x * 32 + threadIdx.x];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void warp_functions(int* out) {
  const int lane = static_cast<int>(threadIdx.x), all = lane * 100;
  const unsigned full = 0xffffffffu;
  out[lane] = __shfl_sync(full, all, 5);
  out[32 + lane] = __shfl_sync(full, all, 3, 8);
  out[64 + lane] = __shfl_sync(full, all, lane + 1);
  out[96 + lane] = __shfl_down_sync(full, all, 3, 16);
  out[128 + lane] = __shfl_xor_sync(full, all, 5);
  out[160 + lane] = static_cast<int>(__ballot_sync(full, lane % 3 == 0));
  out[192 + lane] = __any_sync(full, lane == 7) * 2 + __all_sync(full, lane < 32);
  // The two halves of a warp meet separately, and a different number of times.
  if (lane < 16)
    out[224 + lane] = __shfl_xor_sync(0xffffu, __shfl_xor_sync(0xffffu, lane, 1), 2);
  else
    out[224 + lane] = __shfl_xor_sync(0xffff0000u, lane, 1);
}

__global__ void dynamic_reverse(int n, int* values) {
  CUDA_ON_CPU_DYNAMIC_SHARED(int, copy);
  const int t = static_cast<int>(threadIdx.x);
  copy[t] = values[t];
  __syncthreads();
  values[t] = copy[n - 1 - t];
}

__global__ void reads_stale_shared(float* out) {
  CUDA_ON_CPU_SHARED(float, tile, [32]);
  out[blockIdx.x * 32 + threadIdx.x] = tile[threadIdx.x];
  tile[threadIdx.x] = 1;
}

__global__ void count(unsigned* counter, int* sum) {
  atomicAdd(counter, 1u);
  atomicAdd(sum, static_cast<int>(threadIdx.x));
}

__global__ void shuffle_as_fence(float* out) {
  CUDA_ON_CPU_SHARED(float, tile, [32]);
  const unsigned lane = threadIdx.x;
  tile[lane] = static_cast<float>(lane);
  __shfl_sync(0xffffffffu, 1, 0);
  out[lane] = tile[31 - lane];
}

/// Right: the last block to finish adds up what the others left.
__global__ void last_block_sums(const float* x, float* parts, unsigned* finished, float* sum) {
  CUDA_ON_CPU_SHARED(bool, last, );
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = x[2 * blockIdx.x] + x[2 * blockIdx.x + 1];
    __threadfence();
    last = atomicAdd(finished, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x > 0) return;
  float s = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) s += parts[b];
  *sum = s;
}

/// Right: warps exchange through shared memory with __syncwarp only.
__global__ void warp_reverse(int* values) {
  CUDA_ON_CPU_SHARED(int, tile, [64]);
  const unsigned t = threadIdx.x;
  for (int i = 0; i < 3; ++i) {
    tile[t] = values[t];
    __syncwarp();
    values[t] = tile[t ^ 31u];
    __syncwarp();
  }
}

__global__ void all_write(float* out) { *out = static_cast<float>(blockIdx.x); }

__global__ void writes_beyond(int which, float* out) {
  CUDA_ON_CPU_SHARED(float, fixed, [32]);
  CUDA_ON_CPU_DYNAMIC_SHARED(float, dynamic);
  float* const memory = which == 0 ? out : which == 1 ? fixed : dynamic;
  memory[threadIdx.x + (threadIdx.x == 31)] = 1;
}

__global__ void diverges() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void returns_early() {
  if (threadIdx.x >= 40) return;
  __syncthreads();
}

__global__ void names_dead_lane() {
  if (threadIdx.x == 9) return;
  __shfl_sync(0xffffffffu, 1, 0);
}

__global__ void lacks_own_lane() { __syncwarp(0xffu); }

__global__ void half_a_warp_meets() {
  if (threadIdx.x < 16) __syncwarp();
  __syncthreads();
}

__global__ void needs_dynamic() {
  CUDA_ON_CPU_DYNAMIC_SHARED(int, memory);
  memory[0] = 1;
}

}  // namespace

TEST_CASE("grid: every thread of every block runs once, in three dimensions") {
  const dim3 grid(3, 5, 2), block(4, 3, 7);
  const std::size_t n = 30 * 84;
  CHECK(failures([&] {
          Array<int> out(std::vector<int>(n, 0));
          run(where_am_i, grid, block, 0, out);
          const std::vector<int> v = out.values();
          for (std::size_t i = 0; i < n; ++i)
            if (v[i] != static_cast<int>(i) + 1) return false;
          return true;
        }) == 0);
}

TEST_CASE("barrier: a tree in shared memory sums in every thread order") {
  const std::vector<float> x = numbers(7 * 256);
  const Array<float> in(x);
  CHECK(failures([&] {
          Array<float> sums(std::vector<float>(7, 0.f));
          run(tree_sum<511>, 7, 256, 0, in, sums);
          const std::vector<float> got = sums.values();
          for (std::size_t b = 0; b < 7; ++b) {
            float want = 0;  // exact: multiples of 1/4
            for (std::size_t i = 0; i < 256; ++i) want += x[b * 256 + i];
            if (got[b] != want) return false;
          }
          return true;
        }) == 0);
}

TEST_CASE_TEMPLATE_DEFINE("barrier: one that is missing shows in some thread order", Kept,
                          missing) {
  if (kThreadSanitizer) return;  // says so itself, below
  const Array<float> in(numbers(256));
  Array<float> right(std::vector<float>{0});
  run(tree_sum<511>, 1, 256, 0, in, right);
  const float want = right.values()[0];
  CHECK(failures([&] {
          Array<float> sum(std::vector<float>{0});
          run(tree_sum<Kept::value>, 1, 256, 0, in, sum);
          return sum.values()[0] == want;
        }) > 0);
}
// Without the barrier of one step each; the last one (bit 8) only keeps thread 0 from itself.
TEST_CASE_TEMPLATE_INVOKE(missing, std::integral_constant<int, 511 - 1>,
                          std::integral_constant<int, 511 - 2>,
                          std::integral_constant<int, 511 - 4>,
                          std::integral_constant<int, 511 - 32>,
                          std::integral_constant<int, 511 - 128>);

TEST_CASE("warp: shuffles and votes") {
  CHECK(failures([&] {
          Array<int> out(std::vector<int>(256, -1));
          run(warp_functions, 1, 32, 0, out);
          const std::vector<int> v = out.values();
          unsigned thirds = 0;
          for (int i = 0; i < 32; i += 3) thirds |= 1u << i;
          for (int i = 0; i < 32; ++i) {
            if (v[i] != 500 || v[32 + i] != (i / 8 * 8 + 3) * 100) return false;
            if (v[64 + i] != (i + 1) % 32 * 100) return false;
            if (v[96 + i] != (i % 16 > 12 ? i : i + 3) * 100) return false;
            if (v[128 + i] != (i ^ 5) * 100 || v[160 + i] != static_cast<int>(thirds)) return false;
            if (v[192 + i] != 3 || v[224 + i] != (i < 16 ? i ^ 3 : i ^ 1)) return false;
          }
          return true;
        }) == 0);
  const std::vector<float> x = numbers(64);
  Array<float> sums(std::vector<float>{0, 0});
  run(warp_sum, 2, 32, 0, Array<float>(x), sums);
  float want = 0;
  for (std::size_t i = 32; i < 64; ++i) want += x[i];
  CHECK(sums.values()[1] == want);
}

TEST_CASE("shared memory: dynamic, and NaN before each block") {
  Array<int> values({1, 2, 3, 4, 5, 6, 7});
  run(dynamic_reverse, 1, 7, 7 * sizeof(int), 7, values);
  CHECK(values.values() == std::vector<int>{7, 6, 5, 4, 3, 2, 1});
  Array<float> out(std::vector<float>(96, 0.f));
  run(reads_stale_shared, 3, 32, 0, out);
  for (const float v : out.values()) CHECK(std::isnan(v));
}

TEST_CASE("atomics: of integers, across blocks") {
  Array<unsigned> counter({0u});
  Array<int> sum({-1});
  run(count, 37, 61, 0, counter, sum);
  CHECK(counter.values()[0] == 37 * 61);
  CHECK(sum.values()[0] == 37 * 1830 - 1);
}

TEST_CASE("fences: the last block reads what the others wrote; a warp meets by itself") {
  const std::vector<float> x = numbers(26);
  const Array<float> in(x);
  float want = 0;
  for (const float v : x) want += v;
  std::vector<int> ramp(64);
  for (int i = 0; i < 64; ++i) ramp[i] = i;
  CHECK(failures([&] {
          Array<float> parts(std::vector<float>(13, 0.f)), sum(std::vector<float>{0});
          Array<unsigned> finished({0u});
          run(last_block_sums, 13, 128, 0, in, parts, finished, sum);
          Array<int> values(ramp);
          run(warp_reverse, 1, 64, 0, values);
          return sum.values()[0] == want && values.values()[40] == (40 ^ 31);
        }) == 0);
}

// What only a sanitiser can see, one at a time since each ends the program (CMakeLists.txt).
TEST_CASE("overrun: global memory" * doctest::skip()) {
  run(writes_beyond, 1, 32, 128, 0, Array<float>(std::vector<float>(32)));
}
TEST_CASE("overrun: static shared memory" * doctest::skip()) {
  run(writes_beyond, 1, 32, 128, 1, nullptr);
}
TEST_CASE("overrun: dynamic shared memory" * doctest::skip()) {
  run(writes_beyond, 1, 32, 128, 2, nullptr);
}
TEST_CASE("race: a missing barrier" * doctest::skip()) {
  Array<float> sum(std::vector<float>{0});
  run(tree_sum<511 - 16>, 1, 256, 0, Array<float>(numbers(256)), sum);
}
TEST_CASE("race: a shuffle used as a fence" * doctest::skip()) {
  run(shuffle_as_fence, 1, 32, 0, Array<float>(std::vector<float>(32)));
}
TEST_CASE("race: two blocks write one element" * doctest::skip()) {
  run(all_write, 2, 1, 0, Array<float>({0.f}));
}

TEST_CASE("findings: each names kernel, block and line") {
  CHECK(error_text<Finding>([] { run(diverges, 1, 64, 0); }).find("divergent barriers") !=
        std::string::npos);
  const std::string early = error_text<Finding>([] { run(returns_early, dim3(1, 2), 64, 0); });
  CHECK(
      early.find("kernel k, block (0, 0, 0): deadlock: 24 of 64 threads have returned, 40 wait in "
                 "__syncthreads at ") == 0);
  CHECK(early.find("block_test.cpp:") != std::string::npos);
  CHECK(error_text<Finding>([] {
          run(names_dead_lane, 1, 32, 0);
        }).find("lane 9, which has returned") != std::string::npos);
  CHECK(error_text<Finding>([] { run(names_dead_lane, 1, 20, 0); }).find("was never there") !=
        std::string::npos);
  CHECK(error_text<Finding>([] { run(lacks_own_lane, 1, 32, 0); }).find("lacks its own lane") !=
        std::string::npos);
  CHECK(error_text<Finding>([] { run(half_a_warp_meets, 1, 32, 0); }).find("waits for its warp") !=
        std::string::npos);
  CHECK(error_text<Finding>([] { run(needs_dynamic, 1, 32, 0); }).find("launched with none") !=
        std::string::npos);
  // The machine works on after a finding.
  Array<int> values({1, 2});
  run(dynamic_reverse, 1, 2, 2 * sizeof(int), 2, values);
  CHECK(values.values() == std::vector<int>{2, 1});
}
