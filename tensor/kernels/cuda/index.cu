// Embedding and gather. The host does not look at indices on a device: what an index outside would
// read is NaN, and it gets no gradient. No atomics: in the gradients an element of the result
// belongs to one thread, which adds its terms in the order of the indices, as the CPU does, and to
// the same bits.
#include <concord/tensor/kernels/cuda/launch.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <cstdint>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

template <class T>
__global__ void embedding_forward_kernel(index_t elements, index_t entries, index_t width,
                                         const T* table, const std::int64_t* index, T* y) {
  const index_t e = blockIdx.x * index_t{kThreads} + threadIdx.x;
  if (e >= elements) return;
  const index_t i = e / width;
  const std::int64_t entry = index[i];
  y[e] = entry >= 0 && entry < entries ? table[entry * width + (e - i * width)]
                                       : std::numeric_limits<T>::quiet_NaN();
}

template <class T>
void embedding_forward(index_t n, index_t entries, index_t width, const T* table,
                       const std::int64_t* index, T* y) {
  launch("embedding_forward", embedding_forward_kernel<T>, blocks_for(n * width, kThreads),
         kThreads, 0, n * width, entries, width, table, index, y);
}

// The gradient of a table: a block has a few neighbouring entries and 256 columns. It reads the
// list of indices, 256 at a time, notes those that name one of its entries (in order), and adds
// their rows to sums in shared memory, a column per thread. Reading the list costs n compares a
// block, not n compares an entry.

constexpr int kMaxEntries = 8;

template <class T>
__global__ void embedding_backward_kernel(index_t n, index_t entries, index_t width,
                                          int entries_per_block,
                                          DeviceRows<const std::int64_t> index,
                                          DeviceRows<const T> gy, DeviceRows<T> gtable) {
  CONCORD_SHARED(T, sums, [kMaxEntries][kThreads]);
  CONCORD_SHARED(int, hits, [kThreads]);  // place in this piece of the list * kMaxEntries + entry
  CONCORD_SHARED(int, warp_hits, [kThreads / kWarp]);
  const int r = blockIdx.z, warp = threadIdx.x / kWarp;
  const index_t first_entry = blockIdx.x * index_t{entries_per_block};
  const index_t left = entries - first_entry;
  const int own = left < entries_per_block ? static_cast<int>(left) : entries_per_block;
  const index_t column = blockIdx.y * index_t{kThreads} + threadIdx.x;
  const bool has_column = column < width;
  const std::int64_t* list = index[r];
  T* table = gtable[r] + first_entry * width + column;
  for (int e = 0; e < own; ++e)
    sums[e][threadIdx.x] = gtable.accumulate && has_column ? table[e * width] : T(0);

  for (index_t first = 0; first < n; first += kThreads) {
    const index_t i = first + threadIdx.x;
    const std::int64_t entry = i < n ? list[i] - first_entry : -1;
    const bool hit = entry >= 0 && entry < own;
    const unsigned votes = __ballot_sync(0xffffffffu, hit);
    if (threadIdx.x % kWarp == 0) warp_hits[warp] = __popc(votes);
    __syncthreads();
    int before = 0, total = 0;
    for (int w = 0; w < kThreads / kWarp; ++w) {
      if (w == warp) before = total;
      total += warp_hits[w];
    }
    if (hit) {
      const unsigned earlier = votes & ((1u << threadIdx.x % kWarp) - 1);
      hits[before + __popc(earlier)] =
          static_cast<int>(threadIdx.x) * kMaxEntries + static_cast<int>(entry);
    }
    __syncthreads();
    // The next piece writes hits behind its first barrier: when all have read these.
    if (has_column) {
      const T* from = gy[r] + first * width + column;
      for (int h = 0; h < total; ++h)
        sums[hits[h] % kMaxEntries][threadIdx.x] += from[hits[h] / kMaxEntries * width];
    }
  }
  for (int e = 0; e < own && has_column; ++e) table[e * width] = sums[e][threadIdx.x];
}

template <class T>
void embedding_backward(index_t n, index_t entries, index_t width, Rows<const std::int64_t> index,
                        In<T> gy, Out<T> gtable) {
  // Small tables: a block for each entry, so that more of them work; the bits are the same.
  constexpr index_t kBlocksWanted = 1024;
  const int per_block =
      static_cast<int>(std::clamp<index_t>(entries / kBlocksWanted, 1, kMaxEntries));
  for_each_piece(gy.count, [&](std::int32_t first, std::int32_t count) {
    launch("embedding_backward", embedding_backward_kernel<T>,
           dim3(blocks_for(entries, per_block), blocks_for(width, kThreads),
                static_cast<unsigned>(count)),
           kThreads, 0, n, entries, width, per_block, device_rows(index, first, count),
           device_rows(gy, first, count), device_rows(gtable, first, count));
  });
}

template <class T>
__global__ void gather_forward_kernel(index_t n, index_t length, index_t inner, index_t picks,
                                      const T* x, const std::int64_t* index, T* y) {
  const index_t at = blockIdx.x * index_t{kThreads} + threadIdx.x;
  if (at >= n) return;
  const index_t line = at / inner;
  const std::int64_t pick = index[at];
  y[at] = pick >= 0 && pick < length
              ? x[(line / picks * length + pick) * inner + (at - line * inner)]
              : std::numeric_limits<T>::quiet_NaN();
}

template <class T>
void gather_forward(const AxisGeometry& g, index_t picks, const T* x, const std::int64_t* index,
                    T* y) {
  const index_t n = g.outer * picks * g.inner;
  launch("gather_forward", gather_forward_kernel<T>, blocks_for(n, kThreads), kThreads, 0, n,
         g.length, g.inner, picks, x, index, y);
}

/// A thread for each element of gx looks through the picks that could have been it: one where a
/// class or an action is picked.
template <class T>
__global__ void gather_backward_kernel(index_t n, index_t length, index_t inner, index_t picks,
                                       const std::int64_t* index, DeviceRows<const T> gy,
                                       DeviceRows<T> gx) {
  const index_t e = blockIdx.x * index_t{kThreads} + threadIdx.x;
  if (e >= n) return;
  const index_t line = e / inner, o = line / length;
  const std::int64_t own = line - o * length;
  const index_t first = o * picks * inner + (e - line * inner);
  for (int r = blockIdx.y; r < gy.count; r += gridDim.y) {
    T sum = gx.accumulate ? gx[r][e] : T(0);
    for (index_t m = 0; m < picks; ++m) {
      const index_t at = first + m * inner;
      if (index[at] == own) sum += gy[r][at];
    }
    gx[r][e] = sum;
  }
}

template <class T>
void gather_backward(const AxisGeometry& g, index_t picks, const std::int64_t* index, In<T> gy,
                     Out<T> gx) {
  const index_t n = g.outer * g.length * g.inner;
  const unsigned blocks = blocks_for(n, kThreads);
  for_each_piece(gy.count, [&](std::int32_t first, std::int32_t count) {
    launch("gather_backward", gather_backward_kernel<T>, dim3(blocks, row_groups(blocks, count)),
           kThreads, 0, n, g.length, g.inner, picks, index, device_rows(gy, first, count),
           device_rows(gx, first, count));
  });
}

}  // namespace

template <class T>
void set_index(Kernels<T>& k) {
  k.embedding_forward = embedding_forward<T>;
  k.embedding_backward = embedding_backward<T>;
  k.gather_forward = gather_forward<T>;
  k.gather_backward = gather_backward<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(index)
