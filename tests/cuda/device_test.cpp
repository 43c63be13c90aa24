// Values go to the device and back.
#include <concord/tests/cuda/device.h>
#include <doctest/doctest.h>

using namespace concord;
using concord::testing::OnDevice;

TEST_CASE("device: values go up and come back") {
  REQUIRE(cuda::device_count() > 0);
  const std::vector<double> x{1.5, -2, 1e300};
  const OnDevice<double> there(x);
  CHECK(there.values() == x);
}

TEST_CASE("device: filling and converting") {
  const OnDevice<float> x(1000, 1.25f);
  const OnDevice<std::int64_t> y(std::vector<std::int64_t>(1000, 7));
  cuda::fill(0, DType::f32, 999, -3.75, x);
  cuda::convert(0, 999, DType::f32, x, DType::i64, y);
  const std::vector<std::int64_t> got = y.values();
  CHECK(std::count(got.begin(), got.end(), -3) == 999);
  CHECK(got[999] == 7);
}
