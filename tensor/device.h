// The devices of this machine: which there are, and waiting for them.
//
// Kernels of a CUDA device are queued in the order of the calls and run while the host goes on.
// Reading values on the host waits by itself (Tensor::item, at, to, copy_from); only
// Tensor::download() and timings need synchronize().
#pragma once

#include <concord/tensor/tensor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace concord {

/// The CPU, and every CUDA device that can be used.
std::vector<Device> devices();
/// One line: "cuda:0  NVIDIA H100 80GB HBM3, compute capability 9.0, ...".
std::string describe(Device device);
/// Why devices() has no CUDA device, one sentence; empty when it has one.
std::string why_no_cuda();

/// "cpu", "cuda" (the first one), "cuda:1". Throws ValueError for any other text, DeviceError with
/// the reason when the device is not there.
Device device_from(std::string_view text);

/// Waits until everything queued on the device is done; returns at once for the CPU.
void synchronize(Device device);

/// A copy of a tensor of the CPU on a device, on its way beside what is queued there: to be used by
/// what is queued after await_uploads(). On the CPU the tensor itself.
Tensor upload_beside(const Tensor& host, Device device);
void await_uploads(Device device);

/// A part of a training step that is queued in every step: on a device, after a few rounds in which
/// memory and libraries settle, as one CUDA graph, recorded anew each time and updated in place. In
/// a part nothing may wait for the device or be uploaded.
class StepPart {
 public:
  StepPart();
  ~StepPart();
  /// Calls work(); on the CPU nothing else happens. What it throws passes through, and nothing of
  /// the part is run then.
  template <class Work>
  void run(Device device, Work&& work) {
    if (!begin(device)) return work();
    try {
      work();
    } catch (...) {
      cancel();
      throw;
    }
    launch();
  }
  /// How many graphs had to be made.
  int graphs() const;

 private:
  bool begin(Device device);  // false: no recording
  void launch();
  void cancel();

  struct Graph;
  std::unique_ptr<Graph> graph_;
  int rounds_ = 0;
};

}  // namespace concord
