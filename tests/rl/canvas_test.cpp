// Shapes on a canvas, and a GIF read back by a decoder of its own.
#include <concord/rl/canvas.h>
#include <concord/tensor/random.h>

#include <doctest/doctest.h>

#include <string>

using namespace concord;
using namespace concord::rl;

namespace {

/// The frames of a GIF with a global table, decoded by the book (GIF89a, appendix F).
std::vector<std::vector<Colour>> decode_gif(const std::vector<std::byte>& gif, int& width,
                                            int& height) {
  std::size_t at = 6;
  const auto byte = [&] {
    REQUIRE(at < gif.size());
    return static_cast<int>(gif[at++]);
  };
  const auto word = [&] {
    const int low = byte();
    return low | byte() << 8;
  };
  width = word();
  height = word();
  REQUIRE(byte() == 0xF7);
  at += 2;
  std::vector<Colour> table(256);
  for (Colour& c : table) {
    c.r = static_cast<std::uint8_t>(byte());
    c.g = static_cast<std::uint8_t>(byte());
    c.b = static_cast<std::uint8_t>(byte());
  }
  const auto blocks = [&] {
    std::vector<int> data;
    while (const int n = byte())
      for (int k = 0; k < n; ++k) data.push_back(byte());
    return data;
  };
  std::vector<std::vector<Colour>> frames;
  for (int kind = byte(); kind != 0x3B; kind = byte()) {
    if (kind == 0x21) {
      byte();
      blocks();
      continue;
    }
    REQUIRE(kind == 0x2C);
    at += 8;
    REQUIRE(byte() == 0);
    REQUIRE(byte() == 8);
    const std::vector<int> data = blocks();
    std::size_t bit = 0;
    int bits = 9;
    std::vector<std::vector<int>> strings;
    const auto restart = [&] {
      strings.clear();
      for (int k = 0; k < 258; ++k) strings.push_back({k});
      bits = 9;
    };
    restart();
    std::vector<int> pixels, previous;
    for (;;) {
      int code = 0;
      for (int k = 0; k < bits; ++k, ++bit) {
        REQUIRE(bit / 8 < data.size());
        code |= (data[bit / 8] >> bit % 8 & 1) << k;
      }
      if (code == 257) break;
      if (code == 256) {
        restart();
        previous.clear();
        continue;
      }
      std::vector<int> current;
      if (code < static_cast<int>(strings.size())) {
        current = strings[code];
      } else {
        REQUIRE(code == static_cast<int>(strings.size()));
        current = previous;
        current.push_back(previous[0]);
      }
      pixels.insert(pixels.end(), current.begin(), current.end());
      if (!previous.empty() && strings.size() < 4096) {
        previous.push_back(current[0]);
        strings.push_back(previous);
        if (strings.size() == 1U << bits && bits < 12) ++bits;
      }
      previous = current;
    }
    std::vector<Colour>& frame = frames.emplace_back();
    for (const int p : pixels) frame.push_back(table[p]);
  }
  CHECK(at == gif.size());
  return frames;
}

}  // namespace

TEST_CASE("gif: what is written is read back, for flat and for noisy frames") {
  std::vector<Canvas> frames;
  const Rng rng(3);
  for (const auto& [width, height, colours] : {std::tuple{1, 1, 1}, {7, 5, 3}, {131, 97, 200}}) {
    frames.clear();
    for (int f = 0; f < 3; ++f) {
      Canvas& canvas = frames.emplace_back(width, height);
      for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
          const auto c = static_cast<std::uint8_t>(
              rng.below(static_cast<std::uint64_t>((f * height + y) * width + x), colours));
          canvas.pixel(x, y, {c, static_cast<std::uint8_t>(255 - c), 7});
        }
      canvas.rectangle(0, 0, width / 2, height, kRed);
    }
    int w = 0, h = 0;
    const auto decoded = decode_gif(encode_gif(frames, 8), w, h);
    REQUIRE(w == width);
    REQUIRE(h == height);
    REQUIRE(decoded.size() == 3);
    for (int f = 0; f < 3; ++f) {
      REQUIRE(decoded[f].size() == static_cast<std::size_t>(width * height));
      bool equal = true;
      for (int k = 0; k < width * height; ++k)
        equal = equal && decoded[f][k] == frames[f].at(k % width, k / width);
      CHECK(equal);
    }
  }
  CHECK_THROWS_AS(encode_gif({}, 8), ShapeError);
  frames.emplace_back(3, 3);
  CHECK_THROWS_AS(encode_gif(frames, 8), ShapeError);
}

TEST_CASE("gif: the 257th colour becomes the nearest") {
  Canvas canvas(257, 1);
  for (int x = 0; x < 256; ++x) canvas.pixel(x, 0, {static_cast<std::uint8_t>(x), 0, 0});
  canvas.pixel(256, 0, {9, 1, 0});
  int w = 0, h = 0;
  const auto frames = decode_gif(encode_gif(std::vector<Canvas>{canvas}, 1), w, h);
  CHECK(frames[0][255] == Colour{255, 0, 0});
  CHECK(frames[0][256] == Colour{9, 0, 0});
}

TEST_CASE("canvas: shapes are cut at the edges and land where they should") {
  Canvas canvas(9, 7, kPaper);
  canvas.rectangle(-2, -2, 4, 4, kRed);
  CHECK(canvas.at(1, 1) == kRed);
  CHECK(canvas.at(2, 1) == kPaper);
  canvas.disc(6.5, 3.5, 1.1, kBlue);
  CHECK(canvas.at(6, 3) == kBlue);
  CHECK(canvas.at(7, 3) == kBlue);
  CHECK(canvas.at(7, 4) == kPaper);
  canvas.line(0, 6.5, 9, 6.5, 1, kGreen);
  for (int x = 0; x < 9; ++x) CHECK(canvas.at(x, 6) == kGreen);
  const Canvas large = canvas.scaled(3);
  CHECK(large.width() == 27);
  CHECK(large.at(20, 11) == kBlue);
  const Tensor image = canvas.image();
  CHECK(image.shape() == Shape{3, 7, 9});
  CHECK(image.at({2, 3, 6}) == kBlue.b);
  CHECK(Canvas(1, 3, kRed).ansi() ==
        "\x1b[38;2;206;66;60m\x1b[48;2;206;66;60m\u2580\x1b[0m\n"
        "\x1b[38;2;206;66;60m\x1b[49m\u2580\x1b[0m\n");
  // An arrow is broad behind and narrow at its tip.
  for (int direction = 0; direction < 4; ++direction) {
    Canvas tile(8, 8);
    tile.arrow(0, 0, 8, direction, kInk);
    const auto width_at = [&](int along) {
      int n = 0;
      for (int across = 0; across < 8; ++across) {
        const bool horizontal = direction % 2 == 0;
        n += tile.at(horizontal ? along : across, horizontal ? across : along) == kInk;
      }
      return n;
    };
    const bool forward = direction < 2;
    CHECK(width_at(forward ? 1 : 6) == 6);
    CHECK(width_at(forward ? 4 : 3) < 4);
  }
}
