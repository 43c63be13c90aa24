// Pictures of environments: a small raster with a few shapes, and what is made of it. PNG files are
// written by data/image.h from Canvas::image().
#pragma once

#include <concord/tensor/tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace concord::rl {

struct Colour {
  std::uint8_t r = 0, g = 0, b = 0;
  friend bool operator==(const Colour&, const Colour&) = default;
};

// The palette that environments share, so that pictures of different games look related.
inline constexpr Colour kPaper{250, 248, 243}, kInk{52, 56, 64}, kFaint{222, 218, 208},
    kGrey{140, 142, 148}, kRed{206, 66, 60}, kGreen{70, 150, 84}, kBlue{58, 104, 184},
    kYellow{230, 178, 50}, kPurple{134, 84, 168}, kOrange{226, 124, 48}, kTeal{44, 150, 160};

/// RGB pixels; x to the right, y downwards, in pixels. What lies outside is cut off.
class Canvas {
 public:
  Canvas(int width, int height, Colour background = kPaper);

  int width() const { return width_; }
  int height() const { return height_; }
  Colour at(int x, int y) const { return pixels_[static_cast<std::size_t>(y) * width_ + x]; }

  void pixel(int x, int y, Colour c) {
    if (x >= 0 && x < width_ && y >= 0 && y < height_)
      pixels_[static_cast<std::size_t>(y) * width_ + x] = c;
  }
  /// Pixels [x, x + width) x [y, y + height).
  void rectangle(int x, int y, int width, int height, Colour c);
  /// Pixels whose centre is within `radius` of (x, y).
  void disc(double x, double y, double radius, Colour c);
  /// Pixels within half of `thickness` of the segment.
  void line(double x0, double y0, double x1, double y1, double thickness, Colour c);
  /// An arrow head inside the square of `side` at (x, y); direction 0 right, 1 down, 2 left, 3 up.
  void arrow(int x, int y, int side, int direction, Colour c);

  Tensor image() const;             ///< u8 [3,H,W]
  Canvas scaled(int factor) const;  ///< every pixel as a square of that side
  /// For a terminal with 24-bit colours: two pixels per character, ANSI escapes, '\n' after each
  /// line. Every `every`-th pixel of each axis is shown.
  std::string ansi(int every = 1) const;

 private:
  int width_, height_;
  std::vector<Colour> pixels_;
};

/// An animated GIF (GIF89a) that repeats for ever; `centiseconds` per frame. The first 256 distinct
/// colours are kept exactly, later ones become the nearest of these. Throws ShapeError unless there
/// is a frame and all frames are of one size, at most 65535 pixels wide and high.
std::vector<std::byte> encode_gif(std::span<const Canvas> frames, int centiseconds);

}  // namespace concord::rl
