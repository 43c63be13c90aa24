# The CUDA part, compiled by nvcc (tensor/CMakeLists.txt) and, for the tests, as C++ for the CPU
# (tests/cuda_on_cpu/CMakeLists.txt).
set(CONCORD_CUDA_SOURCES
  conv.cu
  gemm.cu
  gram.cu
  memory.cu
  norm.cu
  optim.cu
  pool.cu
  runtime.cu
  table.cu)
