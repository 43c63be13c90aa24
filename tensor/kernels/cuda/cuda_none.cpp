// A build without the CUDA Toolkit.
#include <concord/tensor/kernels/cuda/cuda.h>

namespace concord::cuda {
namespace {

[[noreturn]] void unavailable(int device) {
  throw DeviceError("device: cuda:" + std::to_string(device) + " is not there: " + why_none());
}

}  // namespace

int device_count() { return 0; }
std::string why_none() {
  return "this build has no CUDA kernels (./concord --cuda builds them; needs the CUDA Toolkit)";
}
std::string describe(int device) { unavailable(device); }

std::byte* allocate(int device, std::size_t) { unavailable(device); }
void release(int device, std::byte*) { unavailable(device); }
std::byte* allocate_pinned(std::size_t) { unavailable(0); }
void release_pinned(std::byte*) { unavailable(0); }

void upload(int device, void*, const void*, std::size_t) { unavailable(device); }
void upload_beside(int device, void*, const void*, std::size_t) { unavailable(device); }
void await_uploads(int device) { unavailable(device); }
void download(int device, void*, const void*, std::size_t) { unavailable(device); }
void download_later(int device, void*, const void*, std::size_t) { unavailable(device); }
void copy(int device, void*, int, const void*, std::size_t) { unavailable(device); }
void set_bytes(int device, void*, int, std::size_t) { unavailable(device); }
void fill(int device, DType, index_t, double, void*) { unavailable(device); }
void convert(int device, index_t, DType, const void*, DType, void*) { unavailable(device); }
void random(int device, DType, index_t, const Rng&, Distribution, double, double, void*) {
  unavailable(device);
}
void synchronize(int device) { unavailable(device); }
Traffic traffic(int device) { unavailable(device); }

struct Graph::Instance {};
Graph::Graph(int device) : device_(device) { unavailable(device); }
Graph::~Graph() = default;
void Graph::begin() {}
void Graph::launch() {}
void Graph::cancel() noexcept {}

template <class T>
const kernels::Kernels<T>& table(int device) {
  unavailable(device);
}
template const kernels::Kernels<float>& table<float>(int);
template const kernels::Kernels<double>& table<double>(int);

}  // namespace concord::cuda
