// Devices, streams, memory, transfers and errors. Kernels stand in the other files. Texts are put
// together by hand: fmt 9 checks its formats in a way that nvcc does not take.
#include <concord/tensor/kernels/cuda/launch.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace concord::cuda {
namespace {

using kernels::cuda::check;

/// What a CUDA call answered, as the user reads it.
std::string text(cudaError_t error) {
  return std::string(cudaGetErrorName(error)) + ", " + cudaGetErrorString(error);
}

struct Machine {
  int devices = 0;
  std::string why_none;
};

const Machine& machine() {
  static const Machine found = [] {
    Machine m;
    const cudaError_t error = cudaGetDeviceCount(&m.devices);
    if (error != cudaSuccess) {
      m.devices = 0;
      m.why_none = "no NVIDIA driver or no device answers (" + text(error) + ")";
      cudaGetLastError();  // an error of looking must not meet the first launch
    } else if (m.devices == 0) {
      m.why_none = "the NVIDIA driver knows no device";
    }
    return m;
  }();
  return found;
}

/// Page-locked memory through which pageable values go up: the copy into it is the host's, the way
/// to the device goes on while the host does other things. Four pieces take turns.
class Staging {
 public:
  void upload(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
    const auto* source = static_cast<const std::byte*>(from);
    auto* target = static_cast<std::byte*>(to);
    for (std::size_t done = 0; done < bytes; done += kPiece) {
      const std::size_t size = std::min(kPiece, bytes - done);
      Piece& piece = pieces_[next_++ % pieces_.size()];
      if (piece.memory) {
        check(cudaEventSynchronize(piece.passed), "cuda: waiting for an upload");
      } else {
        piece.memory = allocate_pinned(kPiece);
        check(cudaEventCreateWithFlags(&piece.passed, cudaEventDisableTiming), "cuda: event");
      }
      std::memcpy(piece.memory, source + done, size);
      check(cudaMemcpyAsync(target + done, piece.memory, size, cudaMemcpyHostToDevice, stream),
            "cuda: upload");
      check(cudaEventRecord(piece.passed, stream), "cuda: event");
    }
  }

 private:
  static constexpr std::size_t kPiece = std::size_t{4} << 20;
  struct Piece {
    std::byte* memory = nullptr;
    cudaEvent_t passed{};
  };
  std::array<Piece, 4> pieces_;
  std::size_t next_ = 0;
};

/// A device's stream and what belongs to it. Made at first use and never destroyed: tensors of
/// static storage may outlive main.
struct State {
  cudaStream_t stream{}, beside{};  // for the computation; for uploads beside it
  cublasHandle_t blas{};
  std::mutex uploads;
  Staging staging, staging_beside;
  std::atomic<std::uint64_t> launches{0}, ups{0}, downs{0}, bytes_up{0}, bytes_down{0}, waits{0};
};

thread_local int running = -1;  // the device of the table this thread asked for last

void select(int device) {
  if (device < 0 || device >= machine().devices) {
    throw DeviceError("device: " + name({DeviceType::cuda, device}) + " is not there" +
                      (machine().devices == 0
                           ? ": " + machine().why_none
                           : ", the last one is cuda:" + std::to_string(machine().devices - 1)));
  }
  if (running == device) return;
  check(cudaSetDevice(device), "cuda: choosing a device");
  running = device;
}

State& state(int device) {
  static std::mutex mutex;
  static auto& states = *new std::vector<State*>(static_cast<std::size_t>(machine().devices));
  select(device);
  std::lock_guard lock(mutex);
  State*& s = states[static_cast<std::size_t>(device)];
  if (!s) {
    auto fresh = std::make_unique<State>();
    check(cudaStreamCreateWithFlags(&fresh->stream, cudaStreamNonBlocking), "cuda: stream");
    check(cudaStreamCreateWithFlags(&fresh->beside, cudaStreamNonBlocking), "cuda: stream");
    check(cublasCreate(&fresh->blas), "cublas: handle");
    check(cublasSetStream(fresh->blas, fresh->stream), "cublas: stream");
    // TF32 keeps 10 bits of a float: fine for some trainings, never without being asked for.
    const char* tf32 = std::getenv("CONCORD_CUDA_TF32");
    const bool allowed = tf32 && std::string_view(tf32) == "1";
    check(
        cublasSetMathMode(fresh->blas, allowed ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_PEDANTIC_MATH),
        "cublas: mode");
    s = fresh.release();
  }
  return *s;
}

void wait(State& s) {
  check(cudaStreamSynchronize(s.stream), "cuda: waiting for the device");
  ++s.waits;
}

/// Work queued on `later` from now on comes after what is queued on `earlier`, a stream of the
/// given device, so far.
void order(int device, cudaStream_t earlier, cudaStream_t later) {
  cudaEvent_t event{};
  select(device);
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cuda: event");
  check(cudaEventRecord(event, earlier), "cuda: event");
  check(cudaStreamWaitEvent(later, event, 0), "cuda: event");
  check(cudaEventDestroy(event), "cuda: event");  // freed by CUDA once it has passed
}

/// CONCORD_CUDA_SYNC=1: every kernel is waited for.
bool waits_for_kernels() {
  static const bool waits = [] {
    const char* set = std::getenv("CONCORD_CUDA_SYNC");
    return set && std::string_view(set) == "1";
  }();
  return waits;
}

}  // namespace

int device_count() { return machine().devices; }
std::string why_none() { return machine().why_none; }

std::string describe(int device) {
  select(device);
  cudaDeviceProp p{};
  check(cudaGetDeviceProperties(&p, device), "cuda: properties");
  const auto number = [](std::size_t n) { return std::to_string(n); };
  return std::string(p.name) + ", compute capability " + number(p.major) + "." + number(p.minor) +
         ", " + number(p.multiProcessorCount) + " multiprocessors, " +
         number(p.totalGlobalMem >> 30) + " GiB";
}

std::byte* allocate(int device, std::size_t bytes) {
  select(device);
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "cuda: allocation");
  return static_cast<std::byte*>(memory);
}

void release(int device, std::byte* memory) {
  select(device);
  check(cudaFree(memory), "cuda: release");
}

std::byte* allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, bytes), "cuda: page-locked memory");
  return static_cast<std::byte*>(memory);
}

void release_pinned(std::byte* memory) { check(cudaFreeHost(memory), "cuda: page-locked memory"); }

void upload(int device, void* to, const void* from, std::size_t bytes) {
  State& s = state(device);
  std::lock_guard lock(s.uploads);
  s.staging.upload(to, from, bytes, s.stream);
  ++s.ups;
  s.bytes_up += bytes;
}

void upload_beside(int device, void* to, const void* from, std::size_t bytes) {
  State& s = state(device);
  std::lock_guard lock(s.uploads);
  order(device, s.stream, s.beside);
  s.staging_beside.upload(to, from, bytes, s.beside);
  ++s.ups;
  s.bytes_up += bytes;
}

void await_uploads(int device) {
  const State& s = state(device);
  order(device, s.beside, s.stream);
}

void download_later(int device, void* to_pinned, const void* from, std::size_t bytes) {
  State& s = state(device);
  check(cudaMemcpyAsync(to_pinned, from, bytes, cudaMemcpyDeviceToHost, s.stream),
        "cuda: download");
  ++s.downs;
  s.bytes_down += bytes;
}

void download(int device, void* to, const void* from, std::size_t bytes) {
  download_later(device, to, from, bytes);
  wait(state(device));
}

void copy(int to_device, void* to, int from_device, const void* from, std::size_t bytes) {
  if (to_device == from_device) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, state(to_device).stream),
          "cuda: copy");
    return;
  }
  const cudaStream_t source = state(from_device).stream, target = state(to_device).stream;
  order(from_device, source, target);
  check(cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, target),
        "cuda: copy between devices");
  order(to_device, target, source);  // `from` may be handed out again only when it has been read
}

void set_bytes(int device, void* to, int value, std::size_t bytes) {
  check(cudaMemsetAsync(to, value, bytes, state(device).stream), "cuda: set bytes");
}

void synchronize(int device) { wait(state(device)); }

Traffic traffic(int device) {
  const State& s = state(device);
  return {s.launches, s.ups, s.downs, s.bytes_up, s.bytes_down, s.waits};
}

// --- Graphs --------------------------------------------------------------------------------------

struct Graph::Instance {
  cudaGraphExec_t exec{};
};

Graph::Graph(int device) : device_(device), instance_(std::make_unique<Instance>()) {}

Graph::~Graph() {
  if (instance_->exec) cudaGraphExecDestroy(instance_->exec);
}

void Graph::begin() {
  if (waits_for_kernels()) return;
  // Relaxed: the allocator may have to ask for memory while a step is recorded.
  check(cudaStreamBeginCapture(state(device_).stream, cudaStreamCaptureModeRelaxed),
        "cuda: recording a graph");
}

void Graph::cancel() noexcept {
  cudaGraph_t graph{};
  if (waits_for_kernels()) return;
  cudaStreamEndCapture(state(device_).stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();  // what led here is reported by the one who cancels
}

void Graph::launch() {
  if (waits_for_kernels()) return;
  State& s = state(device_);
  cudaGraph_t graph{};
  check(cudaStreamEndCapture(s.stream, &graph), "cuda: recording a graph");
  if (instance_->exec) {
    cudaGraphExecUpdateResultInfo info{};
    if (cudaGraphExecUpdate(instance_->exec, graph, &info) != cudaSuccess) {
      cudaGetLastError();  // other kernels than last time: no error, a new instance
      check(cudaGraphExecDestroy(std::exchange(instance_->exec, {})), "cuda: graph");
    }
  }
  if (!instance_->exec) {
    check(cudaGraphInstantiate(&instance_->exec, graph, 0), "cuda: graph");
    ++instances_;
  }
  check(cudaGraphDestroy(graph), "cuda: graph");
  check(cudaGraphLaunch(instance_->exec, s.stream), "cuda: graph");
}

}  // namespace concord::cuda

namespace concord::kernels::cuda {

namespace door = concord::cuda;

void run_on(int device) { door::select(device); }
cudaStream_t stream() { return door::state(door::running).stream; }
cublasHandle_t blas() { return door::state(door::running).blas; }

Scratch::Scratch(std::size_t bytes)
    : storage_(Allocator::of({DeviceType::cuda, door::running}).allocate(bytes)) {}

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw DeviceError(std::string(what) + ": " + door::text(error));
}

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(std::string(what) + ": " + cublasGetStatusName(status));
}

void launched(const char* kernel, dim3 grid, dim3 block, std::size_t shared_bytes,
              cudaError_t error) {
  if (error == cudaSuccess && door::waits_for_kernels()) error = cudaStreamSynchronize(stream());
  if (error != cudaSuccess) {
    const auto size = [](dim3 d) {
      return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
    };
    throw DeviceError("cuda: kernel " + std::string(kernel) + ", " + size(grid) + " blocks of " +
                      size(block) + " threads, " + std::to_string(shared_bytes) +
                      " bytes shared: " + door::text(error));
  }
  ++door::state(door::running).launches;
}

}  // namespace concord::kernels::cuda
