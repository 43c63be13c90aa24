#include <concord/tensor/device.h>
#include <concord/tensor/tensor.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace concord;
using concord::testing::error_text;

TEST_CASE("device: by name") {
  CHECK(device_from("cpu") == kCpu);
  CHECK(error_text<ValueError>([] { device_from("gpu"); }) ==
        "device: 'gpu' is none; cpu, cuda or cuda:1");
  for (const char* text : {"", "cuda:", "cuda:-1", "cuda:1x", "cuda:99999999999", "CPU"})
    CHECK_THROWS_AS(device_from(text), ValueError);
  CHECK(devices().front() == kCpu);
  CHECK(why_no_cuda().empty() == (devices().size() > 1));
}

TEST_CASE("device: one that is not there, in one sentence") {
  const int beyond = static_cast<int>(devices().size()) - 1;
  const std::string start = fmt::format("device: cuda:{} is not there", beyond);
  const std::string reason =
      beyond == 0 ? ": " + why_no_cuda() : fmt::format(", the last one is cuda:{}", beyond - 1);
  CHECK(error_text<DeviceError>([&] { device_from(fmt::format("cuda:{}", beyond)); }) ==
        start + reason);
  CHECK(error_text<DeviceError>([&] {
          Tensor::empty({2}, DType::f32, {DeviceType::cuda, beyond});
        }) == start + reason);
}
