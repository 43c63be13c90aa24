#include <concord/rl/canvas.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::rl {

Canvas::Canvas(int width, int height, Colour background)
    : width_(width),
      height_(height),
      pixels_(static_cast<std::size_t>(width) * height, background) {}

void Canvas::rectangle(int x, int y, int width, int height, Colour c) {
  for (int j = y; j < y + height; ++j)
    for (int i = x; i < x + width; ++i) pixel(i, j, c);
}

void Canvas::disc(double x, double y, double radius, Colour c) { line(x, y, x, y, 2 * radius, c); }

void Canvas::line(double x0, double y0, double x1, double y1, double thickness, Colour c) {
  const double r = thickness / 2, dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy;
  for (int j = static_cast<int>(std::min(y0, y1) - r) - 1; j <= std::max(y0, y1) + r; ++j) {
    for (int i = static_cast<int>(std::min(x0, x1) - r) - 1; i <= std::max(x0, x1) + r; ++i) {
      const double px = i + 0.5 - x0, py = j + 0.5 - y0;
      const double t = length2 > 0 ? std::clamp((px * dx + py * dy) / length2, 0.0, 1.0) : 0;
      if (std::hypot(px - t * dx, py - t * dy) <= r) pixel(i, j, c);
    }
  }
}

void Canvas::arrow(int x, int y, int side, int direction, Colour c) {
  for (int along = 1; along < side - 1; ++along) {
    const int half = (side - 1 - along) / 2;  // the base is broad, the tip narrow
    for (int across = side / 2 - half; across < side - side / 2 + half; ++across) {
      const int back = side - 1 - along;
      switch (direction) {
        case 0:
          pixel(x + along, y + across, c);
          break;
        case 1:
          pixel(x + across, y + along, c);
          break;
        case 2:
          pixel(x + back, y + across, c);
          break;
        default:
          pixel(x + across, y + back, c);
      }
    }
  }
}

Tensor Canvas::image() const {
  const Tensor t = Tensor::empty({3, height_, width_}, DType::u8);
  std::uint8_t* out = t.data<std::uint8_t>();
  const std::size_t plane = pixels_.size();
  for (std::size_t i = 0; i < plane; ++i) {
    out[i] = pixels_[i].r;
    out[plane + i] = pixels_[i].g;
    out[2 * plane + i] = pixels_[i].b;
  }
  return t;
}

Canvas Canvas::scaled(int factor) const {
  Canvas large(width_ * factor, height_ * factor);
  for (int y = 0; y < large.height_; ++y)
    for (int x = 0; x < large.width_; ++x) large.pixel(x, y, at(x / factor, y / factor));
  return large;
}

std::string Canvas::ansi(int every) const {
  std::string text;
  const auto colour = [&](int kind, Colour c) {
    text += fmt::format("\x1b[{};2;{};{};{}m", kind, c.r, c.g, c.b);
  };
  for (int y = 0; y < height_; y += 2 * every) {
    for (int x = 0; x < width_; x += every) {
      colour(38, at(x, y));
      if (y + every < height_) {
        colour(48, at(x, y + every));
      } else {
        text += "\x1b[49m";
      }
      text += "\u2580";  // the upper half of the character
    }
    text += "\x1b[0m\n";
  }
  return text;
}

}  // namespace concord::rl
