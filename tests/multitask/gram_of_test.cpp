// The Gram matrix of a GradientMatrix: the kernel's against plain sums, for all rows and for some.
#include <concord/autograd/gradient_matrix.h>
#include <concord/multitask/gram.h>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace concord;
using namespace concord::multitask;

TEST_CASE("gram_of: shared columns of all rows, and of the tasks present") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    ParameterStore store;
    const auto zero = [](const Tensor& t, const Rng&) { t.zero(); };
    store.add("weight", {37, 11}, zero);
    store.add("bias", {37}, zero);
    store.add("head", {5}, zero, 0);
    GradientMatrix gradients(store, 3, dtype);
    for (int t = 0; t < 3; ++t) {
      Rng(9).fork(static_cast<std::uint64_t>(t)).fill_normal(gradients.row(t), 0.1 * t);
    }
    const auto plain = [&](int i, int j) {
      double sum = 0;
      const Tensor a = gradients.row(i).to(DType::f64), b = gradients.row(j).to(DType::f64);
      for (index_t k = 0; k < a.numel(); ++k) sum += a.data<double>()[k] * b.data<double>()[k];
      return sum;
    };
    const auto check = [&](const std::vector<int>& tasks) {
      Gram gram;
      gram_of(gradients, tasks, gram);
      const int rows = tasks.empty() ? 3 : static_cast<int>(tasks.size());
      REQUIRE(gram.tasks() == rows);
      for (int i = 0; i < rows; ++i) {
        for (int j = 0; j < rows; ++j) {
          const int a = tasks.empty() ? i : tasks[static_cast<std::size_t>(i)];
          const int b = tasks.empty() ? j : tasks[static_cast<std::size_t>(j)];
          const double lengths = std::sqrt(plain(a, a) * plain(b, b));
          CHECK(std::abs(gram(i, j) - plain(a, b)) <= 2e-7 * lengths);
          CHECK(gram(i, j) == gram(j, i));
        }
      }
    };
    check({});
    check({2, 0});
    check({1});
  }
}
