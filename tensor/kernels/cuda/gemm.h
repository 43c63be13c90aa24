// Products through cuBLAS, as gemm.cu and conv.cu call them: row-major, R rows at once.
#pragma once

#include <concord/tensor/kernels/cuda/launch.h>

namespace concord::kernels::cuda {

/// c_r = op(a_r) op(b_r), with a [m, k] and b [k, n] after op (op: as it lies, or transposed), for
/// R = c.count rows; where c accumulates, c_r += ... . lda, ldb, ldc: elements between the rows of
/// a matrix as it lies in memory. Operands with stride 0 are shared.
template <class T>
struct Products {
  bool transpose_a, transpose_b;
  index_t m, n, k;
  In<T> a;
  index_t lda;
  In<T> b;
  index_t ldb;
  Out<T> c;
  index_t ldc;
};

/// Neighbouring rows whose places advance by equal steps are one strided batched call.
template <class T>
void multiply_rows(const Products<T>&);

/// y [n, channels, inner] = bias [channels], for a product that accumulates on it.
template <class T>
void spread_bias(index_t n, index_t channels, index_t inner, const T* bias, T* y);

}  // namespace concord::kernels::cuda
