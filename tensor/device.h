// The devices of this machine: which there are, and waiting for them.
//
// Kernels of a CUDA device are queued in the order of the calls and run while the host goes on.
// Reading values on the host waits by itself (Tensor::item, at, to, copy_from); only
// Tensor::download() and timings need synchronize().
#pragma once

#include <concord/tensor/types.h>

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

}  // namespace concord
