// cuBLAS over OpenBLAS. One call of OpenBLAS for each matrix of a batch, so that a row's bits do
// not depend on the others.
#include <concord/tests/cuda_on_cpu/runtime.h>

#include <cblas.h>
#include <cublas_v2.h>

#include <type_traits>

struct cublasContext {
  cudaStream_t stream = nullptr;
};

namespace {

/// Elements from the first to the last of a column-major rows x columns matrix.
std::size_t extent(int rows, int columns, int leading) {
  return rows && columns ? static_cast<std::size_t>(columns - 1) * leading + rows : 0;
}

template <class T>
cublasStatus_t gemm(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m,
                    int n, int k, T alpha, const T* a, int lda, long long stride_a, const T* b,
                    int ldb, long long stride_b, T beta, T* c, int ldc, long long stride_c,
                    int count) {
  const int rows_a = op_a == CUBLAS_OP_N ? m : k, columns_a = op_a == CUBLAS_OP_N ? k : m;
  const int rows_b = op_b == CUBLAS_OP_N ? k : n, columns_b = op_b == CUBLAS_OP_N ? n : k;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (m < 0 || n < 0 || k < 0 || count < 0 || lda < std::max(1, rows_a) ||
      ldb < std::max(1, rows_b) || ldc < std::max(1, m))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (m == 0 || n == 0 || count == 0) return CUBLAS_STATUS_SUCCESS;
  for (int i = 0; i < count; ++i) {
    if (const std::size_t size = extent(rows_a, columns_a, lda))
      cuda_on_cpu::check_device_memory(a + i * stride_a, size * sizeof(T), "cuBLAS gemm, A");
    if (const std::size_t size = extent(rows_b, columns_b, ldb))
      cuda_on_cpu::check_device_memory(b + i * stride_b, size * sizeof(T), "cuBLAS gemm, B");
    cuda_on_cpu::check_device_memory(c + i * stride_c, extent(m, n, ldc) * sizeof(T),
                                     "cuBLAS gemm, C");
  }
  static const char kKey = 0;
  const cudaError_t error = cuda_on_cpu::enqueue(handle->stream, &kKey, [=] {
    constexpr auto call = [] {
      if constexpr (std::is_same_v<T, float>)
        return &cblas_sgemm;
      else
        return &cblas_dgemm;
    }();
    for (int i = 0; i < count; ++i)
      call(CblasColMajor, op_a == CUBLAS_OP_N ? CblasNoTrans : CblasTrans,
           op_b == CUBLAS_OP_N ? CblasNoTrans : CblasTrans, m, n, k, alpha, a + i * stride_a, lda,
           b + i * stride_b, ldb, beta, c + i * stride_c, ldc);
  });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
  }
  return "unknown";
}

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
/// OpenBLAS computes in the precision of its operands in every mode.
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }

#define CUDA_ON_CPU_GEMM(T, letter)                                                                \
  cublasStatus_t cublas##letter##gemm(                                                             \
      cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,  \
      const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc) {    \
    return gemm(handle, op_a, op_b, m, n, k, *alpha, a, lda, 0, b, ldb, 0, *beta, c, ldc, 0, 1);   \
  }                                                                                                \
  cublasStatus_t cublas##letter##gemmStridedBatched(                                               \
      cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,  \
      const T* alpha, const T* a, int lda, long long stride_a, const T* b, int ldb,                \
      long long stride_b, const T* beta, T* c, int ldc, long long stride_c, int count) {           \
    return gemm(handle, op_a, op_b, m, n, k, *alpha, a, lda, stride_a, b, ldb, stride_b, *beta, c, \
                ldc, stride_c, count);                                                             \
  }
CUDA_ON_CPU_GEMM(float, S)
CUDA_ON_CPU_GEMM(double, D)
