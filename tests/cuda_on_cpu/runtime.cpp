// The host's side of CUDA: devices and their memory, streams, events, graphs, launches.
//
// A stream is a queue that nobody works on until somebody waits for it: the laziest device that
// CUDA's rules allow. Whoever forgets to wait, for an event or for a copy, reads old values always
// and not once in a while.
#include <concord/tests/cuda_on_cpu/block.h>
#include <concord/tests/cuda_on_cpu/runtime.h>
#include <concord/tests/cuda_on_cpu/sanitizers.h>
#include <sys/mman.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace cuda_on_cpu {
namespace {

struct Operation {
  const void* key;  // the kernel, or what else it is: tells whether a graph may be updated
  std::function<void()> work;
};
using Operations = std::vector<Operation>;

}  // namespace
}  // namespace cuda_on_cpu

using cuda_on_cpu::Operations;

struct CUstream_st {
  int device = 0;
  bool destroyed = false;
  std::deque<cuda_on_cpu::Operation> queue;
  std::uint64_t queued = 0, done = 0;  // operations since its creation
  CUgraph_st* capture = nullptr;       // takes the operations instead, while one is recorded
};
/// The moment when `stream` has done its first `ticket` operations.
struct CUevent_st {
  cudaStream_t stream = nullptr;
  std::uint64_t ticket = 0;
  CUgraph_st* capture = nullptr;
};
struct CUgraph_st {
  Operations operations;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
};
struct CUgraphExec_st {
  Operations operations;
};

namespace cuda_on_cpu {
namespace {

void watch_faults();

// --- Device memory -------------------------------------------------------------------------------

/// A device's memory: one range of addresses that no access is allowed to, except while the
/// device works. Host code that follows a device pointer ends with a message.
class Memory {
 public:
  static constexpr std::size_t kRange = std::size_t{32} << 30, kPage = 4096;
  /// Between allocations; the address sanitiser reports accesses to it.
  static constexpr std::size_t kGap = 256;

  /// Null when `limit` bytes do not suffice.
  std::byte* allocate(std::size_t bytes, std::size_t limit) {
    if (used_ + bytes > limit) return nullptr;
    if (!base_) reserve();
    std::size_t at = kGap;
    for (const auto& [offset, size] : live_) {
      if (at + bytes + kGap <= offset) break;
      at = (offset + size + kGap + kGap - 1) / kGap * kGap;
    }
    if (at + bytes + kGap > kRange) return nullptr;
    live_[at] = bytes;
    used_ += bytes;
    if (const std::size_t end = (at + bytes + kGap + kPage - 1) / kPage * kPage; end > end_) {
      forbid(base_ + end_, end - end_);
      end_ = end;
    }
    allow(base_ + at, bytes);
    open();
    std::fill_n(base_ + at, bytes, std::byte{0xff});  // NaN: reading what was never written shows
    close();
    return base_ + at;
  }
  bool release(void* p) {
    const auto found = live_.find(static_cast<std::size_t>(static_cast<std::byte*>(p) - base_));
    if (found == live_.end()) return false;
    forbid(p, found->second);
    used_ -= found->second;
    live_.erase(found);
    return true;
  }
  void open() {
    if (depth_++ == 0 && base_) mprotect(base_, end_, PROT_READ | PROT_WRITE);
  }
  void close() {
    if (--depth_ > 0 || !base_) return;
    mprotect(base_, end_, PROT_NONE);
    watch_faults();
  }
  bool contains(const void* p) const { return base_ && p >= base_ && p < base_ + kRange; }
  /// Bytes that remain behind p in its allocation; -1 if it is in none.
  std::ptrdiff_t room(const void* p) const {
    const auto at = static_cast<std::size_t>(static_cast<const std::byte*>(p) - base_);
    auto next = live_.upper_bound(at);
    if (next == live_.begin()) return -1;
    --next;
    return next->first + next->second >= at
               ? static_cast<std::ptrdiff_t>(next->first + next->second - at)
               : -1;
  }

 private:
  void reserve() {
    void* range =
        mmap(nullptr, kRange, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(range);
  }

  std::byte* base_ = nullptr;
  std::size_t end_ = 0, used_ = 0;
  int depth_ = 0;
  std::map<std::size_t, std::size_t> live_;  // offset -> bytes
};

constexpr int kMaxDevices = 4;

std::size_t environment(const char* name, std::size_t otherwise) {
  const char* set = std::getenv(name);
  return set ? std::stoull(set) : otherwise;
}

struct Machine {
  std::recursive_mutex mutex;
  int devices = static_cast<int>(environment("CUDA_ON_CPU_DEVICES", 1));
  std::size_t limit = environment("CUDA_ON_CPU_MEMORY", std::size_t{8} << 30);
  std::array<Memory, kMaxDevices> memory;
  std::map<const std::byte*, std::size_t> pinned;
  std::vector<std::unique_ptr<CUstream_st>> streams;  // kept when destroyed: events name them
  std::map<std::string, cudaError_t> failures;
};

Machine& machine() {
  static Machine& m = *new Machine;  // never destroyed: static tensors may outlive main
  return m;
}

thread_local int chosen_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

struct sigaction previous_handler;

/// Says what happened, then lets it happen again under the handler there was before.
void on_fault(int, siginfo_t* info, void*) {
  const Machine& m = machine();
  for (int d = 0; d < kMaxDevices; ++d) {
    if (!m.memory[d].contains(info->si_addr)) continue;
    char message[160];
    const int length =
        std::snprintf(message, sizeof message,
                      "cuda_on_cpu: host code touched memory of cuda:%d at %p\n", d, info->si_addr);
    if (write(STDERR_FILENO, message, static_cast<std::size_t>(length)) < 0) break;
  }
  sigaction(SIGSEGV, &previous_handler, nullptr);
}

/// Again and again: a test framework sets handlers of its own.
void watch_faults() {
  struct sigaction handler {
  }, before{};
  handler.sa_sigaction = on_fault;
  handler.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &handler, &before);
  if (!(before.sa_flags & SA_SIGINFO) || before.sa_sigaction != on_fault) previous_handler = before;
}

/// Every call of the runtime: one at a time, and those that a test wants to fail do.
template <class F>
cudaError_t call(const char* name, F&& f) {
  Machine& m = machine();
  std::lock_guard lock(m.mutex);
  cudaError_t error = cudaSuccess;
  if (const auto wanted = m.failures.find(name); wanted != m.failures.end()) {
    error = wanted->second;
    m.failures.erase(wanted);
  } else {
    error = m.devices == 0 ? cudaErrorNoDevice : f(m);
  }
  if (error != cudaSuccess) last_error = error;
  return error;
}

/// The device whose memory p points into, or -1.
int device_of(const void* p) {
  for (int d = 0; d < kMaxDevices; ++d)
    if (machine().memory[d].contains(p)) return d;
  return -1;
}

bool pinned(const void* p) {
  const auto& ranges = machine().pinned;
  auto next = ranges.upper_bound(static_cast<const std::byte*>(p));
  if (next == ranges.begin()) return false;
  --next;
  return p < next->first + next->second;
}

// --- Streams -------------------------------------------------------------------------------------

/// Device memory is accessible while one of these lives.
class Working {
 public:
  explicit Working(int device) : memory_(machine().memory[device]) { memory_.open(); }
  ~Working() { memory_.close(); }
  Working(const Working&) = delete;
  Working& operator=(const Working&) = delete;

 private:
  Memory& memory_;
};

void run_until(CUstream_st& s, std::uint64_t ticket) {
  if (s.done >= ticket) return;
  const Working working(s.device);
  while (s.done < ticket) {
    const Operation next = std::move(s.queue.front());
    s.queue.pop_front();
    ++s.done;  // also when it throws: it is not tried again
    next.work();
  }
}

void run_all() {
  for (const auto& s : machine().streams) run_until(*s, s->queued);
}

bool usable(cudaStream_t s) { return s && !s->destroyed; }

const char kCopy = 0, kSet = 0, kWait = 0;  // keys of operations

cudaError_t copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                 cudaStream_t stream) {
  const bool to_device = device_of(to) >= 0, from_device = device_of(from) >= 0;
  if (bytes == 0) return cudaSuccess;
  const bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (wants_to != to_device || wants_from != from_device)
    throw Finding("copy: from " + std::string(from_device ? "device" : "host") + " to " +
                  (to_device ? "device" : "host") + " memory, the call says otherwise");
  if (to_device) check_device_memory(to, bytes, "copy, target");
  if (from_device) check_device_memory(from, bytes, "copy, source");
  if (!usable(stream)) return cudaErrorInvalidResourceHandle;
  const bool records = stream->capture;

  // The driver copies pageable memory away at the call; it reads page-locked memory when the
  // stream gets there, and so what the host has written to it meanwhile.
  std::shared_ptr<std::byte[]> staged;
  if (to_device && !from_device && !pinned(from) && !records) {
    staged.reset(new std::byte[bytes]);
    std::memcpy(staged.get(), from, bytes);
  }
  const cudaError_t error = enqueue(stream, &kCopy, [=] {
    const Working source(std::max(device_of(from), 0)), target(std::max(device_of(to), 0));
    std::memmove(to, staged ? staged.get() : from, bytes);
  });
  // Into pageable memory a copy waits.
  if (!to_device && !pinned(to) && !records) run_until(*stream, stream->queued);
  return error;
}

bool capturing(bool but_relaxed) {
  const auto& streams = machine().streams;
  return std::any_of(streams.begin(), streams.end(), [&](const auto& s) {
    return s->capture && !(but_relaxed && s->capture->mode == cudaStreamCaptureModeRelaxed);
  });
}

}  // namespace

cudaError_t enqueue(cudaStream_t stream, const void* key, std::function<void()> work) {
  if (!usable(stream)) return cudaErrorInvalidResourceHandle;
  if (stream->capture) {
    stream->capture->operations.push_back({key, std::move(work)});
  } else {
    stream->queue.push_back({key, std::move(work)});
    ++stream->queued;
  }
  return cudaSuccess;
}

void check_device_memory(const void* p, std::size_t bytes, const char* what) {
  const int device = device_of(p);
  if (device < 0) throw Finding(std::string(what) + " is host memory");
  const std::ptrdiff_t room = machine().memory[device].room(p);
  if (room < static_cast<std::ptrdiff_t>(bytes))
    throw Finding(std::string(what) + ": " + std::to_string(bytes) + " bytes, but the allocation " +
                  (room < 0 ? "is not there" : "has " + std::to_string(room) + " more"));
}

void set_device_count(int count) { machine().devices = std::min(count, kMaxDevices); }
void set_memory(std::size_t bytes) { machine().limit = bytes; }
void fail_next(const std::string& name, cudaError_t error) { machine().failures[name] = error; }

std::size_t pending() {
  std::size_t sum = 0;
  for (const auto& s : machine().streams) sum += s->queue.size();
  return sum;
}

// --- Launches ------------------------------------------------------------------------------------

namespace {

std::string name_of(const cudaLaunchConfig_t& config) {
  return config.cuda_on_cpu_name ? config.cuda_on_cpu_name : "(no name)";
}

// Limits of compute capability 9.0 (CUDA C++ Programming Guide, table of technical specifications).
constexpr std::size_t kMostShared = 48 << 10;  // more must be asked for
constexpr unsigned kMostThreads = 1024, kMostThreadsZ = 64, kMostGridYZ = 65535;

}  // namespace

void check_argument(const cudaLaunchConfig_t& config, const void* pointer, int position) {
  std::lock_guard lock(machine().mutex);
  if (pointer && device_of(pointer) < 0 && !pinned(pointer))
    throw Finding("kernel " + name_of(config) + ": argument " + std::to_string(position) +
                  " points to host memory");
}

cudaError_t enqueue(const cudaLaunchConfig_t& c, Function kernel, std::function<void()> thread) {
  return call("cudaLaunchKernelEx", [&](Machine&) {
    const std::size_t threads = std::size_t{c.blockDim.x} * c.blockDim.y * c.blockDim.z;
    const std::size_t blocks = std::size_t{c.gridDim.x} * c.gridDim.y * c.gridDim.z;
    if (threads == 0 || threads > kMostThreads || c.blockDim.z > kMostThreadsZ || blocks == 0 ||
        c.gridDim.x > 0x7fffffffu || c.gridDim.y > kMostGridYZ || c.gridDim.z > kMostGridYZ)
      return cudaErrorInvalidConfiguration;
    if (c.dynamicSmemBytes > kMostShared) return cudaErrorInvalidValue;
    Grid grid{c.gridDim, c.blockDim, c.dynamicSmemBytes, name_of(c), std::move(thread)};
    return enqueue(c.stream, reinterpret_cast<const void*>(kernel),
                   [grid = std::move(grid)] { run(grid); });
  });
}

}  // namespace cuda_on_cpu

// ===== The functions of the CUDA runtime =========================================================
using namespace cuda_on_cpu;

namespace {

struct Error {
  cudaError_t code;
  const char *name, *text;
};
constexpr Error kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorGraphExecUpdateFailure, "cudaErrorGraphExecUpdateFailure",
     "the graph update was not performed because it included changes which violated constraints "
     "specific to instantiated graph update"},
};

const Error& find(cudaError_t code) {
  static constexpr Error kUnknown{cudaErrorInvalidValue, "unrecognized error code",
                                  "unrecognized error code"};
  for (const Error& e : kErrors)
    if (e.code == code) return e;
  return kUnknown;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t e) { return find(e).name; }
const char* cudaGetErrorString(cudaError_t e) { return find(e).text; }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = machine().devices;
  return call(__func__, [](Machine&) { return cudaSuccess; });
}
cudaError_t cudaSetDevice(int device) {
  return call(__func__, [&](Machine& m) {
    if (device < 0 || device >= m.devices) return cudaErrorInvalidDevice;
    chosen_device = device;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  return call(__func__, [&](Machine& m) {
    if (device < 0 || device >= m.devices) return cudaErrorInvalidDevice;
    *p = {};
    std::strcpy(p->name, "CUDA on CPU");
    p->totalGlobalMem = m.limit;
    p->major = 9;
    p->multiProcessorCount = 4;
    return cudaSuccess;
  });
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return call(__func__, [&](Machine& m) {
    *memory = nullptr;
    if (capturing(true)) return cudaErrorStreamCaptureUnsupported;
    if (bytes == 0) return cudaSuccess;
    *memory = m.memory[chosen_device].allocate(bytes, m.limit);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}
/// Waits for all devices: queued work may still use the memory.
cudaError_t cudaFree(void* memory) {
  return call(__func__, [&](Machine& m) {
    if (!memory) return cudaSuccess;
    const int device = device_of(memory);
    if (device < 0) return cudaErrorInvalidValue;
    run_all();
    return m.memory[device].release(memory) ? cudaSuccess : cudaErrorInvalidValue;
  });
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return call(__func__, [&](Machine& m) {
    auto* p = new std::byte[bytes];
    m.pinned[p] = bytes;
    *memory = p;
    return cudaSuccess;
  });
}
cudaError_t cudaFreeHost(void* memory) {
  return call(__func__, [&](Machine& m) {
    run_all();
    auto* p = static_cast<std::byte*>(memory);
    if (p && m.pinned.erase(p) == 0) return cudaErrorInvalidValue;
    delete[] p;
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call(__func__, [&](Machine&) { return copy(to, from, bytes, kind, stream); });
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device,
                                std::size_t bytes, cudaStream_t stream) {
  return call(__func__, [&](Machine&) {
    if (device_of(to) != to_device || device_of(from) != from_device) return cudaErrorInvalidValue;
    return copy(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
  });
}
cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t stream) {
  return call(__func__, [&](Machine&) {
    if (bytes == 0) return cudaSuccess;
    check_device_memory(to, bytes, "cudaMemsetAsync, target");
    return enqueue(stream, &kSet, [=] { std::memset(to, byte, bytes); });
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call(__func__, [&](Machine& m) {
    if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    m.streams.push_back(std::make_unique<CUstream_st>());
    *stream = m.streams.back().get();
    (*stream)->device = chosen_device;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call(__func__, [&](Machine&) {
    if (!usable(stream)) return cudaErrorInvalidResourceHandle;
    run_until(*stream, stream->queued);
    stream->destroyed = true;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call(__func__, [&](Machine&) {
    if (!usable(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return cudaErrorStreamCaptureUnsupported;
    run_until(*stream, stream->queued);
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return call(__func__, [&](Machine&) {
    *event = new CUevent_st;
    return cudaSuccess;
  });
}
/// At once: what waits for it has noted the stream and the ticket.
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call(__func__, [&](Machine&) {
    delete event;
    return cudaSuccess;
  });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call(__func__, [&](Machine&) {
    if (!usable(stream)) return cudaErrorInvalidResourceHandle;
    event->stream = stream;
    event->ticket = stream->queued;
    event->capture = stream->capture;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return call(__func__, [&](Machine&) {
    if (event->capture) {
      // A stream that waits for an event of a recording becomes part of it. Operations are kept in
      // the order of the calls, which respects all their dependences.
      stream->capture = event->capture;
      return cudaSuccess;
    }
    if (!event->stream) return cudaSuccess;
    return enqueue(stream, &kWait,
                   [from = event->stream, ticket = event->ticket] { run_until(*from, ticket); });
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call(__func__, [&](Machine&) {
    if (event->capture) return cudaErrorStreamCaptureUnsupported;
    if (event->stream) run_until(*event->stream, event->ticket);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call(__func__, [&](Machine&) {
    if (!usable(stream) || stream->capture) return cudaErrorStreamCaptureUnsupported;
    stream->capture = new CUgraph_st;
    stream->capture->mode = mode;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return call(__func__, [&](Machine& m) {
    *graph = stream->capture;
    if (!*graph) return cudaErrorIllegalState;
    for (const auto& s : m.streams)
      if (s->capture == *graph) s->capture = nullptr;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return call(__func__, [&](Machine&) {
    *exec = new CUgraphExec_st{graph->operations};
    return cudaSuccess;
  });
}
/// The same operations in the same order may get other arguments, grids and blocks.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info) {
  return call(__func__, [&](Machine&) {
    const Operations &now = exec->operations, &then = graph->operations;
    const bool same = std::equal(now.begin(), now.end(), then.begin(), then.end(),
                                 [](const auto& a, const auto& b) { return a.key == b.key; });
    info->result = same ? 0 : 1;
    if (!same) return cudaErrorGraphExecUpdateFailure;
    exec->operations = graph->operations;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return call(__func__, [&](Machine&) {
    cudaError_t error = cudaSuccess;
    for (const Operation& o : exec->operations)
      if (error == cudaSuccess) error = enqueue(stream, o.key, o.work);
    return error;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call(__func__, [&](Machine&) {
    delete graph;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return call(__func__, [&](Machine&) {
    delete exec;
    return cudaSuccess;
  });
}
