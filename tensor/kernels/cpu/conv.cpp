// Convolution as a matrix product on the register tile (tile.h), in the plain [n, c, h, w] layout.
//
// Forward and gradient of the input are both a Correlation (below). Its right-hand side, the matrix
// of all shifted inputs ("im2col"), is never stored: a panel of it, one tile wide and a block of
// channels high, meets all output channels while it lies in the first-level cache. Where output
// rows are whole vectors the tile reads the input itself (or its zero-padded copy) at shifted
// places; else the panel is packed. The gradient of the weight is a product over pixels, gw[m][c,t]
// = sum_pixel gy[m] x[c, shifted t], on the tile or, for narrow inputs, in lanes of pixels. R
// cotangent rows are R times as many images (grad_input) or R times as many output channels
// (grad_weight) of one and the same product: weights and inputs are packed once for all.
#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cpu/tile.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace concord::kernels::cpu {
namespace {

constexpr index_t kPanelSteps = 200;  // steps of the reduction between two visits of an output tile
constexpr index_t kBlockPixels = 1024;  // pixels that a thread works on at a time

// Some images, and some of their output rows: the unit of work.
struct Block {
  index_t images, rows;              // of a block
  index_t image_blocks, row_blocks;  // how many there are

  Block(index_t total_images, index_t p, index_t q, int threads) {
    const index_t plane = std::max<index_t>(p * q, 1);
    images = std::max<index_t>(1, std::min(kBlockPixels / plane, total_images / threads));
    rows = plane <= kBlockPixels ? p : std::max<index_t>(1, kBlockPixels / q);
    image_blocks = (total_images + images - 1) / images;
    row_blocks = rows > 0 ? (p + rows - 1) / rows : 0;
  }
};

// The kernel's positions that take part in a correlation.
class Taps {
 public:
  explicit Taps(index_t most) : memory_(3 * most), most_(most) {}
  void add(index_t dh, index_t dw, index_t source) {
    h()[count] = dh;
    w()[count] = dw;
    from()[count] = source;
    ++count;
    low_h = count == 1 ? dh : std::min(low_h, dh);
    low_w = count == 1 ? dw : std::min(low_w, dw);
    high_h = count == 1 ? dh : std::max(high_h, dh);
    high_w = count == 1 ? dw : std::max(high_w, dw);
  }
  void clear() { count = low_h = low_w = high_h = high_w = 0; }
  index_t most() const { return most_; }
  index_t* h() const { return memory_.data(); }                 // shift of the input row
  index_t* w() const { return memory_.data() + most_; }         // and column
  index_t* from() const { return memory_.data() + 2 * most_; }  // place in the weight's r x s

  index_t count = 0, low_h = 0, low_w = 0, high_h = 0, high_w = 0;

 private:
  Scratch<index_t> memory_;
  index_t most_;
};

// out[image][m][i][j] = start[m] + sum over c, t of
//                       weight[m][c][t] in[image][c][i stride_h + h_t][j stride_w + w_t],
// where `in` is 0 outside its h x w, for m and c within one of `groups` groups.
template <class T>
struct Correlation {
  In<T> in;  // R rows of images_per_row images
  Out<T> out;
  index_t images_per_row, groups;
  index_t channels, h, w;  // of `in`, channels per group
  index_t m, p, q;         // of `out`, m per group
  index_t stride_h, stride_w;
  // (i, j) of an image's channel is stored at out_first + i * out_row + j * out_column.
  index_t out_first, out_row, out_column, out_plane;
  const Taps& taps;
  const T* weight;  // as pack_weight leaves it
  const T* bias;    // [groups * m], or null

  index_t images() const { return in.count * images_per_row; }
  const T* in_image(index_t i) const {
    return in[static_cast<std::int32_t>(i / images_per_row)] +
           i % images_per_row * groups * channels * h * w;
  }
  T* out_image(index_t i) const {
    return out[static_cast<std::int32_t>(i / images_per_row)] +
           i % images_per_row * groups * m * out_plane;
  }
  // The reduction is cut into blocks of whole channels; not where outputs are scattered, since then
  // visiting them is dear.
  index_t channel_blocks() const {
    if (out_column != 1) return 1;
    return std::max<index_t>(1, (channels * taps.count + kPanelSteps - 1) / kPanelSteps);
  }
  index_t first_channel(index_t block) const { return channels * block / channel_blocks(); }
  index_t most_channels() const { return (channels + channel_blocks() - 1) / channel_blocks(); }
  index_t flops() const { return 2 * images() * groups * m * p * q * channels * taps.count; }
};

// weight(group, m, c, t) lies at group * stride.group + m * stride.m + c * stride.c + taps.from[t];
// where all taps take part, taps.from[t] = t.
struct WeightStrides {
  index_t group, m, c;
};

// Packs to [group][channel block][tile of m][c, t][row of the tile].
template <class T>
void pack_weight(const Correlation<T>& o, const T* weight, WeightStrides stride, T* to) {
  const TileRows tiles(o.m);
  const index_t taps = o.taps.count, blocks = o.channel_blocks();
  const int threads = worthwhile_threads(64 * o.groups * o.m * o.channels * taps);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (index_t item = 0; item < o.groups * blocks; ++item) {
    const index_t group = item / blocks, block = item % blocks;
    const index_t c0 = o.first_channel(block), c1 = o.first_channel(block + 1);
    const T* from = weight + group * stride.group + c0 * stride.c;
    T* packed = to + (group * o.channels + c0) * o.m * taps;
    if (taps == stride.c) {  // [m][c, t]: all steps of a row lie together
      const index_t steps = (c1 - c0) * taps;
      for (index_t tile = 0; tile < tiles.tiles; ++tile) {
        const index_t top = tiles.first(tile), height = tiles.height(tile);
        transpose(from + top * stride.m, stride.m, 1, height, steps, packed + top * steps, height);
      }
      continue;
    }
    for (index_t c = c0; c < c1; ++c, from += stride.c) {
      for (index_t tile = 0; tile < tiles.tiles; ++tile) {
        const index_t top = tiles.first(tile), height = tiles.height(tile);
        const T* f = from + top * stride.m;
        T* t = packed + (top * (c1 - c0) + height * (c - c0)) * taps;
        if (taps == o.taps.most()) {
          transpose(f, stride.m, 1, height, taps, t, height);
          continue;
        }
        for (index_t tap = 0; tap < taps; ++tap, t += height) {
          for (index_t i = 0; i < height; ++i) t[i] = f[i * stride.m + o.taps.from()[tap]];
        }
      }
    }
  }
}

// Where panels are packed from: `in` itself, or, where taps reach over the edges or the columns are
// strided, a staged copy of the block with zero margins and the columns sorted by their remainder
// modulo stride_w. In both, neighbouring output columns read neighbouring elements.
template <class T>
struct Source {
  const Correlation<T>& o;
  index_t rows, columns;  // of the staged copy; columns per remainder
  bool staged;
  index_t row, plane;  // strides

  Source(const Correlation<T>& o, index_t block_rows) : o(o) {
    rows = (block_rows - 1) * o.stride_h + o.taps.high_h - o.taps.low_h + 1;
    const index_t width = (o.q - 1) * o.stride_w + o.taps.high_w - o.taps.low_w + 1;
    columns = (width + o.stride_w - 1) / o.stride_w;
    staged = o.stride_w != 1 || o.taps.low_h < 0 || o.taps.low_w < 0 ||
             (o.p - 1) * o.stride_h + o.taps.high_h >= o.h ||
             (o.q - 1) * o.stride_w + o.taps.high_w >= o.w;
    row = staged ? o.stride_w * columns : o.w;
    plane = staged ? rows * row : o.h * o.w;
  }
  index_t size(index_t images) const { return staged ? images * o.most_channels() * plane : 0; }
  index_t tap(index_t t) const {
    if (!staged) return o.taps.h()[t] * row + o.taps.w()[t];
    const index_t h = o.taps.h()[t] - o.taps.low_h, w = o.taps.w()[t] - o.taps.low_w;
    return h * row + w % o.stride_w * columns + w / o.stride_w;
  }
  // Copies the planes of `channels` channels that begin at `from`; i0 is the block's first output
  // row.
  void stage(const T* from, index_t channels, index_t i0, T* to) const {
    const index_t top = i0 * o.stride_h + o.taps.low_h;
    for (index_t c = 0; c < channels; ++c, from += o.h * o.w) {
      for (index_t y = top; y < top + rows; ++y) {
        for (index_t rest = 0; rest < o.stride_w; ++rest, to += columns) {
          // Between kernels smaller than the stride lie rows and columns that nobody reads.
          if ((y - top) % o.stride_h > o.taps.high_h - o.taps.low_h) continue;
          if (rest > o.taps.high_w - o.taps.low_w) continue;
          const index_t left = o.taps.low_w + rest;  // input column of to[0]
          // Columns left + x stride_w lie inside for first <= x < last.
          const index_t first = left >= 0 ? 0 : (-left + o.stride_w - 1) / o.stride_w;
          const index_t last = left >= o.w ? 0 : (o.w - left + o.stride_w - 1) / o.stride_w;
          if (y < 0 || y >= o.h || first >= last) {
            std::fill_n(to, columns, T(0));
            continue;
          }
          const index_t end = std::min(last, columns), begin = std::min(first, end);
          const T* f = from + y * o.w + left;
          std::fill_n(to, begin, T(0));
          if (o.stride_w == 1) {
            std::copy(f + begin, f + end, to + begin);
          } else {
            for (index_t x = begin; x < end; ++x) to[x] = f[x * o.stride_w];
          }
          std::fill(to + end, to + columns, T(0));
        }
      }
    }
  }
};

// The longest run of lanes that never leaves an output row: a whole vector, half or a quarter of
// one, or a single lane.
template <class T>
int run_length(index_t q) {
  for (int run = Simd<T>::kLanes; run > 1 && 4 * run >= Simd<T>::kLanes; run /= 2) {
    if (q % run == 0) return run;
  }
  return 1;
}

// One thread's memory, and what all of them read.
template <class T>
struct Workspace {
  T* stage;
  T* panel;
  const index_t* offset;  // of each step (channel of a block, tap) in the source
};

// Tiles [first_tile, last_tile) of output channels of one group, for one block of pixels, whose
// lanes come in runs of kRun.
template <class T, int kRun>
void correlate_block(const Correlation<T>& o, const Source<T>& source, index_t group,
                     index_t first_image, index_t images, index_t i0, index_t rows,
                     index_t first_tile, index_t last_tile, const Workspace<T>& work) {
  constexpr int kLanes = Simd<T>::kLanes, kWidth = Simd<T>::kWidth, kRuns = kWidth / kRun;
  const index_t taps = o.taps.count, pixels = images * rows * o.q;
  const TileRows tiles(o.m);
  // Whole vectors of pixels are neighbours in the output as well?
  const bool whole_vectors =
      o.out_column == 1 && (kRun == kLanes || (o.out_row == o.q && rows * o.q % kLanes == 0));
  for (index_t block = 0; block < o.channel_blocks(); ++block) {
    const index_t c0 = o.first_channel(block), channels = o.first_channel(block + 1) - c0;
    const index_t in_channel = (group * o.channels + c0) * o.h * o.w, steps = channels * taps;
    const bool from_c = block > 0 || o.out.accumulate;
    if (source.staged && taps > 0) {
      for (index_t i = 0; i < images; ++i) {
        source.stage(o.in_image(first_image + i) + in_channel, channels, i0,
                     work.stage + i * channels * source.plane);
      }
    }
    const T* weight = o.weight + (group * o.channels + c0) * o.m * taps;
    for (index_t pixel = 0; pixel < pixels; pixel += kWidth) {
      // Lanes beyond the last pixel repeat the last run; they are not stored.
      const T* from[kRuns];
      T* to[kRuns];  // channel 0 of the group
      for (int u = 0; u < kRuns; ++u) {
        const index_t at = std::min(pixel + u * kRun, pixels - kRun);
        const index_t image = at / (rows * o.q), i = at / o.q % rows, j = at % o.q;
        from[u] = source.staged ? work.stage + image * channels * source.plane +
                                      i * o.stride_h * source.row + j
                                : o.in_image(first_image + image) + in_channel +
                                      (i0 + i) * o.stride_h * source.row + j;
        to[u] = o.out_image(first_image + image) + group * o.m * o.out_plane + o.out_first +
                (i0 + i) * o.out_row + j * o.out_column;
      }
      Tile<T> tile{.b = {from[0], from[kRuns / 2]}, .count = {1, 1, steps}, .offset = work.offset};
      if constexpr (kRun < kLanes) {
        T* lane = work.panel;
        for (index_t step = 0; step < steps; ++step, lane += kWidth) {
          const index_t offset = work.offset[step];
          for (int u = 0; u < kRuns; ++u) {
            std::memcpy(lane + u * kRun, from[u] + offset, kRun * sizeof(T));
          }
        }
        tile.b[0] = work.panel;
        tile.b[1] = work.panel + kLanes;
        tile.offset = nullptr;
      }
      const int valid_runs = static_cast<int>(std::min<index_t>(kRuns, (pixels - pixel) / kRun));
      for (index_t t = first_tile; t < last_tile; ++t) {
        const index_t top = tiles.first(t);
        const int height = tiles.height(t);
        tile.a = weight + top * steps;
        tile.start = o.bias ? o.bias + group * o.m + top : nullptr;
        tile.from_c = from_c;
        if (whole_vectors && valid_runs == kRuns) {
          tile.c[0] = to[0] + top * o.out_plane;
          tile.c[1] = to[kRuns / 2] + top * o.out_plane;
          tile.ldc = o.out_plane;
          multiply_tile(height, tile);
          continue;
        }
        // The tile in between: c, gathered and scattered run by run.
        alignas(kVectorBytes) T whole[kMaxTileRows * kWidth];
        const auto each = [&](auto&& f) {
          for (int i = 0; i < height; ++i) {
            for (int u = 0; u < valid_runs; ++u) {
              T* c = to[u] + (top + i) * o.out_plane;
              for (int v = 0; v < kRun; ++v) {
                f(whole[i * kWidth + u * kRun + v], c[v * o.out_column]);
              }
            }
          }
        };
        tile.c[0] = whole;
        tile.c[1] = whole + kLanes;
        tile.ldc = kWidth;
        if (from_c) each([](T& lane, T& c) { lane = c; });
        multiply_tile(height, tile);
        each([](T& lane, T& c) { c = lane; });
      }
    }
  }
}

template <class T>
void correlate(const Correlation<T>& o) {
  if (o.images() == 0 || o.p <= 0 || o.q <= 0) return;
  const int threads = worthwhile_threads(o.flops());
  const Block block(o.images(), o.p, o.q, threads);
  const Source<T> source(o, block.rows);
  const index_t tiles = (o.m + kMaxTileRows - 1) / kMaxTileRows;
  const index_t blocks = o.groups * block.image_blocks * block.row_blocks;
  // Few pixels: the threads share the output channels too.
  const index_t parts = std::min(tiles, (threads + blocks - 1) / blocks);
  const index_t stage_size = round_up(source.size(block.images), 64);
  const index_t panel_size = o.most_channels() * o.taps.count * Simd<T>::kWidth;
  const Scratch<T> memory(threads * (stage_size + panel_size));
  const Scratch<index_t> offset(o.most_channels() * o.taps.count);
  for (index_t step = 0; step < o.most_channels() * o.taps.count; ++step) {
    offset.data()[step] = step / o.taps.count * source.plane + source.tap(step % o.taps.count);
  }
  constexpr int kLanes = Simd<T>::kLanes;
  const int run = run_length<T>(o.q);
  const auto run_block = run == kLanes       ? correlate_block<T, kLanes>
                         : run == kLanes / 2 ? correlate_block<T, kLanes / 2>
                         : run == kLanes / 4 ? correlate_block<T, std::max(kLanes / 4, 1)>
                                             : correlate_block<T, 1>;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (index_t item = 0; item < blocks * parts; ++item) {
    T* own = memory.data() + omp_get_thread_num() * (stage_size + panel_size);
    const index_t part = item % parts, row_block = item / parts % block.row_blocks;
    const index_t rest = item / parts / block.row_blocks;
    const index_t group = rest / block.image_blocks;
    const index_t image = rest % block.image_blocks * block.images, i0 = row_block * block.rows;
    run_block(o, source, group, image, std::min(block.images, o.images() - image), i0,
              std::min(block.rows, o.p - i0), tiles * part / parts, tiles * (part + 1) / parts,
              {own, own + stage_size, offset.data()});
  }
}

}  // namespace

template <class T>
void conv2d_forward(const ConvGeometry& g, const T* x, const T* weight, const T* bias, T* y) {
  Taps taps(g.r * g.s);
  for (index_t t = 0; t < g.r * g.s; ++t) {
    taps.add(t / g.s * g.dilation_h - g.pad_h, t % g.s * g.dilation_w - g.pad_w, t);
  }
  const index_t channels = g.c / g.groups, m = g.k / g.groups, steps = channels * g.r * g.s;
  const Scratch<T> packed(g.weight_size());
  const Correlation<T> o{one_row(x), one_row(y), g.n,  g.groups,      channels,   g.h, g.w,
                         m,          g.p,        g.q,  g.stride_h,    g.stride_w, 0,   g.q,
                         1,          g.p * g.q,  taps, packed.data(), bias};
  pack_weight(o, weight, {m * steps, steps, g.r * g.s}, packed.data());
  correlate(o);
}

// gx[c][h][w] takes part in y[k][p][q] through tap (r, s) where h = p stride + r dilation - pad.
// For the h with h mod stride = a that is p = i + (a + pad - r dilation) / stride with h = i stride
// + a, where the division leaves no rest: one correlation with the taps of that kind per remainder.
template <class T>
void conv2d_grad_input(const ConvGeometry& g, const T* weight, In<T> gy, Out<T> gx) {
  const index_t channels = g.k / g.groups, m = g.c / g.groups, plane = g.r * g.s;
  Taps taps(plane);
  const Scratch<T> packed(g.weight_size());
  for (index_t a = 0; a < std::min(g.stride_h, g.h); ++a) {
    for (index_t b = 0; b < std::min(g.stride_w, g.w); ++b) {
      taps.clear();
      for (index_t t = 0; t < plane; ++t) {
        const index_t dh = a + g.pad_h - t / g.s * g.dilation_h;
        const index_t dw = b + g.pad_w - t % g.s * g.dilation_w;
        if (dh % g.stride_h == 0 && dw % g.stride_w == 0) {
          taps.add(dh / g.stride_h, dw / g.stride_w, t);
        }
      }
      const index_t p = (g.h - a + g.stride_h - 1) / g.stride_h;
      const index_t q = (g.w - b + g.stride_w - 1) / g.stride_w;
      const Correlation<T> o{gy,          gx,
                             g.n,         g.groups,
                             channels,    g.p,
                             g.q,         m,
                             p,           q,
                             1,           1,
                             a * g.w + b, g.stride_h * g.w,
                             g.stride_w,  g.h * g.w,
                             taps,        packed.data(),
                             nullptr};
      pack_weight(o, weight, {channels * m * plane, plane, m * plane}, packed.data());
      correlate(o);
    }
  }
}

namespace {

// What the two gradients of the weight below share: blocks of pixels, and for each the part of the
// input that it meets, staged with zero margins. A staged image is high x wide.
template <class T>
struct StagedInput {
  // Images [n, n + images) and their output rows [i, i + rows).
  struct Pixels {
    index_t n, images, i, rows;
  };

  const ConvGeometry& g;
  const T* x;
  const index_t channels;  // of a group
  const Block block;
  const index_t high, wide;

  StagedInput(const ConvGeometry& g, const T* x)
      : g(g),
        x(x),
        channels(g.c / g.groups),
        block(g.n, g.p, g.q, 1),
        high((block.rows - 1) * g.stride_h + (g.r - 1) * g.dilation_h + 1),
        wide((g.q - 1) * g.stride_w + (g.s - 1) * g.dilation_w + 1) {}

  index_t area() const { return block.images * high * wide; }

  // Where column c * taps + t of the gradient finds its first pixel in stage_planar's planes.
  index_t offset(index_t column) const {
    const index_t c = column / (g.r * g.s), t = column % (g.r * g.s);
    return c * area() + t / g.s * g.dilation_h * wide + t % g.s * g.dilation_w;
  }

  // f(pixels) for one block after the other.
  template <class F>
  void each_block(F f) const {
    for (index_t n = 0; n < g.n; n += block.images) {
      for (index_t i = 0; i < g.p; i += block.rows) {
        f(Pixels{n, std::min(block.images, g.n - n), i, std::min(block.rows, g.p - i)});
      }
    }
  }

  // Calls inside(from, to, count) for the part of each staged row that lies inside x, and
  // outside(to, count) for the margins; `to` counts pixels [image][high][wide].
  template <class Inside, class Outside>
  void each_row(const Pixels& pixels, Inside inside, Outside outside) const {
    const index_t top = pixels.i * g.stride_h - g.pad_h;
    const index_t begin = std::min(g.pad_w, wide);
    const index_t end = std::clamp(g.pad_w + g.w, begin, wide);
    index_t to = 0;
    for (index_t n = pixels.n; n < pixels.n + pixels.images; ++n) {
      for (index_t y = top; y < top + high; ++y, to += wide) {
        if (y < 0 || y >= g.h) {
          outside(to, wide);
          continue;
        }
        outside(to, begin);
        inside(n * g.x_size() + y * g.w, to + begin, end - begin);
        outside(to + end, wide - end);
      }
    }
  }

  // All channels as [channel][image of a block][high][wide].
  void stage_planar(index_t group, const Pixels& pixels, T* to) const {
    for (index_t c = 0; c < channels; ++c, to += block.images * high * wide) {
      const T* from = x + (group * channels + c) * g.h * g.w;
      each_row(
          pixels,
          [&](index_t source, index_t at, index_t count) {
            std::copy_n(from + source, count, to + at);
          },
          [&](index_t at, index_t count) { std::fill_n(to + at, count, T(0)); });
    }
  }
};

// The gradient of the weight for R rows that share one x. Columns of the product are the channels
// of x, one product per tap, read from a staged copy [image][row][column][channel]; where the
// channels fill a tile badly, columns are all (channel, tap) pairs, each pixel's gathered into one
// vector. Rows are the output channels of all R cotangents. A block of pixels is summed from zero
// and added to the result, blocks in order, so that long sums stay accurate.
template <class T>
class WeightGradient : StagedInput<T> {
 public:
  WeightGradient(const ConvGeometry& g, const T* x, In<T> gy, Out<T> gw)
      : StagedInput<T>(g, x),
        gy(gy),
        gw(gw),
        m(g.k / g.groups),
        taps(g.r * g.s),
        gathered(narrow(g)),
        columns(gathered ? channels * taps : channels),
        products(gathered ? 1 : taps),
        threads(worthwhile_threads(g.flops() * gw.count)),
        run_offset(gathered ? columns / run() : 0) {
    for (index_t u = 0; gathered && u < columns / run(); ++u) {
      run_offset.data()[u] = this->offset(u * run());
    }
  }

  // Channels fill a tile badly?
  static bool narrow(const ConvGeometry& g) {
    const index_t channels = g.c / g.groups;
    return 3 * channels < 2 * round_up(channels, kWidth);
  }

  void compute() const {
    const index_t panels = (columns + kWidth - 1) / kWidth;
    // The threads share the columns first: packed cotangents are then needed by all of them, while
    // each stages its own channels.
    const index_t column_parts = std::min<index_t>(panels, threads);
    const TileRows tiles(m, (threads + column_parts - 1) / column_parts);
    const index_t all_tiles = tiles.tiles * gw.count;
    const index_t row_parts = std::min(all_tiles, (threads + column_parts - 1) / column_parts);
    const index_t pixels = block.images * block.rows * g.q;
    const index_t most_panels = (panels + column_parts - 1) / column_parts;
    const index_t most_tiles = (all_tiles + row_parts - 1) / row_parts;
    const index_t planar = gathered ? round_up(area() * channels + kOverrun, 64) : 0;
    const index_t stage =
        planar + (gathered ? pixels * gathered_width(most_panels) : area() * most_panels * kWidth);
    const index_t left = round_up(most_tiles * kMaxTileRows * pixels, 64);
    const index_t sums = products * kMaxTileRows * kWidth;
    const index_t own = stage + left + sums;
    const Scratch<T> memory(threads * own);
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (index_t item = 0; item < g.groups * column_parts * row_parts; ++item) {
      const index_t row_part = item % row_parts, column_part = item / row_parts % column_parts;
      T* mine = memory.data() + omp_get_thread_num() * own;
      const Share share{item / row_parts / column_parts, all_tiles * row_part / row_parts,
                        all_tiles * (row_part + 1) / row_parts, panels * column_part / column_parts,
                        panels * (column_part + 1) / column_parts};
      compute_share(share, tiles, {mine, mine + planar, mine + stage, mine + stage + left});
    }
  }

 private:
  using typename StagedInput<T>::Pixels;
  using StagedInput<T>::g, StagedInput<T>::x, StagedInput<T>::channels, StagedInput<T>::block,
      StagedInput<T>::high, StagedInput<T>::wide, StagedInput<T>::area;
  static constexpr index_t kWidth = Simd<T>::kWidth, kLanes = Simd<T>::kLanes;

  // What one thread computes: tiles [first_tile, last_tile) of all rows' output channels, panels
  // [first_panel, last_panel) of the columns.
  struct Share {
    index_t group, first_tile, last_tile, first_panel, last_panel;
  };
  struct Memory {
    T *planar, *right, *left, *sums;
  };
  void compute_share(const Share& share, const TileRows& tiles, const Memory& memory) const {
    this->each_block([&](const Pixels& pixels) {
      if (gathered) {
        this->stage_planar(share.group, pixels, memory.planar);
        gather(share, pixels, memory.planar, memory.right);
      } else {
        stage_channels(share, pixels, memory.right);
      }
      pack_cotangents(share, tiles, pixels, memory.left);
      multiply_block(share, tiles, pixels, memory);
    });
  }

  // First output channel (over all groups) of a tile that counts through all rows.
  index_t first_channel(const Share& share, const TileRows& tiles, index_t tile) const {
    return share.group * m + tiles.first(tile % tiles.tiles);
  }

  // The cotangents of each tile as [pixel][row of the tile].
  void pack_cotangents(const Share& share, const TileRows& tiles, const Pixels& pixels,
                       T* to) const {
    const index_t plane = g.p * g.q, count = pixels.rows * g.q;
    for (index_t tile = share.first_tile; tile < share.last_tile; ++tile) {
      const index_t height = tiles.height(tile % tiles.tiles);
      const T* from = gy[static_cast<std::int32_t>(tile / tiles.tiles)] + pixels.n * g.y_size() +
                      first_channel(share, tiles, tile) * plane + pixels.i * g.q;
      for (index_t n = 0; n < pixels.images; ++n, from += g.y_size(), to += height * count) {
        transpose(from, plane, 1, height, count, to, height);
      }
    }
  }

  // Adds the products over one block of pixels to gw.
  void multiply_block(const Share& share, const TileRows& tiles, const Pixels& pixels,
                      const Memory& memory) const {
    const bool fresh = pixels.n == 0 && pixels.i == 0 && !gw.accumulate;
    const index_t count = pixels.images * pixels.rows * g.q, area = pixels.images * high * wide;
    for (index_t panel = share.first_panel; panel < share.last_panel; ++panel) {
      const T* b = gathered ? memory.right + panel * kWidth - first_run(share) * run()
                            : memory.right + (panel - share.first_panel) * kWidth * area;
      const T* a = memory.left;
      for (index_t tile = share.first_tile; tile < share.last_tile; ++tile) {
        const int height = tiles.height(tile % tiles.tiles);
        for (index_t t = 0; t < products; ++t) {
          T* c = memory.sums + t * kMaxTileRows * kWidth;
          Tile<T> product{.a = a, .c = {c, c + kLanes}, .ldc = kWidth};
          if (gathered) {
            product.b[0] = b;
            product.count[2] = count;
            product.stride[2] = gathered_width(share.last_panel - share.first_panel);
          } else {
            product.b[0] = b + (t / g.s * g.dilation_h * wide + t % g.s * g.dilation_w) * kWidth;
            product.count[0] = pixels.images;
            product.count[1] = pixels.rows;
            product.count[2] = g.q;
            product.stride[0] = high * wide * kWidth;
            product.stride[1] = g.stride_h * wide * kWidth;
            product.stride[2] = g.stride_w * kWidth;
          }
          product.b[1] = product.b[0] + kLanes;
          multiply_tile(height, product);
        }
        a += height * count;
        T* to = gw[static_cast<std::int32_t>(tile / tiles.tiles)] +
                first_channel(share, tiles, tile) * channels * taps + panel * kWidth * products;
        add(memory.sums, height, std::min(kWidth, columns - panel * kWidth), fresh, to);
      }
    }
  }

  void add(const T* sums, int height, index_t width, bool fresh, T* to) const {
    for (int i = 0; i < height; ++i, to += channels * taps) {
      for (index_t j = 0; j < width; ++j) {
        for (index_t t = 0; t < products; ++t) {
          T& out = to[j * products + t];
          const T sum = sums[(t * kMaxTileRows + i) * kWidth + j];
          out = fresh ? sum : out + sum;
        }
      }
    }
  }

  // The share's channels as [panel][image][high][wide][kWidth].
  void stage_channels(const Share& share, const Pixels& pixels, T* to) const {
    const index_t end = std::min(share.last_panel * kWidth, channels);
    for (index_t c = share.first_panel * kWidth; c < end; c += kWidth) {
      const T* from = x + (share.group * channels + c) * g.h * g.w;
      const index_t width = std::min(kWidth, end - c);
      this->each_row(
          pixels,
          [&](index_t source, index_t at, index_t count) {
            transpose(from + source, g.h * g.w, 1, width, count, to + at * kWidth, kWidth);
            for (index_t j = 0; width < kWidth && j < count; ++j) {
              std::fill(to + (at + j) * kWidth + width, to + (at + j + 1) * kWidth, T(0));
            }
          },
          [&](index_t at, index_t count) { std::fill_n(to + at * kWidth, count * kWidth, T(0)); });
      to += pixels.images * high * wide * kWidth;
    }
  }

  // Taps side by side in the staged planes are copied together, up to kOverrun elements at a time:
  // what is copied too much is overwritten by the next run or belongs to no column.
  static constexpr index_t kOverrun = 8;
  index_t run() const { return g.dilation_w == 1 ? g.s : 1; }
  index_t gathered_width(index_t panels) const {
    return round_up(panels * kWidth + 2 * run() + kOverrun, kLanes);
  }

  index_t first_run(const Share& share) const { return share.first_panel * kWidth / run(); }

  // The share's (channel, tap) pairs of each pixel, from the beginning of a run on, as
  // [pixel][gathered_width].
  void gather(const Share& share, const Pixels& pixels, const T* planar, T* to) const {
    const index_t length = run(), width = gathered_width(share.last_panel - share.first_panel);
    const index_t end = std::min(share.last_panel * kWidth, columns);
    const index_t runs = (end + length - 1) / length - first_run(share);
    const index_t* offset = run_offset.data() + first_run(share);
    const auto each_pixel = [&](auto copy) {
      for (index_t n = 0; n < pixels.images; ++n) {
        for (index_t i = 0; i < pixels.rows; ++i) {
          const T* from = planar + (n * high + i * g.stride_h) * wide;
          for (index_t j = 0; j < g.q; ++j, from += g.stride_w, to += width) {
            for (index_t u = 0; u < runs; ++u) copy(from + offset[u], to + u * length);
          }
        }
      }
    };
    if (length <= 4) {
      each_pixel([](const T* f, T* t) { std::memcpy(t, f, 4 * sizeof(T)); });
    } else if (length <= kOverrun) {
      each_pixel([](const T* f, T* t) { std::memcpy(t, f, kOverrun * sizeof(T)); });
    } else {
      each_pixel([&](const T* f, T* t) { std::copy_n(f, length, t); });
    }
  }

  In<T> gy;
  Out<T> gw;
  index_t m, taps;
  bool gathered;
  index_t columns, products;  // of one product; products into which a tile's columns unfold
  int threads;
  Scratch<index_t> run_offset;  // place of each run of taps in the staged planes
};

// The gradient of the weight where the input is narrow and output rows are whole vectors: a vector
// of accumulators per element of gw, its lanes the pixels modulo kLanes,
//   lanes[k][c, t] += gy[k][pixels] x[c][pixels shifted by t],
// for kTall channels of the output (of all R rows) times kAcross pairs (c, t) at a time, straight
// from gy and the staged input: nothing is gathered or transposed. A block of pixels is summed from
// zero in registers and added to the lanes, blocks in order; the lanes are added up at the end. The
// order of an element's sum depends on nothing but the geometry.
template <class T>
class NarrowWeightGradient : StagedInput<T> {
 public:
  static bool serves(const ConvGeometry& g) { return g.stride_w == 1 && g.q % kLanes == 0; }

  NarrowWeightGradient(const ConvGeometry& g, const T* x, In<T> gy, Out<T> gw)
      : StagedInput<T>(g, x),
        gy(gy),
        gw(gw),
        m(g.k / g.groups),
        columns(channels * g.r * g.s),
        row_tiles((m * gw.count + kTall - 1) / kTall),
        column_tiles((columns + kAcross - 1) / kAcross) {}

  void compute() const {
    const int threads = worthwhile_threads(g.flops() * gw.count);
    const index_t row_parts = std::min<index_t>(row_tiles, threads);
    const index_t column_parts = std::min(column_tiles, (threads + row_parts - 1) / row_parts);
    const index_t planar = round_up(channels * area(), 64);
    const index_t tiles = ((row_tiles + row_parts - 1) / row_parts) *
                          ((column_tiles + column_parts - 1) / column_parts);
    const index_t own = planar + tiles * kTileSize;
    const Scratch<T> memory(threads * own);
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (index_t item = 0; item < g.groups * row_parts * column_parts; ++item) {
      const index_t part = item / column_parts % row_parts, across = item % column_parts;
      T* mine = memory.data() + omp_get_thread_num() * own;
      compute_share({item / column_parts / row_parts, row_tiles * part / row_parts,
                     row_tiles * (part + 1) / row_parts, column_tiles * across / column_parts,
                     column_tiles * (across + 1) / column_parts},
                    mine, mine + planar);
    }
  }

 private:
  using typename StagedInput<T>::Pixels;
  using StagedInput<T>::g, StagedInput<T>::channels, StagedInput<T>::block, StagedInput<T>::high,
      StagedInput<T>::wide, StagedInput<T>::area;
  using Vector = typename Simd<T>::Vector;
  static constexpr int kLanes = Simd<T>::kLanes;
  // Accumulators, a vector of gy per row and one of x have to fit into the registers.
  static constexpr int kTall = kMaxTileRows > 6 ? 5 : 3, kAcross = kMaxTileRows > 6 ? 5 : 4;
  static constexpr int kTile = kTall * kAcross, kTileSize = kTile * kLanes;

  // What one thread computes: tiles [first_row, last_row) x [first_column, last_column).
  struct Share {
    index_t group, first_row, last_row, first_column, last_column;
  };

  void compute_share(const Share& share, T* staged, T* sums) const {
    const index_t tiles =
        (share.last_row - share.first_row) * (share.last_column - share.first_column);
    std::fill_n(sums, tiles * kTileSize, T(0));
    this->each_block([&](const Pixels& pixels) {
      this->stage_planar(share.group, pixels, staged);
      each_tile(share, sums, [&](index_t row, index_t column, T* tile) {
        add_products(share.group, row, column, pixels, staged, tile);
      });
    });
    each_tile(share, sums, [&](index_t row, index_t column, const T* tile) {
      for (int u = 0; u < kTile; ++u, tile += kLanes) {
        const index_t k = row + u % kTall, c = column + u / kTall;
        if (k >= m * gw.count || c >= columns) continue;
        T& to = gw[static_cast<std::int32_t>(k / m)][(share.group * m + k % m) * columns + c];
        T sum = 0;
        for (int lane = 0; lane < kLanes; ++lane) sum += tile[lane];
        to = gw.accumulate ? to + sum : sum;
      }
    });
  }

  // f(first row, first column, its sums) for each tile of a share.
  template <class F>
  static void each_tile(const Share& share, T* sums, F f) {
    for (index_t row = share.first_row; row < share.last_row; ++row) {
      for (index_t column = share.first_column; column < share.last_column; ++column) {
        f(row * kTall, column * kAcross, sums);
        sums += kTileSize;
      }
    }
  }

  static Vector load(const T* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }

  // One tile and one block of pixels. Rows and columns beyond the last repeat it; nobody reads
  // their sums.
  void add_products(index_t group, index_t row, index_t column, const Pixels& pixels,
                    const T* staged, T* sums) const {
    const T *a[kTall], *b[kAcross];
    for (int u = 0; u < kTall; ++u) {
      const index_t k = std::min(row + u, m * gw.count - 1);
      a[u] = gy[static_cast<std::int32_t>(k / m)] + pixels.n * g.y_size() +
             ((group * m + k % m) * g.p + pixels.i) * g.q;
    }
    for (int u = 0; u < kAcross; ++u) {
      b[u] = staged + this->offset(std::min(column + u, columns - 1));
    }
    const Walk walk{pixels.images, pixels.rows, g.q, g.y_size(), high * wide, g.stride_h * wide};
    multiply(walk, a, b, sums, std::make_integer_sequence<int, kTall>(),
             std::make_integer_sequence<int, kTile>());
  }

  // Pixels of a block, and the elements between images and rows of them in a (gy) and b (staged).
  struct Walk {
    index_t images, rows, q, a_image, b_image, b_row;
  };

  // The packs unroll the loops over rows and accumulators. A function of its own, so that the bases
  // of a and b stay in registers beside the accumulators.
  template <int... kRow, int... kUnit>
  __attribute__((noinline)) static void multiply(const Walk& walk, const T* const* a,
                                                 const T* const* b, T* sums,
                                                 std::integer_sequence<int, kRow...>,
                                                 std::integer_sequence<int, kUnit...>) {
    Vector lanes[kTile] = {};
    for (index_t n = 0; n < walk.images; ++n) {
      index_t at_a = n * walk.a_image, at_b = n * walk.b_image;
      for (index_t i = 0; i < walk.rows; ++i, at_b += walk.b_row - walk.q) {
        for (const index_t end = at_a + walk.q; at_a < end; at_a += kLanes, at_b += kLanes) {
          const Vector left[kTall] = {load(a[kRow] + at_a)...};
          ((lanes[kUnit] += left[kUnit % kTall] * load(b[kUnit / kTall] + at_b)), ...);
        }
      }
    }
    const auto add = [](T* to, Vector v) {
      v += load(to);
      std::memcpy(to, &v, sizeof v);
    };
    (add(sums + kUnit * kLanes, lanes[kUnit]), ...);
  }

  In<T> gy;
  Out<T> gw;
  index_t m, columns;  // of gw, per group and row of R
  index_t row_tiles, column_tiles;
};

template <class T>
void grad_weight_of_shared_input(const ConvGeometry& g, const T* x, In<T> gy, Out<T> gw) {
  if (WeightGradient<T>::narrow(g) && NarrowWeightGradient<T>::serves(g)) {
    NarrowWeightGradient<T>(g, x, gy, gw).compute();
  } else {
    WeightGradient<T>(g, x, gy, gw).compute();
  }
}

}  // namespace

template <class T>
void conv2d_grad_weight(const ConvGeometry& g, In<T> x, In<T> gy, Out<T> gw) {
  if (g.n == 0 || g.p * g.q == 0) {
    for (std::int32_t r = 0; r < gw.count && !gw.accumulate; ++r) {
      std::fill_n(gw[r], g.weight_size(), T(0));
    }
    return;
  }
  if (x.stride == 0) {
    grad_weight_of_shared_input(g, x.base, gy, gw);
    return;
  }
  const int threads = worthwhile_threads(g.flops() * gw.count);
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (std::int32_t r = 0; r < gw.count; ++r) {
    grad_weight_of_shared_input(g, x[r], gy.one(r), gw.one(r));
  }
}

// Calls f(element of x, element of the weight, element of y) for every product of a convolution.
template <class F>
void each_product(const ConvGeometry& g, F f) {
  const index_t channels = g.c / g.groups, m = g.k / g.groups;
  for (index_t n = 0; n < g.n; ++n) {
    for (index_t k = 0; k < g.k; ++k) {
      for (index_t c = 0; c < channels; ++c) {
        for (index_t t = 0; t < g.r * g.s; ++t) {
          for (index_t i = 0; i < g.p * g.q; ++i) {
            const index_t h = i / g.q * g.stride_h + t / g.s * g.dilation_h - g.pad_h;
            const index_t w = i % g.q * g.stride_w + t % g.s * g.dilation_w - g.pad_w;
            if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;
            const index_t x = ((n * g.groups + k / m) * channels + c) * g.h * g.w + h * g.w + w;
            f(x, (k * channels + c) * g.r * g.s + t, (n * g.k + k) * g.p * g.q + i);
          }
        }
      }
    }
  }
}

template <class T>
void conv2d_forward_naive(const ConvGeometry& g, const T* x, const T* weight, const T* bias, T* y) {
  const Scratch<double> sum(g.n * g.y_size());
  for (index_t i = 0; i < g.n * g.y_size(); ++i) {
    sum.data()[i] = bias ? double(bias[i / (g.p * g.q) % g.k]) : 0;
  }
  each_product(g, [&](index_t i, index_t j, index_t o) {
    sum.data()[o] += double(x[i]) * double(weight[j]);
  });
  for (index_t i = 0; i < g.n * g.y_size(); ++i) y[i] = static_cast<T>(sum.data()[i]);
}

template <class T>
void conv2d_grad_input_naive(const ConvGeometry& g, const T* weight, In<T> gy, Out<T> gx) {
  const index_t size = g.n * g.x_size();
  const Scratch<double> sum(size);
  for (std::int32_t r = 0; r < gx.count; ++r) {
    for (index_t i = 0; i < size; ++i) sum.data()[i] = gx.accumulate ? double(gx[r][i]) : 0;
    each_product(g, [&](index_t i, index_t j, index_t o) {
      sum.data()[i] += double(gy[r][o]) * double(weight[j]);
    });
    for (index_t i = 0; i < size; ++i) gx[r][i] = static_cast<T>(sum.data()[i]);
  }
}

template <class T>
void conv2d_grad_weight_naive(const ConvGeometry& g, In<T> x, In<T> gy, Out<T> gw) {
  const index_t size = g.weight_size();
  const Scratch<double> sum(size);
  for (std::int32_t r = 0; r < gw.count; ++r) {
    for (index_t i = 0; i < size; ++i) sum.data()[i] = gw.accumulate ? double(gw[r][i]) : 0;
    each_product(g, [&](index_t i, index_t j, index_t o) {
      sum.data()[j] += double(gy[r][o]) * double(x[r][i]);
    });
    for (index_t i = 0; i < size; ++i) gw[r][i] = static_cast<T>(sum.data()[i]);
  }
}

CONCORD_KERNEL_AND_NAIVE(conv2d_forward)
CONCORD_KERNEL_AND_NAIVE(conv2d_grad_input)
CONCORD_KERNEL_AND_NAIVE(conv2d_grad_weight)

}  // namespace concord::kernels::cpu
