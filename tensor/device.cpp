#include <concord/tensor/check.h>
#include <concord/tensor/device.h>
#include <concord/tensor/kernels/cuda/cuda.h>

#include <fmt/format.h>

#include <charconv>

namespace concord {

std::vector<Device> devices() {
  std::vector<Device> all{kCpu};
  for (int i = 0; i < cuda::device_count(); ++i) all.push_back({DeviceType::cuda, i});
  return all;
}

std::string describe(Device device) {
  if (device == kCpu) return "cpu";
  return name(device) + "  " + cuda::describe(device.index);
}

std::string why_no_cuda() { return cuda::why_none(); }

Device device_from(std::string_view text) {
  if (text == "cpu") return kCpu;
  Device device{DeviceType::cuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  bool good = text == "cuda";
  if (text.starts_with(kPrefix)) {
    const std::string_view number = text.substr(kPrefix.size());
    const char* const end = number.data() + number.size();
    const auto [stop, error] = std::from_chars(number.data(), end, device.index);
    good = error == std::errc() && stop == end && device.index >= 0;
  }
  if (!good) throw ValueError(fmt::format("device: '{}' is none; cpu, cuda or cuda:1", text));
  if (device.index < cuda::device_count()) return device;
  if (cuda::device_count() == 0)
    throw DeviceError(fmt::format("device: {} is not there: {}", text, cuda::why_none()));
  throw DeviceError(fmt::format("device: {} is not there, the last one is cuda:{}", text,
                                cuda::device_count() - 1));
}

void synchronize(Device device) {
  if (device.type == DeviceType::cuda) cuda::synchronize(device.index);
}

Tensor upload_beside(const Tensor& host, Device device) {
  if (device == kCpu) return host;
  Tensor there = Tensor::empty(host.shape(), host.dtype(), device);
  if (host.numel() > 0) cuda::upload_beside(device.index, there.raw(), host.raw(), host.bytes());
  return there;
}

void await_uploads(Device device) {
  if (device.type == DeviceType::cuda) cuda::await_uploads(device.index);
}

struct StepPart::Graph : cuda::Graph {
  using cuda::Graph::Graph;
};

StepPart::StepPart() = default;
StepPart::~StepPart() = default;

bool StepPart::begin(Device device) {
  constexpr int kSettling = 2;
  if (device == kCpu || rounds_++ < kSettling) return false;
  if (!graph_) graph_ = std::make_unique<Graph>(device.index);
  graph_->begin();
  return true;
}

void StepPart::launch() { graph_->launch(); }
void StepPart::cancel() { graph_->cancel(); }

int StepPart::graphs() const { return graph_ ? graph_->instances() : 0; }

}  // namespace concord
