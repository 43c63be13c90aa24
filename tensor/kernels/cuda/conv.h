// How the convolutions of conv.cu are launched. Plain C++: conv.cu asks here what to do, and
// `concord bench cuda --model` counts the same without a GPU.
#pragma once

#include <concord/tensor/kernels/geometry.h>

#include <algorithm>
#include <cstddef>

namespace concord::kernels::cuda {

enum class ConvPass { forward, grad_input, grad_weight };

/// blas: a 1x1 convolution is a matrix product already. direct: a thread per element of the result
/// (a block, where it is a weight), for groups so narrow that tiles would be mostly padding. The
/// others: implicit GEMM on tiles of that form.
enum class ConvWay { blas, direct, narrow, square, wide };

/// A block computes m x n elements of the result, k steps of the reduction at a time, each thread
/// rows x columns of them.
struct ConvTile {
  int m, n, k, rows, columns;
  /// What remains of the arithmetic peak when multiply-adds share the instruction issue with the
  /// loads (README.md does the sums).
  double efficiency;

  constexpr int threads() const { return m * n / (rows * columns); }
};

constexpr ConvTile conv_tile(ConvWay way) {
  switch (way) {
    case ConvWay::wide:
      return {128, 128, 8, 8, 8, 0.86};
    case ConvWay::square:
      return {64, 64, 16, 4, 4, 0.75};
    case ConvWay::narrow:
      return {32, 128, 8, 4, 4, 0.6};
    default:
      return {1, 128, 1, 1, 1, 0.08};
  }
}

/// For one cotangent row; nothing in it depends on R, so that the bits of a row do not either.
struct ConvLaunch {
  ConvWay way;
  index_t blocks;  ///< of conv_tile(way).threads() threads; 0: cuBLAS decides
  /// grad_weight: the reduction over pixels is cut into so many parts, whose sums are added in
  /// order.
  index_t parts;
  index_t flops;  ///< with the tiles' padding
  index_t bytes;  ///< device memory traffic when each operand is read once
};

/// An H100's; the choice of tiles and parts aims at filling so many, on any device.
inline constexpr index_t kMultiprocessors = 132;

/// The launch of a pass over a geometry with elements of `element` bytes (4 or 8).
inline ConvLaunch conv_launch(const ConvGeometry& g, ConvPass pass, std::size_t element) {
  const auto over = [](index_t n, index_t parts) { return (n + parts - 1) / parts; };
  const bool weights = pass == ConvPass::grad_weight, inputs = pass == ConvPass::grad_input;
  const index_t c = g.c / g.groups, k = g.k / g.groups, taps = g.r * g.s;
  // Each group's result is m x n, its reduction `steps` long. Gradients of the input are a product
  // of its own for each of the stride's phases.
  const index_t phases =
      inputs ? std::max<index_t>(1, std::min(g.stride_h, g.h) * std::min(g.stride_w, g.w)) : 1;
  const index_t m = inputs ? c : k;
  const index_t n = weights  ? c * taps
                    : inputs ? g.n * over(g.h, g.stride_h) * over(g.w, g.stride_w)
                             : g.n * g.p * g.q;
  const index_t steps = weights ? g.n * g.p * g.q : inputs ? over(k * taps, phases) : c * taps;
  const auto blocks = [&](const ConvTile& t) {
    return over(m, t.m) * over(n, t.n) * g.groups * phases;
  };

  ConvLaunch launch{ConvWay::direct, 0, 1, g.flops(), 0};
  launch.bytes =
      static_cast<index_t>(element) * (g.n * (g.x_size() + g.y_size()) + g.weight_size());
  const bool pointwise = taps == 1 && g.stride_h == 1 && g.stride_w == 1 && g.pad_h == 0 &&
                         g.pad_w == 0 && g.groups == 1;
  if (pointwise && (!weights || g.n == 1)) {  // else the images would have to be summed
    launch.way = ConvWay::blas;
    return launch;
  }
  if (m < 4) {
    launch.blocks = weights  ? g.weight_size()
                    : inputs ? g.n * g.c * over(g.h * g.w, conv_tile(launch.way).threads())
                             : g.n * g.k * over(g.p * g.q, conv_tile(launch.way).threads());
    return launch;
  }
  // The multiprocessor with the most tiles sets the time. Parts even that out for the weight.
  const auto time = [&](ConvWay way) {
    const ConvTile t = conv_tile(way);
    const index_t tiles = weights ? blocks(t) : over(blocks(t), kMultiprocessors);
    return static_cast<double>(tiles * t.m * t.n) / t.efficiency;
  };
  launch.way = time(ConvWay::square) <= time(ConvWay::narrow) ? ConvWay::square : ConvWay::narrow;
  // 64 sums in f64 would leave no registers.
  if (element == 4 && time(ConvWay::wide) <= time(launch.way)) launch.way = ConvWay::wide;
  const ConvTile tile = conv_tile(launch.way);
  launch.blocks = blocks(tile);
  launch.flops = 2 * launch.blocks * tile.m * tile.n * steps;
  if (weights) {
    // So many parts that two to four blocks for each multiprocessor leave the fewest idle at the
    // end; 256 pixels or more for each block.
    const index_t tiles = launch.blocks, most = std::max<index_t>(steps / 256, 1);
    const index_t last = std::min(4 * kMultiprocessors / tiles, most);
    launch.parts = std::clamp<index_t>(2 * kMultiprocessors / tiles, 1, most);
    for (index_t parts = launch.parts + 1; parts <= last; ++parts) {
      if (over(tiles * parts, kMultiprocessors) * launch.parts <
          over(tiles * launch.parts, kMultiprocessors) * parts) {
        launch.parts = parts;
      }
    }
    launch.blocks *= launch.parts;
    if (launch.parts > 1) {
      launch.bytes += static_cast<index_t>(element) * 2 * launch.parts * g.weight_size();
    }
  }
  return launch;
}

/// The first version of the forward pass, kept as the explanation (README.md), as the way for
/// narrow groups and as an oracle: a thread per output.
template <class T>
void conv2d_forward_naive(const ConvGeometry&, const T* x, const T* weight, const T* bias, T* y);

}  // namespace concord::kernels::cuda
