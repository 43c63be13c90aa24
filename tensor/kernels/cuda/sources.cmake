# The CUDA part, compiled by nvcc (tensor/CMakeLists.txt) and, for the tests, as C++ for the CPU
# (tests/cuda_on_cpu/CMakeLists.txt).
set(CONCORD_CUDA_SOURCES
  conv.cu
  elementwise.cu
  gemm.cu
  gram.cu
  index.cu
  memory.cu
  norm.cu
  optim.cu
  pool.cu
  random.cu
  reduce.cu
  runtime.cu
  softmax.cu
  table.cu)
