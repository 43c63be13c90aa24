#include <concord/rl/canvas.h>

#include <algorithm>
#include <array>
#include <map>

namespace concord::rl {
namespace {

/// Variable-width codes of GIF's LZW, least significant bit first, in blocks of at most 255 bytes.
class CodeWriter {
 public:
  explicit CodeWriter(std::vector<std::byte>& out) : out_(out) {}
  void put(unsigned code, int width) {
    bits_ |= code << used_;
    for (used_ += width; used_ >= 8; used_ -= 8, bits_ >>= 8) byte(bits_ & 255);
  }
  void finish() {
    if (used_ > 0) byte(bits_ & 255);
    flush();
    out_.push_back(std::byte{0});
  }

 private:
  void byte(unsigned value) {
    block_.push_back(static_cast<std::byte>(value));
    if (block_.size() == 255) flush();
  }
  void flush() {
    if (block_.empty()) return;
    out_.push_back(static_cast<std::byte>(block_.size()));
    out_.insert(out_.end(), block_.begin(), block_.end());
    block_.clear();
  }

  std::vector<std::byte>& out_;
  std::vector<std::byte> block_;
  unsigned bits_ = 0;
  int used_ = 0;
};

/// Lempel-Ziv-Welch over bytes: a code stands for a string of pixels seen before; the table starts
/// anew when its 4096 codes are used up.
void compress(std::span<const std::uint8_t> pixels, std::vector<std::byte>& out) {
  constexpr int kClear = 256, kEnd = 257, kMostCodes = 4096;
  // next[code][pixel]: the code of the string `code` followed by `pixel`; 0: none yet.
  std::vector<std::array<std::uint16_t, 256>> next(kMostCodes);
  int codes = 0, width = 0;
  CodeWriter writer(out);
  const auto start = [&] {
    for (auto& row : next) row.fill(0);
    codes = kEnd + 1;
    width = 9;
  };
  start();
  writer.put(kClear, width);
  int current = pixels[0];
  for (const std::uint8_t pixel : pixels.subspan(1)) {
    if (const int longer = next[current][pixel]) {
      current = longer;
      continue;
    }
    writer.put(static_cast<unsigned>(current), width);
    if (codes == kMostCodes) {
      writer.put(kClear, width);
      start();
    } else {
      // The reader adds this string one code later than we do, hence > and not >=.
      next[current][pixel] = static_cast<std::uint16_t>(codes++);
      if (codes > 1 << width) ++width;
    }
    current = pixel;
  }
  writer.put(static_cast<unsigned>(current), width);
  // ... and one more by the time it reads the end.
  if (codes == 1 << width && width < 12) ++width;
  writer.put(kEnd, width);
  writer.finish();
}

class Palette {
 public:
  std::uint8_t index(Colour c) {
    const auto found = numbers_.find(key(c));
    if (found != numbers_.end()) return found->second;
    std::uint8_t number;
    if (colours_.size() < 256) {
      number = static_cast<std::uint8_t>(colours_.size());
      colours_.push_back(c);
    } else {
      number = nearest(c);
    }
    numbers_[key(c)] = number;
    return number;
  }
  const std::vector<Colour>& colours() const { return colours_; }

 private:
  static int key(Colour c) { return c.r << 16 | c.g << 8 | c.b; }
  std::uint8_t nearest(Colour c) const {
    const auto distance = [c](Colour o) {
      const int r = c.r - o.r, g = c.g - o.g, b = c.b - o.b;
      return r * r + g * g + b * b;
    };
    const auto best = std::min_element(colours_.begin(), colours_.end(), [&](Colour a, Colour b) {
      return distance(a) < distance(b);
    });
    return static_cast<std::uint8_t>(best - colours_.begin());
  }

  std::vector<Colour> colours_;
  std::map<int, std::uint8_t> numbers_;
};

}  // namespace

std::vector<std::byte> encode_gif(std::span<const Canvas> frames, int centiseconds) {
  if (frames.empty()) throw ShapeError("gif: no frames, expected at least one");
  const int width = frames[0].width(), height = frames[0].height();
  if (width < 1 || height < 1 || width > 65535 || height > 65535)
    throw ShapeError("gif: sides of " + std::to_string(width) + " and " + std::to_string(height) +
                     " pixels, expected 1 to 65535");
  Palette palette;
  std::vector<std::vector<std::uint8_t>> indexed;
  for (const Canvas& frame : frames) {
    if (frame.width() != width || frame.height() != height)
      throw ShapeError("gif: frames of different sizes, expected one size");
    std::vector<std::uint8_t>& pixels = indexed.emplace_back();
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) pixels.push_back(palette.index(frame.at(x, y)));
  }

  std::vector<std::byte> out;
  const auto bytes = [&](std::initializer_list<int> values) {
    for (const int v : values) out.push_back(static_cast<std::byte>(v));
  };
  const auto text = [&](std::string_view s) {
    for (const char c : s) out.push_back(static_cast<std::byte>(c));
  };
  const auto word = [&](int v) { bytes({v & 255, v >> 8}); };

  text("GIF89a");
  word(width);
  word(height);
  bytes({0xF7, 0, 0});  // a global table of 256 colours, 8 bits each
  for (std::size_t i = 0; i < 256; ++i) {
    const Colour c = i < palette.colours().size() ? palette.colours()[i] : Colour{};
    bytes({c.r, c.g, c.b});
  }
  bytes({0x21, 0xFF, 11});  // application extension: repeat for ever
  text("NETSCAPE2.0");
  bytes({3, 1, 0, 0, 0});
  for (const std::vector<std::uint8_t>& pixels : indexed) {
    bytes({0x21, 0xF9, 4, 0});  // graphic control: how long it stays
    word(centiseconds);
    bytes({0, 0});
    bytes({0x2C, 0, 0, 0, 0});  // image, at (0, 0)
    word(width);
    word(height);
    bytes({0, 8});  // no table of its own; codes start at 8 bits + 1
    compress(pixels, out);
  }
  bytes({0x3B});
  return out;
}

}  // namespace concord::rl
