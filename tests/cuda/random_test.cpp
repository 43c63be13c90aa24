#include <concord/tensor/random.h>
#include <concord/tests/cuda/device.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

using namespace concord;
using concord::testing::OnDevice;

TEST_CASE_TEMPLATE("device: random numbers are the CPU's", T, float, double) {
  const Rng rng = Rng(21).fork("init");
  for (const index_t n : {0, 1, 7, 3001}) {
    CAPTURE(n);
    const Tensor uniform = Tensor::empty({n}, dtype_of<T>),
                 normal = Tensor::empty({n}, dtype_of<T>);
    rng.fill_uniform(uniform, -0.3, 1.1);
    rng.fill_normal(normal, 0.7, 1.3);
    const Device device{DeviceType::cuda, 0};
    const Tensor u = Tensor::full({n}, -9, dtype_of<T>, device), z = u.clone();
    rng.fill_uniform(u, -0.3, 1.1);
    rng.fill_normal(z, 0.7, 1.3);
    const Tensor us = u.to(kCpu), zs = z.to(kCpu);
    for (index_t i = 0; i < n; ++i) {
      CHECK(us.data<T>()[i] == uniform.data<T>()[i]);
      // A cancelling mean and deviation leave the error of the larger: 2 ulp of 1.
      const T expected = normal.data<T>()[i];
      const T scale = std::max(std::abs(expected), T(1));
      CHECK(std::abs(zs.data<T>()[i] - expected) <= 2 * scale * std::numeric_limits<T>::epsilon());
    }
  }
}

TEST_CASE("device: only numbers can be random") {
  const OnDevice<std::int64_t> x(3, std::int64_t{0});
  CHECK(testing::error_text<DTypeError>([&] {
          cuda::random(0, DType::i64, 3, Rng(1), cuda::Distribution::uniform, 0, 1, x);
        }) == "random: only f32 and f64 can be filled, not i64");
}
