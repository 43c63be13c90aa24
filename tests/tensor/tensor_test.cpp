#include <concord/tensor/kernels/kernels.h>
#include <concord/tensor/tensor.h>

#include <doctest/doctest.h>

using namespace concord;

TEST_CASE("views and rows share memory, clones do not") {
  const Tensor t = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  const Tensor v = t.view({3, -1});
  CHECK(v.shape() == Shape{3, 2});
  v.data<float>()[5] = 60;
  CHECK(t.at({1, 2}) == 60);
  CHECK(t.rows(1, 2).at({0, 0}) == 4);
  const Tensor c = t.clone();
  c.fill(0);
  CHECK(t.at({0, 0}) == 1);
}
