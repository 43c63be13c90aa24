// Matrix products. `gemm` is OpenBLAS. The linear layer has its own product on the register tile
// (tile.h), for two reasons: OpenBLAS picks its inner kernel by the sizes, so R merged rows need
// not have the bits of R single ones; and where OpenBLAS must do with its AVX2 kernels the tile
// is 1.3 to 3 times as fast. Price: products of a few thousand operations take a microsecond more
// (packing).
#include <cblas.h>
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/parallel.h>
#include <concord/tensor/kernels/cpu/tile.h>
#include <omp.h>

#include <algorithm>
#include <type_traits>

namespace concord::kernels::cpu {
namespace {

// c_r [m, n] = a_r [m, k] b [k, n] + bias, for R rows a_r and c_r and one b.
template <class T>
struct Product {
  index_t m, n, k;
  In<T> a;
  index_t a_stride_m, a_stride_k;
  const T* b;
  index_t b_stride_k, b_stride_n;
  const T* bias;  // [n], or null
  Out<T> c;       // row-major, rows n elements apart
};

// Columns [first, first + width) of b as [k][kWidth], the missing ones 0.
template <class T>
void pack_columns(const Product<T>& p, index_t first, index_t width, T* to) {
  constexpr index_t kWidth = Simd<T>::kWidth;
  const T* from = p.b + first * p.b_stride_n;
  if (p.b_stride_n == 1) {
    for (index_t k = 0; k < p.k; ++k) std::copy_n(from + k * p.b_stride_k, width, to + k * kWidth);
  } else {
    transpose(from, p.b_stride_n, p.b_stride_k, width, p.k, to, kWidth);
  }
  if (width == kWidth) return;
  for (index_t k = 0; k < p.k; ++k) std::fill(to + k * kWidth + width, to + (k + 1) * kWidth, T(0));
}

// One tile of c, `width` columns wide.
template <class T>
void product_tile(const Product<T>& p, int rows, const T* a, const T* b, index_t first_column,
                  index_t width, T* c) {
  constexpr index_t kLanes = Simd<T>::kLanes, kWidth = Simd<T>::kWidth;
  alignas(kVectorBytes) T whole[kMaxTileRows * kWidth];
  const bool direct = width == kWidth;
  T* to = direct ? c : whole;
  const index_t ld = direct ? p.n : kWidth;
  if (!direct && p.c.accumulate) {
    for (int i = 0; i < rows; ++i) std::copy_n(c + i * p.n, width, to + i * ld);
  }
  if (p.bias) {
    for (int i = 0; i < rows; ++i) std::copy_n(p.bias + first_column, width, to + i * ld);
  }
  Tile<T> tile{
      .a = a, .b = {b, b + kLanes}, .count = {1, 1, p.k}, .c = {to, to + kLanes}, .ldc = ld};
  tile.from_c = p.bias || p.c.accumulate;
  multiply_tile(rows, tile);
  if (direct) return;
  for (int i = 0; i < rows; ++i) std::copy_n(to + i * ld, width, c + i * p.n);
}

template <class T>
void multiply(const Product<T>& p) {
  constexpr index_t kWidth = Simd<T>::kWidth;
  if (p.m == 0 || p.n == 0 || p.c.count == 0) return;
  const int threads = worthwhile_threads(2 * p.m * p.n * p.k * p.c.count);
  const TileRows rows(p.m);
  const index_t panels = (p.n + kWidth - 1) / kWidth, tiles = rows.tiles * p.c.count;
  // Few rows: the threads share the columns too.
  const index_t parts = std::min(panels, (threads + tiles - 1) / tiles);
  const Scratch<T> b(panels * p.k * kWidth), a(threads * p.k * kMaxTileRows);
  const auto pack = [&](index_t panel) {
    const index_t first = panel * kWidth;
    pack_columns(p, first, std::min(kWidth, p.n - first), b.data() + first * p.k);
  };
  const auto compute = [&](index_t item, T* a_tile) {
    const index_t part = item % parts, tile = item / parts % rows.tiles;
    const auto row = static_cast<std::int32_t>(item / parts / rows.tiles);
    const index_t top = rows.first(tile);
    const int height = rows.height(tile);
    transpose(p.a[row] + top * p.a_stride_m, p.a_stride_m, p.a_stride_k, height, p.k, a_tile,
              height);
    for (index_t panel = panels * part / parts; panel < panels * (part + 1) / parts; ++panel) {
      const index_t first = panel * kWidth;
      product_tile(p, height, a_tile, b.data() + first * p.k, first, std::min(kWidth, p.n - first),
                   p.c[row] + top * p.n + first);
    }
  };
  if (threads == 1) {  // without the barriers of a team: see parallel_for
    for (index_t panel = 0; panel < panels; ++panel) pack(panel);
    for (index_t item = 0; item < tiles * parts; ++item) compute(item, a.data());
    return;
  }
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (index_t panel = 0; panel < panels; ++panel) pack(panel);
    T* a_tile = a.data() + omp_get_thread_num() * p.k * kMaxTileRows;
#pragma omp for schedule(dynamic)
    for (index_t item = 0; item < tiles * parts; ++item) compute(item, a_tile);
  }
}

}  // namespace

template <class T>
void gemm(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, T alpha, const T* a,
          index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc) {
  if (m == 0 || n == 0) return;
  const auto ta = transpose_a ? CblasTrans : CblasNoTrans;
  const auto tb = transpose_b ? CblasTrans : CblasNoTrans;
  const auto i = [](index_t size) { return static_cast<blasint>(size); };
  if constexpr (std::is_same_v<T, float>) {
    cblas_sgemm(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c,
                i(ldc));
  } else {
    cblas_dgemm(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c,
                i(ldc));
  }
}

template <class T>
void gemm_naive(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, T alpha,
                const T* a, index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc) {
  for (index_t i = 0; i < m; ++i) {
    for (index_t j = 0; j < n; ++j) {
      double sum = 0;
      for (index_t l = 0; l < k; ++l) {
        sum += double(transpose_a ? a[l * lda + i] : a[i * lda + l]) *
               double(transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
      }
      T& out = c[i * ldc + j];
      out = static_cast<T>(double(alpha) * sum + (beta == T(0) ? 0 : double(beta) * double(out)));
    }
  }
}

template <class T>
void linear_forward(const LinearGeometry& g, const T* x, const T* weight, const T* bias, T* y) {
  multiply<T>({g.n, g.out, g.in, one_row(x), g.in, 1, weight, 1, g.in, bias, one_row(y)});
}

template <class T>
void linear_grad_input(const LinearGeometry& g, const T* weight, In<T> gy, Out<T> gx) {
  multiply<T>({g.n, g.in, g.out, gy, g.out, 1, weight, g.in, 1, nullptr, gx});
}

template <class T>
void linear_grad_weight(const LinearGeometry& g, In<T> x, In<T> gy, Out<T> gw) {
  if (x.stride == 0) {
    multiply<T>({g.out, g.in, g.n, gy, 1, g.out, x.base, g.in, 1, nullptr, gw});
    return;
  }
  parallel_for(worthwhile_threads(g.flops() * gw.count) > 1, gw.count, [&](index_t row) {
    const auto r = static_cast<std::int32_t>(row);
    multiply<T>({g.out, g.in, g.n, gy.one(r), 1, g.out, x[r], g.in, 1, nullptr, gw.one(r)});
  });
}

template <class T>
void linear_forward_naive(const LinearGeometry& g, const T* x, const T* weight, const T* bias,
                          T* y) {
  gemm_naive(false, true, g.n, g.out, g.in, T(1), x, g.in, weight, g.in, T(0), y, g.out);
  if (!bias) return;
  for (index_t i = 0; i < g.n * g.out; ++i) y[i] += bias[i % g.out];
}

template <class T>
void linear_grad_input_naive(const LinearGeometry& g, const T* weight, In<T> gy, Out<T> gx) {
  for (std::int32_t r = 0; r < gx.count; ++r) {
    gemm_naive(false, false, g.n, g.in, g.out, T(1), gy[r], g.out, weight, g.in,
               T(gx.accumulate ? 1 : 0), gx[r], g.in);
  }
}

template <class T>
void linear_grad_weight_naive(const LinearGeometry& g, In<T> x, In<T> gy, Out<T> gw) {
  for (std::int32_t r = 0; r < gw.count; ++r) {
    gemm_naive(true, false, g.out, g.in, g.n, T(1), gy[r], g.out, x[r], g.in,
               T(gw.accumulate ? 1 : 0), gw[r], g.in);
  }
}

CONCORD_KERNEL_AND_NAIVE(gemm)
CONCORD_KERNEL_AND_NAIVE(linear_forward)
CONCORD_KERNEL_AND_NAIVE(linear_grad_input)
CONCORD_KERNEL_AND_NAIVE(linear_grad_weight)

}  // namespace concord::kernels::cpu
