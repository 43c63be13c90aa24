// The door to the CUDA part: plain C++, no CUDA header, so that the rest of concord is compiled the
// same with and without it. Exactly one of three things stands behind it in a program: the files
// of this folder compiled by nvcc, the same files compiled for the CPU (tests/cuda_on_cpu), or
// cuda_none.cpp in a build without the toolkit.
//
// Work is queued on one stream per device, in the order of the calls; only `download` and
// `synchronize` wait. Errors of CUDA become DeviceError with the error's name.
#pragma once

#include <concord/tensor/kernels/kernels.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace concord::cuda {

/// Usable devices; 0 without a driver or in a build without the toolkit. Never throws.
int device_count();
/// Why there are none, one sentence for the user; empty when there are some.
std::string why_none();
/// "NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors, 79 GiB".
std::string describe(int device);

/// Device memory, 256-byte aligned; null when there is not enough. Allocator (storage.h) caches on
/// top of it. Releasing waits for the device.
std::byte* allocate(int device, std::size_t bytes);
void release(int device, std::byte* memory);
/// Page-locked host memory, which transfers need to overlap with computation.
std::byte* allocate_pinned(std::size_t bytes);
void release_pinned(std::byte* memory);

/// Host to device. The source may be changed as soon as the call returns.
void upload(int device, void* to, const void* from, std::size_t bytes);
/// Host to device beside the computation, on a second stream: the upload begins when all that is
/// queued so far is done (earlier readers of `to`), and what is queued after await_uploads() comes
/// after it. The source may be changed as soon as the call returns.
void upload_beside(int device, void* to, const void* from, std::size_t bytes);
void await_uploads(int device);
/// Device to host; waits for the values.
void download(int device, void* to, const void* from, std::size_t bytes);
/// The same into page-locked memory, without waiting: valid after synchronize().
void download_later(int device, void* to_pinned, const void* from, std::size_t bytes);
/// Device to device, the same one or a peer.
void copy(int to_device, void* to, int from_device, const void* from, std::size_t bytes);
void set_bytes(int device, void* to, int value, std::size_t bytes);
/// n elements of any type, and from one type to another as Tensor::to does.
void fill(int device, DType type, index_t n, double value, void* to);
void convert(int device, index_t n, DType from_type, const void* from, DType to_type, void* to);
/// Rng::fill_uniform (a = low, b = high) and Rng::fill_normal (a = mean, b = deviation) of n f32 or
/// f64 elements: the bits of the CPU; normal numbers up to the last bits of log and cos. Throws
/// DTypeError for other types.
enum class Distribution { uniform, normal };
void random(int device, DType type, index_t n, const Rng& rng, Distribution, double a, double b,
            void* to);
/// Waits until everything queued so far is done.
void synchronize(int device);

/// Counts since the start of the process, for tests and benchmarks.
struct Traffic {
  std::uint64_t launches = 0;
  std::uint64_t uploads = 0, downloads = 0;  ///< transfers between host and device
  std::uint64_t bytes_up = 0, bytes_down = 0;
  std::uint64_t waits = 0;  ///< times the host waited for the device
};
Traffic traffic(int device);

/// Submits a part of a step as one CUDA graph, so that the device starts each kernel without the
/// host. Everything queued between begin() and launch() belongs to it, or is dropped by cancel();
/// in between, nothing may wait or be uploaded. Arguments may change from time to time (the
/// instance is updated in place), other kernels or sizes make a new instance. Under
/// CONCORD_CUDA_SYNC=1, which waits for every kernel, work is queued at once and there is no graph.
class Graph {
 public:
  explicit Graph(int device);
  ~Graph();
  void begin();
  void launch();
  void cancel() noexcept;
  /// How often an instance had to be made.
  int instances() const { return instances_; }

 private:
  struct Instance;
  int device_;
  int instances_ = 0;
  std::unique_ptr<Instance> instance_;
};

/// The kernels; calling one of them queues it on `device`.
template <class T>
const kernels::Kernels<T>& table(int device);

}  // namespace concord::cuda
