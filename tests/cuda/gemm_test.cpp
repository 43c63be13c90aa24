// Matrix products on the device against those on the CPU.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tests/cuda/mirror.h>
#include <doctest/doctest.h>

#include <limits>

using namespace concord;
using namespace concord::kernels;
using namespace concord::testing;

namespace {

const LinearGeometry kCases[] = {{1, 1, 1}, {3, 7, 5}, {13, 33, 65}, {2, 12, 10}};
// Places of rows: one step, equal steps, and neither; some of it backwards.
const std::vector<std::int32_t> kMaps[] = {{}, {1, 3, 5}, {4, 1, 2}, {0, 5, 6}, {5, 3, 1}};

template <class T>
const Kernels<T>& device() {
  return concord::cuda::table<T>(0);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda gemm: as the CPU's, with all transpositions", T, float, double) {
  const index_t m = 7, n = 11, lda = 13, ldb = 14, ldc = 12;
  for (const index_t k : {5, 0}) {
    for (const T beta : {T(2), T(0)}) {
      for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
          Buffer<T> a(1, 7 * lda), b(1, 11 * ldb), c(1, m * ldc);
          a.randomize("a"), b.randomize("b"), c.randomize("c");
          if (beta == T(0)) c.row(0)[3] = std::numeric_limits<T>::quiet_NaN();  // is not read
          Buffer<T> expected = c;
          cpu::gemm_naive<T>(ta, tb, m, n, k, T(0.5), a.row(0), lda, b.row(0), ldb, beta,
                             expected.row(0), ldc);
          Mirror<T> da(a), db(b), dc(c);
          device<T>().gemm(ta, tb, m, n, k, T(0.5), da.row(0), lda, db.row(0), ldb, beta, dc.row(0),
                           ldc);
          dc.download();
          CHECK(c.distance(expected) < device_tolerance<T>());
          for (index_t i = 0; i < m; ++i) {  // beside the columns nothing changed
            CHECK(c.row(0)[i * ldc + n] == expected.row(0)[i * ldc + n]);
          }
          CHECK(c.canaries_alive());
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("cuda linear: forward as the CPU's", T, float, double) {
  for (const LinearGeometry& g : kCases) {
    CAPTURE(g.n);
    Buffer<T> x(1, g.n * g.in), w(1, g.in * g.out), b(1, g.out);
    x.randomize("x"), w.randomize("w"), b.randomize("b");
    const Mirror<T> dx(x), dw(w), db(b);
    for (const bool with_bias : {true, false}) {
      Buffer<T> y(1, g.n * g.out), expected = y;
      cpu::linear_forward(g, x.row(0), w.row(0), with_bias ? b.row(0) : nullptr, expected.row(0));
      Mirror<T> dy(y);
      device<T>().linear_forward(g, dx.row(0), dw.row(0), with_bias ? db.row(0) : nullptr,
                                 dy.row(0));
      dy.download();
      CHECK(y.distance(expected) < device_tolerance<T>());
      CHECK(y.canaries_alive());
    }
  }
}

TEST_CASE_TEMPLATE("cuda linear: gradients as the CPU's, R rows as R separate ones", T, float,
                   double) {
  for (const auto& map : kMaps) {
    for (const LinearGeometry& g : kCases) {
      Buffer<T> x(1, g.n * g.in), w(1, g.in * g.out), gy(3, g.n * g.out);
      x.randomize("x"), w.randomize("w"), gy.randomize("gy");
      const Mirror<T> dx(x), dw(w), dgy(gy);
      const auto shared = [](Rows<T> one) {
        one.count = 3;
        return one;
      };
      for (const bool accumulate : {false, true}) {
        CAPTURE(g.n);
        CAPTURE(accumulate);
        Buffer<T> gx(3, g.n * g.in, map, 7), gw(3, g.in * g.out, map, 7);
        gx.randomize("gx"), gw.randomize("gw");
        Buffer<T> gx_expected = gx, gx_separate = gx, gw_expected = gw, gw_separate = gw;
        cpu::linear_grad_input<T>(g, w.row(0), gy.rows(), gx_expected.rows(accumulate));
        cpu::linear_grad_weight<T>(g, shared(x.shared()), gy.rows(), gw_expected.rows(accumulate));
        {
          Mirror<T> dgx(gx), dgw(gw), one_gx(gx_separate), one_gw(gw_separate);
          const auto& k = device<T>();
          k.linear_grad_input(g, dw.row(0), dgy.rows(), dgx.rows(accumulate));
          k.linear_grad_weight(g, shared(dx.shared()), dgy.rows(), dgw.rows(accumulate));
          for (int r = 0; r < 3; ++r) {
            k.linear_grad_input(g, dw.row(0), dgy.one(r), one_gx.one(r, accumulate));
            k.linear_grad_weight(g, dx.one(0), dgy.one(r), one_gw.one(r, accumulate));
          }
          dgx.download(), dgw.download(), one_gx.download(), one_gw.download();
        }
        CHECK(gx.distance(gx_expected) < device_tolerance<T>());
        CHECK(gx.canaries_alive());
        CHECK(gx.equals(gx_separate));
        CHECK(gw.distance(gw_expected) < device_tolerance<T>());
        CHECK(gw.canaries_alive());
        CHECK(gw.equals(gw_separate));
      }
    }
  }
}

TEST_CASE_TEMPLATE("cuda linear: gradient of the weight with one x per row, 70 rows", T, float,
                   double) {
  const LinearGeometry g{2, 5, 3};
  constexpr int kRows = 70;
  std::vector<std::int32_t> map;
  for (int r = 0; r < kRows; ++r) map.push_back(r < 40 ? r : 2 * r);
  Buffer<T> x(kRows, g.n * g.in, map, 2 * kRows), gy(kRows, g.n * g.out);
  Buffer<T> gw(kRows, g.in * g.out), expected = gw;
  x.randomize("x"), gy.randomize("gy");
  cpu::linear_grad_weight<T>(g, x.rows(), gy.rows(), expected.rows());
  {
    const Mirror<T> dx(x), dgy(gy);
    Mirror<T> dgw(gw);
    device<T>().linear_grad_weight(g, dx.rows(), dgy.rows(), dgw.rows());
    dgw.download();
  }
  CHECK(gw.distance(expected) < device_tolerance<T>());
  CHECK(gw.canaries_alive());
}

TEST_CASE("cuda linear: an empty batch") {
  const LinearGeometry g{0, 35, 19};
  Buffer<float> w(1, g.in * g.out), gw(1, g.in * g.out), none(1, 0), zero(1, g.in * g.out);
  std::fill_n(zero.row(0), g.in * g.out, 0.0F);
  w.randomize("w"), gw.randomize("gw");
  Mirror<float> dw(w), dgw(gw), dnone(none);
  const auto& k = device<float>();
  k.linear_forward(g, dnone.row(0), dw.row(0), nullptr, dnone.row(0));
  k.linear_grad_input(g, dw.row(0), dnone.rows(), dnone.rows());
  k.linear_grad_weight(g, dnone.shared(), dnone.rows(), dgw.rows());
  dnone.download(), dgw.download();
  CHECK(none.canaries_alive());
  CHECK(gw.equals(zero));
}
