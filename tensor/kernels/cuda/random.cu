// Random numbers made where they are needed: the bits of Rng::fill_*, element i from index i.
#include <concord/tensor/kernels/cuda/launch.h>
#include <concord/tensor/philox.h>

#include <cstdint>

namespace concord::cuda {
namespace {

using kernels::cuda::blocks_for;
using kernels::cuda::launch;
using kernels::cuda::run_on;

constexpr int kThreads = 256;

/// Four uniform numbers or two normal ones of a Philox block.
struct Uniforms {
  static constexpr int kPerBlock = 4;
  __device__ static double value(const philox::Words& w, int j) { return philox::uniform(w.at[j]); }
};
struct Normals {
  static constexpr int kPerBlock = 2;
  __device__ static double value(const philox::Words& w, int j) {
    return philox::normal(w.at[2 * j], w.at[2 * j + 1]);
  }
};

/// A thread for each Philox block.
template <class Numbers, class T>
__global__ void random_kernel(index_t n, std::uint64_t seed, std::uint64_t stream, double shift,
                              double scale, T* to) {
  const index_t block = blockIdx.x * index_t{kThreads} + threadIdx.x;
  const index_t first = block * Numbers::kPerBlock;
  if (first >= n) return;
  const philox::Words words = philox::block(seed, stream, static_cast<std::uint64_t>(block));
  for (int j = 0; j < Numbers::kPerBlock; ++j)
    if (first + j < n)
      to[first + j] = static_cast<T>(philox::scaled(Numbers::value(words, j), shift, scale));
}

template <class Numbers, class T>
void fill_with(index_t n, const Rng& rng, double shift, double scale, void* to) {
  launch("random", random_kernel<Numbers, T>, blocks_for(n, kThreads * Numbers::kPerBlock),
         kThreads, 0, n, rng.seed(), rng.stream(), shift, scale, static_cast<T*>(to));
}

}  // namespace

void random(int device, DType type, index_t n, const Rng& rng, Distribution distribution, double a,
            double b, void* to) {
  if (type != DType::f32 && type != DType::f64)
    throw DTypeError("random: only f32 and f64 can be filled, not " + std::string(name(type)));
  run_on(device);
  const bool f32 = type == DType::f32;
  if (distribution == Distribution::uniform) {
    f32 ? fill_with<Uniforms, float>(n, rng, a, b - a, to)
        : fill_with<Uniforms, double>(n, rng, a, b - a, to);
  } else {
    f32 ? fill_with<Normals, float>(n, rng, a, b, to)
        : fill_with<Normals, double>(n, rng, a, b, to);
  }
}

}  // namespace concord::cuda
