// Sums by fixed trees: `outputs` sums of `length` terms for each of some rows, in double. How a sum
// is cut depends on its length alone, so its bits do not depend on the grid, the other sums or the
// rows.
//
// Terms and Put are functors (trivially copyable, passed to the kernel by value):
//   terms.at(r, j)     what yields the terms of sum j of row r: double operator()(index_t l)
//   put(r, j, total)   takes the result
#pragma once

#include <concord/tensor/kernels/cuda/team.h>

namespace concord::kernels::cuda {

/// Which index is contiguous in memory: the term's (neighbouring threads take neighbouring terms of
/// one sum) or the sum's (they take neighbouring sums).
enum class Walk { along, across };

/// The pieces of a long sum.
struct Chunks {
  index_t size = 0, count = 1;
  /// At most `most` pieces of at least `least` terms.
  Chunks(index_t length, index_t least, index_t most)
      : size(std::max(least, (length + most - 1) / most)),
        count(std::max<index_t>(1, (length + size - 1) / size)) {}
};

/// Sums along: a team for each chunk of each sum. Results go to partial [rows, outputs, chunks] if
/// that is not null.
template <class Own, class Terms, class Put>
__global__ void sum_along(index_t outputs, index_t length, Chunks chunks, Terms terms, Put put,
                          double* partial) {
  CONCORD_SHARED(double, warps, [kTeamBlock / kWarp]);
  const index_t task = Own::number(), j = task / chunks.count, chunk = task % chunks.count;
  if (j >= outputs) return;
  const int r = blockIdx.y;
  const auto term = terms.at(r, j);
  const index_t first = chunk * chunks.size;
  const index_t end = first + chunks.size < length ? first + chunks.size : length;
  double total = 0;
  for (index_t l = first + Own::lane(); l < end; l += Own::kSize) total += term(l);
  total = Own::all(total, Add{}, warps);
  if (Own::lane() != 0) return;
  if (partial) {
    partial[(r * outputs + j) * chunks.count + chunk] = total;
  } else {
    put(r, j, total);
  }
}

/// Sums across: thread x has a sum of its own, the threads y share its terms. Results go to partial
/// [rows, chunks, outputs] if that is not null.
template <class Terms, class Put>
__global__ void sum_across(index_t outputs, index_t length, Chunks chunks, Terms terms, Put put,
                           double* partial) {
  CONCORD_SHARED(double, shared, [kTeamBlock]);
  const index_t j = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
  const int r = blockIdx.z;
  const index_t first = blockIdx.y * chunks.size;
  const index_t end = first + chunks.size < length ? first + chunks.size : length;
  double total = 0;
  if (j < outputs) {
    const auto term = terms.at(r, j);
    for (index_t l = first + threadIdx.y; l < end; l += blockDim.y) total += term(l);
  }
  shared[threadIdx.y * blockDim.x + threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || j >= outputs) return;
  for (int y = 1; y < static_cast<int>(blockDim.y); ++y)
    total += shared[y * blockDim.x + threadIdx.x];
  if (partial) {
    partial[(r * index_t{gridDim.y} + blockIdx.y) * outputs + j] = total;
  } else {
    put(r, j, total);
  }
}

/// The partial sums of a first stage as the terms of the second: element l of sum j of row r.
struct PartialSums {
  const double* base;
  index_t row_stride, sum_stride, stride;

  struct Sum {
    const double* base;
    index_t stride;
    __device__ double operator()(index_t l) const { return base[l * stride]; }
  };
  __device__ Sum at(int r, index_t j) const {
    return {base + r * row_stride + j * sum_stride, stride};
  }
};

/// The sums of `rows` <= kMaxRows rows.
template <class Terms, class Put>
void sums(const char* name, Walk walk, int rows, index_t outputs, index_t length,
          const Terms& terms, const Put& put) {
  const auto rows_y = static_cast<unsigned>(rows);
  if (walk == Walk::along) {
    const auto stage = [&]<class Own, class T>(Own, index_t n, Chunks cut, const T& from,
                                               double* to) {
      launch(name, sum_along<Own, T, Put>, dim3(Own::blocks(outputs * cut.count), rows_y),
             kTeamBlock, 0, outputs, n, cut, from, put, to);
    };
    if (length <= kWarpLength)
      return stage(Team<kWarp>{}, length, Chunks(length, kWarpLength, 1), terms, nullptr);
    // A wave of blocks on a large device is about 1024 of them: more pieces would not be faster.
    const Chunks cut(length, 4096, 1024);
    if (cut.count == 1) return stage(Team<kTeamBlock>{}, length, cut, terms, nullptr);
    const Scratch scratch(static_cast<std::size_t>(rows * outputs * cut.count) * sizeof(double));
    stage(Team<kTeamBlock>{}, length, cut, terms, scratch.as<double>());
    const PartialSums partial{scratch.as<double>(), outputs * cut.count, cut.count, 1};
    stage(Team<kTeamBlock>{}, cut.count, Chunks(cut.count, cut.count, 1), partial, nullptr);
    return;
  }
  const auto stage = [&]<class T>(index_t n, Chunks cut, const T& from, double* to) {
    const unsigned y = n < 64 ? 1 : 8, x = kTeamBlock / y;
    launch(name, sum_across<T, Put>,
           dim3(blocks_for(outputs, static_cast<int>(x)), static_cast<unsigned>(cut.count), rows_y),
           dim3(x, y), 0, outputs, n, cut, from, put, to);
  };
  const Chunks cut(length, 512, 256);
  if (cut.count == 1) return stage(length, cut, terms, nullptr);
  const Scratch scratch(static_cast<std::size_t>(rows * outputs * cut.count) * sizeof(double));
  stage(length, cut, terms, scratch.as<double>());
  const PartialSums partial{scratch.as<double>(), outputs * cut.count, 1, outputs};
  stage(cut.count, Chunks(cut.count, cut.count, 1), partial, nullptr);
}

}  // namespace concord::kernels::cuda
