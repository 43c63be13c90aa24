// The host's side: streams that wait to be waited for, events, graphs, memory, errors.
#include <concord/tests/cuda_on_cpu/cuda_on_cpu.h>
#include <concord/tests/testing.h>
#include <cublas_v2.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

using concord::testing::error_text;
using cuda_on_cpu::Finding;

namespace {

__global__ void add(int n, const int* x, int* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] += x[i];
}
__global__ void scale(int n, int factor, int* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] *= factor;
}

template <class... P, class... A>
cudaError_t launch(cudaStream_t stream, void (*kernel)(P...), dim3 grid, dim3 block,
                   A... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
}

int* pinned_ints(int value) {
  int* memory = nullptr;
  REQUIRE(cudaMallocHost(&memory, sizeof(int)) == cudaSuccess);
  *memory = value;
  return memory;
}

cudaStream_t new_stream() {
  cudaStream_t stream{};
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

/// A copy that waits, on a stream of its own.
void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const cudaStream_t stream = new_stream();
  cudaMemcpyAsync(to, from, bytes, kind, stream);
  cudaStreamDestroy(stream);
}

int* device_ints(const std::vector<int>& values) {
  int* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, values.size() * sizeof(int)) == cudaSuccess);
  copy(memory, values.data(), values.size() * sizeof(int), cudaMemcpyHostToDevice);
  return memory;
}

}  // namespace

TEST_CASE("stream: works only when somebody waits") {
  const cudaStream_t stream = new_stream();
  int* const y = device_ints({5});
  int* const result = pinned_ints(-1);
  launch(stream, scale, 1, 32, 1, 3, y);
  cudaMemcpyAsync(result, y, sizeof(int), cudaMemcpyDeviceToHost, stream);
  CHECK(*result == -1);
  CHECK(cuda_on_cpu::pending() == 2);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(*result == 15);
  CHECK(cuda_on_cpu::pending() == 0);
  cudaFree(y), cudaFreeHost(result), cudaStreamDestroy(stream);
}

TEST_CASE("copies: pageable memory is read at the call, page-locked memory when the copy runs") {
  const cudaStream_t stream = new_stream();
  int* const a = device_ints({0});
  int* const b = device_ints({0});
  int pageable = 1;
  int* const pinned = pinned_ints(1);
  cudaMemcpyAsync(a, &pageable, sizeof(int), cudaMemcpyHostToDevice, stream);
  cudaMemcpyAsync(b, pinned, sizeof(int), cudaMemcpyHostToDevice, stream);
  pageable = *pinned = 2;
  int got[2];
  cudaMemcpyAsync(&got[0], a, sizeof(int), cudaMemcpyDeviceToHost, stream);
  cudaMemcpyAsync(&got[1], b, sizeof(int), cudaMemcpyDeviceToHost, stream);
  CHECK(got[0] == 1);
  CHECK(got[1] == 2);
  cudaFree(a), cudaFree(b), cudaFreeHost(pinned), cudaStreamDestroy(stream);
}

TEST_CASE("events: a missing wait between streams shows") {
  for (const bool waits : {true, false}) {
    const cudaStream_t first = new_stream(), second = new_stream();
    int* const x = device_ints({1});
    int* const y = device_ints({10});
    cudaEvent_t event{};
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    launch(first, scale, 1, 1, 1, 7, x);
    cudaEventRecord(event, first);
    launch(first, scale, 1, 1, 1, 100, x);  // after the event: the second stream need not see it
    if (waits) cudaStreamWaitEvent(second, event);
    cudaEventDestroy(event);
    launch(second, add, 1, 1, 1, x, y);
    int got = 0;
    cudaMemcpyAsync(&got, y, sizeof(int), cudaMemcpyDeviceToHost, second);
    CHECK(got == (waits ? 17 : 11));
    cudaFree(x), cudaFree(y), cudaStreamDestroy(first), cudaStreamDestroy(second);
  }
}

TEST_CASE("graphs: recorded, launched again, updated") {
  const cudaStream_t stream = new_stream(), side = new_stream();
  int* const y = device_ints({1});
  const auto value = [&] {
    int v = 0;
    cudaMemcpyAsync(&v, y, sizeof(int), cudaMemcpyDeviceToHost, stream);
    return v;
  };
  const auto record = [&](int factor, bool twice) {
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed);
    launch(stream, scale, 1, 1, 1, factor, y);
    if (twice) launch(stream, add, 1, 1, 1, y, y);
    CHECK(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
    cudaGraph_t graph{};
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    return graph;
  };
  cudaGraph_t graph = record(3, false);
  CHECK(value() == 1);  // recorded only
  cudaGraphExec_t exec{};
  CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  cudaGraphDestroy(graph);
  cudaGraphLaunch(exec, stream);
  cudaGraphLaunch(exec, stream);
  CHECK(value() == 9);
  cudaGraphExecUpdateResultInfo info{};
  graph = record(2, false);
  CHECK(cudaGraphExecUpdate(exec, graph, &info) == cudaSuccess);
  cudaGraphDestroy(graph);
  cudaGraphLaunch(exec, stream);
  CHECK(value() == 18);
  graph = record(2, true);
  CHECK(cudaGraphExecUpdate(exec, graph, &info) == cudaErrorGraphExecUpdateFailure);
  cudaGraphDestroy(graph), cudaGraphExecDestroy(exec);
  cudaGetLastError();
  cudaFree(y), cudaStreamDestroy(stream), cudaStreamDestroy(side);
}

TEST_CASE("memory: limits, wrong directions, overruns") {
  cuda_on_cpu::set_memory(1 << 20);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 2 << 20) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  REQUIRE(cudaMalloc(&memory, 1000) == cudaSuccess);
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0);
  void* more = nullptr;
  CHECK(cudaMalloc(&more, (1 << 20) - 999) == cudaErrorMemoryAllocation);
  cuda_on_cpu::set_memory(std::size_t{8} << 30);

  std::vector<char> host(1004);
  CHECK(error_text<Finding>([&] { copy(memory, host.data(), 1004, cudaMemcpyHostToDevice); }) ==
        "copy, target: 1004 bytes, but the allocation has 1000 more");
  CHECK(error_text<Finding>([&] { copy(memory, host.data(), 10, cudaMemcpyDeviceToHost); }) ==
        "copy: from host to device memory, the call says otherwise");
  CHECK(error_text<Finding>([&] {
          launch(nullptr, scale, 1, 1, 1, 3, reinterpret_cast<int*>(host.data()));
        }) == "kernel (no name): argument 3 points to host memory");
  CHECK(cudaFree(host.data()) == cudaErrorInvalidValue);
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("memory: host code that touches the device's ends with a message") {
  int* const y = device_ints({1, 2, 3});
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO), dup2(ends[1], STDOUT_FILENO);
    volatile int value = y[1];
    _exit(value);
  }
  close(ends[1]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) == 2));
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, read(ends[0], text.data(), 4096))));
  close(ends[0]);
  CHECK(text.find("cuda_on_cpu: host code touched memory of cuda:0") == 0);
  cudaFree(y);
}

TEST_CASE("launch: limits of a device") {
  int* const y = device_ints({1});
  const cudaStream_t stream = new_stream();
  CHECK(launch(stream, scale, 1, 1025, 1, 1, y) == cudaErrorInvalidConfiguration);
  CHECK(launch(stream, scale, dim3(1, 65536), 1, 1, 1, y) == cudaErrorInvalidConfiguration);
  CHECK(launch(nullptr, scale, 1, 1, 1, 1, y) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
  cudaFree(y);
}

TEST_CASE("devices: none, several, copies between them, calls that fail when asked to") {
  cuda_on_cpu::set_device_count(0);
  int count = -1;
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
  CHECK(count == 0);
  cuda_on_cpu::set_device_count(2);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  CHECK(cudaSetDevice(1) == cudaSuccess);
  int* const there = device_ints({0});
  const cudaStream_t stream = new_stream();
  cudaSetDevice(0);
  int* const here = device_ints({42});
  CHECK(cudaMemcpyPeerAsync(there, 1, here, 0, sizeof(int), stream) == cudaSuccess);
  CHECK(cudaMemcpyPeerAsync(there, 0, here, 1, sizeof(int), stream) == cudaErrorInvalidValue);
  int got = 0;
  cudaMemcpyAsync(&got, there, sizeof(int), cudaMemcpyDeviceToHost, stream);
  CHECK(got == 42);
  cudaFree(here), cudaFree(there), cudaStreamDestroy(stream);
  cuda_on_cpu::set_device_count(1);

  cuda_on_cpu::fail_next("cudaMalloc", cudaErrorLaunchFailure);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 8) == cudaErrorLaunchFailure);
  CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorLaunchFailure");
}

TEST_CASE_TEMPLATE("cuBLAS: a batch, bitwise as its matrices one by one", T, float, double) {
  const int m = 5, n = 7, k = 3, batch = 4;
  const auto fill = [](int size, int seed) {
    std::vector<T> v(static_cast<std::size_t>(size));
    for (int i = 0; i < size; ++i) v[i] = T((i * 37 + seed) % 23) / T(7) - T(1);
    return v;
  };
  const std::vector<T> a = fill(m * k, 1), b = fill(k * n * batch, 2);
  std::vector<T> together(m * n * batch), alone = together;
  T *da = nullptr, *db = nullptr, *dc = nullptr;
  cudaMalloc(&da, a.size() * sizeof(T)), cudaMalloc(&db, b.size() * sizeof(T));
  cudaMalloc(&dc, together.size() * sizeof(T));
  copy(da, a.data(), a.size() * sizeof(T), cudaMemcpyHostToDevice);
  copy(db, b.data(), b.size() * sizeof(T), cudaMemcpyHostToDevice);
  cublasHandle_t handle{};
  REQUIRE(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  const cudaStream_t stream = new_stream();
  cublasSetStream(handle, stream);
  const T one = 1, zero = 0;
  constexpr bool kFloat = std::is_same_v<T, float>;
  const auto batched = [&](int count, const T* from, T* to) {
    if constexpr (kFloat)
      return cublasSgemmStridedBatched(handle, CUBLAS_OP_T, CUBLAS_OP_N, m, n, k, &one, da, k, 0,
                                       from, k, k * n, &zero, to, m, m * n, count);
    else
      return cublasDgemmStridedBatched(handle, CUBLAS_OP_T, CUBLAS_OP_N, m, n, k, &one, da, k, 0,
                                       from, k, k * n, &zero, to, m, m * n, count);
  };
  CHECK(batched(batch, db, dc) == CUBLAS_STATUS_SUCCESS);
  cudaMemcpyAsync(together.data(), dc, together.size() * sizeof(T), cudaMemcpyDeviceToHost, stream);
  for (int i = 0; i < batch; ++i) batched(1, db + i * k * n, dc + i * m * n);
  cudaMemcpyAsync(alone.data(), dc, alone.size() * sizeof(T), cudaMemcpyDeviceToHost, stream);
  CHECK(together == alone);
  T want = 0;  // element (1, 2) of the last: row 1 of A transposed, column 2 of B
  for (int i = 0; i < k; ++i) want += a[1 * k + i] * b[(batch - 1) * k * n + 2 * k + i];
  CHECK(together[(batch - 1) * m * n + 2 * m + 1] == doctest::Approx(want).epsilon(1e-6));
  CHECK_THROWS_AS(batched(batch, db, dc + 1), Finding);
  cublasDestroy(handle), cudaStreamDestroy(stream);
  cudaFree(da), cudaFree(db), cudaFree(dc);
}
