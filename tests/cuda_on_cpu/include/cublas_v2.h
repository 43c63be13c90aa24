// The parts of cuBLAS that concord uses, over OpenBLAS (cublas.cpp). Matrices are column-major;
// alpha and beta are read during the call, everything else when the stream runs.
#pragma once

#include <cuda_runtime.h>

enum cublasStatus_t {
  CUBLAS_STATUS_SUCCESS = 0,
  CUBLAS_STATUS_NOT_INITIALIZED = 1,
  CUBLAS_STATUS_INVALID_VALUE = 7,
  CUBLAS_STATUS_EXECUTION_FAILED = 13,
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasMath_t { CUBLAS_PEDANTIC_MATH = 2, CUBLAS_TF32_TENSOR_OP_MATH = 3 };
struct cublasContext;
using cublasHandle_t = cublasContext*;

const char* cublasGetStatusName(cublasStatus_t);
cublasStatus_t cublasCreate(cublasHandle_t*);
cublasStatus_t cublasDestroy(cublasHandle_t);
cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t);
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t);

#define CUDA_ON_CPU_GEMM(T, letter)                                                                \
  cublasStatus_t cublas##letter##gemm(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, \
                                      int n, int k, const T* alpha, const T* a, int lda,           \
                                      const T* b, int ldb, const T* beta, T* c, int ldc);          \
  cublasStatus_t cublas##letter##gemmStridedBatched(                                               \
      cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k, const T* alpha,   \
      const T* a, int lda, long long stride_a, const T* b, int ldb, long long stride_b,            \
      const T* beta, T* c, int ldc, long long stride_c, int count);
CUDA_ON_CPU_GEMM(float, S)
CUDA_ON_CPU_GEMM(double, D)
#undef CUDA_ON_CPU_GEMM
