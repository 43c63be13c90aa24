#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tests/kernels/buffers.h>
#include <doctest/doctest.h>

using namespace concord;
using namespace concord::kernels;
using namespace concord::testing;

namespace {

// Narrower and wider than a tile, with and without rests; small enough for one thread, and not.
const LinearGeometry kCases[] = {{1, 1, 1},    {4, 64, 64},  {3, 7, 5},     {13, 33, 65},
                                 {29, 17, 96}, {2, 512, 10}, {256, 72, 50}, {61, 130, 190}};

const std::vector<std::int32_t> kMap{4, 1, 2};  // places of three rows among five

}  // namespace

TEST_CASE_TEMPLATE("gemm: as the naive twin, with all transpositions", T, float, double) {
  const index_t m = 7, n = 11, k = 5, lda = 13, ldb = 14, ldc = 12;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      Buffer<T> a(1, 7 * lda), b(1, 11 * ldb), c(1, m * ldc);
      a.randomize("a"), b.randomize("b"), c.randomize("c");
      Buffer<T> expected = c;
      cpu::gemm<T>(ta, tb, m, n, k, T(0.5), a.row(0), lda, b.row(0), ldb, T(2), c.row(0), ldc);
      cpu::gemm_naive<T>(ta, tb, m, n, k, T(0.5), a.row(0), lda, b.row(0), ldb, T(2),
                         expected.row(0), ldc);
      CHECK(c.distance(expected) < tolerance<T>());
      CHECK(c.row(0)[n] == expected.row(0)[n]);
      CHECK(c.canaries_alive());
    }
  }
}

TEST_CASE_TEMPLATE("linear: forward as the naive twin, for any number of threads", T, float,
                   double) {
  for (const LinearGeometry& g : kCases) {
    CAPTURE(g.n);
    Buffer<T> x(1, g.n * g.in), w(1, g.in * g.out), b(1, g.out);
    x.randomize("x"), w.randomize("w"), b.randomize("b");
    for (const T* bias : {b.row(0), static_cast<T*>(nullptr)}) {
      Buffer<T> y(1, g.n * g.out), expected = y, alone = y;
      cpu::linear_forward_naive(g, x.row(0), w.row(0), bias, expected.row(0));
      with_threads(2, [&] { cpu::linear_forward(g, x.row(0), w.row(0), bias, y.row(0)); });
      with_threads(1, [&] { cpu::linear_forward(g, x.row(0), w.row(0), bias, alone.row(0)); });
      CHECK(y.distance(expected) < tolerance<T>());
      CHECK(y.canaries_alive());
      CHECK(y.equals(alone));
    }
  }
}

TEST_CASE_TEMPLATE("linear: gradients, R rows as R separate ones", T, float, double) {
  for (const LinearGeometry& g : kCases) {
    Buffer<T> x(1, g.n * g.in), w(1, g.in * g.out), gy(3, g.n * g.out);
    x.randomize("x"), w.randomize("w"), gy.randomize("gy");
    Rows<T> shared = x.shared();
    shared.count = 3;
    for (const bool accumulate : {false, true}) {
      CAPTURE(g.n);
      CAPTURE(accumulate);
      Buffer<T> gx(3, g.n * g.in, kMap, 5), gw(3, g.in * g.out, kMap, 5);
      gx.randomize("gx"), gw.randomize("gw");
      Buffer<T> gx_expected = gx, gx_separate = gx, gx_alone = gx;
      Buffer<T> gw_expected = gw, gw_separate = gw, gw_alone = gw;
      cpu::linear_grad_input_naive<T>(g, w.row(0), gy.rows(), gx_expected.rows(accumulate));
      cpu::linear_grad_weight_naive<T>(g, shared, gy.rows(), gw_expected.rows(accumulate));
      with_threads(2, [&] {
        cpu::linear_grad_input<T>(g, w.row(0), gy.rows(), gx.rows(accumulate));
        cpu::linear_grad_weight<T>(g, shared, gy.rows(), gw.rows(accumulate));
        for (int r = 0; r < 3; ++r) {
          cpu::linear_grad_input<T>(g, w.row(0), gy.one(r), gx_separate.one(r, accumulate));
          cpu::linear_grad_weight<T>(g, shared.one(0), gy.one(r), gw_separate.one(r, accumulate));
        }
      });
      with_threads(1, [&] {
        cpu::linear_grad_input<T>(g, w.row(0), gy.rows(), gx_alone.rows(accumulate));
        cpu::linear_grad_weight<T>(g, shared, gy.rows(), gw_alone.rows(accumulate));
      });
      CHECK(gx.distance(gx_expected) < tolerance<T>());
      CHECK(gx.canaries_alive());
      CHECK(gx.equals(gx_separate));
      CHECK(gx.equals(gx_alone));
      CHECK(gw.distance(gw_expected) < tolerance<T>());
      CHECK(gw.canaries_alive());
      CHECK(gw.equals(gw_separate));
      CHECK(gw.equals(gw_alone));
    }
  }
}

TEST_CASE_TEMPLATE("linear: gradient of the weight with one x per row", T, float, double) {
  const LinearGeometry g{2, 35, 19};
  Buffer<T> x(3, g.n * g.in, {0, 3, 1}, 4), gy(3, g.n * g.out), gw(3, g.in * g.out);
  x.randomize("x"), gy.randomize("gy");
  Buffer<T> expected = gw, separate = gw;
  cpu::linear_grad_weight_naive<T>(g, x.rows(), gy.rows(), expected.rows());
  cpu::linear_grad_weight<T>(g, x.rows(), gy.rows(), gw.rows());
  for (int r = 0; r < 3; ++r) {
    cpu::linear_grad_weight<T>(g, x.one(r), gy.one(r), separate.one(r));
  }
  CHECK(gw.distance(expected) < tolerance<T>());
  CHECK(gw.canaries_alive());
  CHECK(gw.equals(separate));
}

TEST_CASE("linear: an empty batch") {
  const LinearGeometry g{0, 35, 19};
  Buffer<float> w(1, g.in * g.out), gw(1, g.in * g.out), none(1, 0), zero(1, g.in * g.out);
  std::fill_n(zero.row(0), g.in * g.out, 0.0F);
  w.randomize("w"), gw.randomize("gw");
  cpu::linear_forward<float>(g, none.row(0), w.row(0), nullptr, none.row(0));
  cpu::linear_grad_input<float>(g, w.row(0), none.rows(), none.rows());
  CHECK(none.canaries_alive());
  cpu::linear_grad_weight<float>(g, none.shared(), none.rows(), gw.rows());
  CHECK(gw.equals(zero));
}
