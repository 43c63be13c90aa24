// Matrix products: cuBLAS. It knows column-major matrices only; a row-major matrix is the
// transposed column-major one, so C = op(A) op(B) is asked for as Cᵀ = op(B)ᵀ op(A)ᵀ: operands, m
// and n change places and nothing is copied.
//
// R rows are one strided batched call where their places are an arithmetic progression, which they
// nearly always are; an operand that the rows share has stride 0. (Merging R rows into one taller
// product would use large tiles better, but cuBLAS chooses its kernel by the sizes, and a row's
// bits would depend on R.) Whether f32 may be rounded to TF32 is the handle's math mode: not, by
// default.
#include <concord/tensor/kernels/cuda/gemm.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <type_traits>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr index_t kMostBlocks = 16 * 132;  // then each thread takes several elements

// c = beta c for `count` matrices; c is not read where beta is 0.
template <class T>
__global__ void scale_matrices(index_t m, index_t n, index_t count, T beta, T* c, index_t ldc,
                               index_t stride) {
  for (index_t e = index_t{blockIdx.x} * kThreads + threadIdx.x; e < count * m * n;
       e += index_t{gridDim.x} * kThreads) {
    T& to = c[e / n / m * stride + e / n % m * ldc + e % n];
    to = beta == T(0) ? T(0) : beta * to;
  }
}

template <class T>
__global__ void repeat_channels(index_t size, index_t channels, index_t inner, const T* bias,
                                T* y) {
  for (index_t e = index_t{blockIdx.x} * kThreads + threadIdx.x; e < size;
       e += index_t{gridDim.x} * kThreads) {
    y[e] = bias[e / inner % channels];
  }
}

dim3 elements_grid(index_t n) {
  return static_cast<unsigned>(std::min((n + kThreads - 1) / kThreads, kMostBlocks));
}

template <class T>
struct Operand {
  const T* data;
  index_t ld, stride;
  bool transpose;

  cublasOperation_t operation() const { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; }
};

// c_i = alpha op(a_i) op(b_i) + beta c_i for i < count, stride elements apart, row-major.
template <class T>
void multiply(index_t m, index_t n, index_t k, T alpha, const Operand<T>& a, const Operand<T>& b,
              T beta, T* c, index_t ldc, index_t stride, index_t count) {
  if (m == 0 || n == 0 || count == 0) return;
  if (k == 0) {  // cuBLAS does not say what it does with empty operands
    launch("scale_matrices", scale_matrices<T>, elements_grid(count * m * n), kThreads, 0, m, n,
           count, beta, c, ldc, stride);
    return;
  }
  const auto i = [](index_t size) { return static_cast<int>(size); };
  const auto call = [&](auto gemm) {
    check(gemm(blas(), b.operation(), a.operation(), i(n), i(m), i(k), &alpha, b.data, i(b.ld),
               b.stride, a.data, i(a.ld), a.stride, &beta, c, i(ldc), stride, i(count)),
          "cublasGemmStridedBatched");
  };
  if constexpr (std::is_same_v<T, float>) {
    call(cublasSgemmStridedBatched);
  } else {
    call(cublasDgemmStridedBatched);
  }
}

template <class T>
index_t place(const Rows<T>& rows, std::int32_t r) {
  return rows[r] - rows.base;
}

// Rows of a, b and c from `first` on: the elements from one row to the next, and for how many rows
// these stay the same.
struct Progression {
  index_t a = 0, b = 0, c = 0;
  std::int32_t count = 1;
};

// cuBLAS promises nothing for negative strides: rows that go backwards are progressions of one.
template <class T>
Progression progression(const Products<T>& p, std::int32_t first) {
  Progression s;
  for (std::int32_t r = first + 1; r < p.c.count; ++r, ++s.count) {
    const index_t a = place(p.a, r) - place(p.a, r - 1), b = place(p.b, r) - place(p.b, r - 1),
                  c = place(p.c, r) - place(p.c, r - 1);
    if (s.count == 1 && a >= 0 && b >= 0 && c >= 0) {
      s.a = a, s.b = b, s.c = c;
    } else if (s.count == 1 || a != s.a || b != s.b || c != s.c) {
      break;
    }
  }
  return s;
}

template <class T>
void gemm(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, T alpha, const T* a,
          index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc) {
  multiply<T>(m, n, k, alpha, {a, lda, 0, transpose_a}, {b, ldb, 0, transpose_b}, beta, c, ldc, 0,
              1);
}

template <class T>
void linear_forward(const LinearGeometry& g, const T* x, const T* weight, const T* bias, T* y) {
  if (bias) spread_bias(g.n, g.out, 1, bias, y);
  multiply_rows<T>({false, true, g.n, g.out, g.in, one_row(x), g.in, one_row(weight), g.in,
                    one_row(y, bias != nullptr), g.out});
}

template <class T>
void linear_grad_input(const LinearGeometry& g, const T* weight, In<T> gy, Out<T> gx) {
  multiply_rows<T>({false, false, g.n, g.in, g.out, gy, g.out, one_row(weight), g.in, gx, g.in});
}

template <class T>
void linear_grad_weight(const LinearGeometry& g, In<T> x, In<T> gy, Out<T> gw) {
  multiply_rows<T>({true, false, g.out, g.in, g.n, gy, g.out, x, g.in, gw, g.in});
}

}  // namespace

template <class T>
void multiply_rows(const Products<T>& p) {
  for (std::int32_t r = 0; r < p.c.count;) {
    const Progression s = progression(p, r);
    multiply<T>(p.m, p.n, p.k, 1, {p.a[r], p.lda, s.a, p.transpose_a},
                {p.b[r], p.ldb, s.b, p.transpose_b}, T(p.c.accumulate), p.c[r], p.ldc, s.c,
                s.count);
    r += s.count;
  }
}
template void multiply_rows(const Products<float>&);
template void multiply_rows(const Products<double>&);

template <class T>
void spread_bias(index_t n, index_t channels, index_t inner, const T* bias, T* y) {
  const index_t size = n * channels * inner;
  launch("repeat_channels", repeat_channels<T>, elements_grid(size), kThreads, 0, size, channels,
         inner, bias, y);
}
template void spread_bias(index_t, index_t, index_t, const float*, float*);
template void spread_bias(index_t, index_t, index_t, const double*, double*);

template <class T>
void set_gemm(Kernels<T>& k) {
  k.gemm = gemm<T>;
  k.linear_forward = linear_forward<T>;
  k.linear_grad_input = linear_grad_input<T>;
  k.linear_grad_weight = linear_grad_weight<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(gemm)
