#include <concord/data/transforms.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace concord::data {
namespace {

void check_image(std::string_view op, const Tensor& image) {
  check_rank(op, "image", image, 3);
  check_dtype(op, "image", image, DType::f32);
}

void check_size(std::string_view op, index_t height, index_t width) {
  if (height < 1 || width < 1) {
    throw ValueError(fmt::format("{}: size {}x{}, expected at least 1x1", op, height, width));
  }
}

/// Which source pixels make output pixel i of one axis, and how much of each.
struct Taps {
  std::vector<index_t> first;  // per output pixel
  std::vector<float> weights;  // [outputs, count]
  index_t count = 0;
};

/// A triangle of half-width `support` source pixels about the source position of each output
/// centre, cut at the borders and made to sum to one (which for support 1 is bilinear with repeated
/// borders).
Taps triangle_taps(index_t in, index_t out, bool antialiased) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = antialiased ? std::max(1.0, scale) : 1.0;
  Taps taps;
  taps.count = std::min(in, 2 * static_cast<index_t>(std::ceil(support)) + 1);
  for (index_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale - 0.5;
    const index_t lowest = static_cast<index_t>(std::ceil(centre - support));
    const index_t first = std::clamp<index_t>(lowest, 0, in - taps.count);
    std::vector<double> w(static_cast<std::size_t>(taps.count));
    double sum = 0;
    for (index_t k = 0; k < taps.count; ++k) {
      w[k] = std::max(0.0, 1.0 - std::abs(static_cast<double>(first + k) - centre) / support);
      sum += w[k];
    }
    taps.first.push_back(first);
    for (const double x : w) taps.weights.push_back(static_cast<float>(x / sum));
  }
  return taps;
}

Tensor resize_nearest(const Tensor& image, index_t height, index_t width) {
  const index_t channels = image.dim(0), in_height = image.dim(1), in_width = image.dim(2);
  const Tensor out = Tensor::empty({channels, height, width});
  float* to = out.data<float>();
  for (index_t c = 0; c < channels; ++c) {
    for (index_t y = 0; y < height; ++y) {
      const float* row = image.data<float>() + (c * in_height + y * in_height / height) * in_width;
      for (index_t x = 0; x < width; ++x) *to++ = row[x * in_width / width];
    }
  }
  return out;
}

}  // namespace

Tensor normalise(const Tensor& image, std::span<const double> mean,
                 std::span<const double> deviation) {
  check_image("normalise", image);
  const index_t channels = image.dim(0), plane = image.dim(1) * image.dim(2);
  const auto fits = [&](auto v) {
    return v.size() == 1 || static_cast<index_t>(v.size()) == channels;
  };
  if (!fits(mean) || !fits(deviation)) {
    throw ValueError(fmt::format("normalise: {} means and {} deviations for {} channels",
                                 mean.size(), deviation.size(), channels));
  }
  const Tensor out = Tensor::empty_like(image);
  for (index_t c = 0; c < channels; ++c) {
    const auto m = static_cast<float>(mean[mean.size() == 1 ? 0 : c]);
    const auto scale = static_cast<float>(1 / deviation[deviation.size() == 1 ? 0 : c]);
    const float* from = image.data<float>() + c * plane;
    float* to = out.data<float>() + c * plane;
    for (index_t i = 0; i < plane; ++i) to[i] = (from[i] - m) * scale;
  }
  return out;
}

Tensor crop(const Tensor& image, index_t top, index_t left, index_t height, index_t width) {
  check_image("crop", image);
  check_size("crop", height, width);
  const index_t channels = image.dim(0), in_height = image.dim(1), in_width = image.dim(2);
  const Tensor out = Tensor::zeros({channels, height, width});
  const index_t first = std::clamp<index_t>(-left, 0, width),
                last = std::clamp(in_width - left, first, width);
  for (index_t c = 0; c < channels; ++c) {
    for (index_t y = std::max<index_t>(0, -top); y < std::min(height, in_height - top); ++y) {
      const float* from = image.data<float>() + (c * in_height + y + top) * in_width + left + first;
      std::copy_n(from, last - first, out.data<float>() + (c * height + y) * width + first);
    }
  }
  return out;
}

Tensor flip_horizontal(const Tensor& image) {
  check_image("flip_horizontal", image);
  const Tensor out = Tensor::empty_like(image);
  const index_t width = image.dim(2);
  for (index_t row = 0; row < image.dim(0) * image.dim(1); ++row) {
    const float* from = image.data<float>() + row * width;
    std::reverse_copy(from, from + width, out.data<float>() + row * width);
  }
  return out;
}

Tensor rotate(const Tensor& image, double degrees, Sampling sampling) {
  check_image("rotate", image);
  if (sampling == Sampling::antialiased)
    throw ValueError("rotate: sampling is antialiased, expected nearest or bilinear");
  const index_t channels = image.dim(0), height = image.dim(1), width = image.dim(2),
                plane = height * width;
  // Exact zeros at quarter turns keep pixels on pixels.
  const auto clean = [](double v) { return std::abs(v) < 1e-15 ? 0.0 : v; };
  const double angle = std::fmod(degrees, 360.0) * std::numbers::pi / 180;
  const double cosine = clean(std::cos(angle)), sine = clean(std::sin(angle));
  const double middle_y = static_cast<double>(height - 1) / 2,
               middle_x = static_cast<double>(width - 1) / 2;
  const Tensor out = Tensor::zeros(image.shape());
  const float* from = image.data<float>();
  float* to = out.data<float>();
  const auto inside = [&](index_t y, index_t x) {
    return y >= 0 && y < height && x >= 0 && x < width;
  };
  for (index_t y = 0; y < height; ++y) {
    for (index_t x = 0; x < width; ++x) {
      // Where this pixel was before the turn; y points down.
      const double dy = static_cast<double>(y) - middle_y, dx = static_cast<double>(x) - middle_x;
      const double v = dx * sine + dy * cosine + middle_y, u = dx * cosine - dy * sine + middle_x;
      if (sampling == Sampling::nearest) {
        const auto sy = static_cast<index_t>(std::floor(v + 0.5)),
                   sx = static_cast<index_t>(std::floor(u + 0.5));
        if (!inside(sy, sx)) continue;
        for (index_t c = 0; c < channels; ++c)
          to[c * plane + y * width + x] = from[c * plane + sy * width + sx];
        continue;
      }
      const auto y0 = static_cast<index_t>(std::floor(v)), x0 = static_cast<index_t>(std::floor(u));
      const double fy = v - static_cast<double>(y0), fx = u - static_cast<double>(x0);
      for (int corner = 0; corner < 4; ++corner) {
        const index_t sy = y0 + corner / 2, sx = x0 + corner % 2;
        if (!inside(sy, sx)) continue;
        const auto weight =
            static_cast<float>((corner / 2 ? fy : 1 - fy) * (corner % 2 ? fx : 1 - fx));
        for (index_t c = 0; c < channels; ++c)
          to[c * plane + y * width + x] += weight * from[c * plane + sy * width + sx];
      }
    }
  }
  return out;
}

Tensor resize(const Tensor& image, index_t height, index_t width, Sampling sampling) {
  check_image("resize", image);
  check_size("resize", height, width);
  check_size("resize", image.dim(1), image.dim(2));
  if (sampling == Sampling::nearest) return resize_nearest(image, height, width);
  const index_t channels = image.dim(0), in_height = image.dim(1), in_width = image.dim(2);
  // Rows first, then columns: the filter is a product.
  const Taps across = triangle_taps(in_width, width, sampling == Sampling::antialiased);
  const Taps down = triangle_taps(in_height, height, sampling == Sampling::antialiased);
  const Tensor narrow = Tensor::empty({channels, in_height, width});
  float* to = narrow.data<float>();
  for (index_t row = 0; row < channels * in_height; ++row) {
    const float* from = image.data<float>() + row * in_width;
    for (index_t x = 0; x < width; ++x) {
      float sum = 0;
      for (index_t k = 0; k < across.count; ++k)
        sum += across.weights[x * across.count + k] * from[across.first[x] + k];
      *to++ = sum;
    }
  }
  const Tensor out = Tensor::zeros({channels, height, width});
  for (index_t c = 0; c < channels; ++c) {
    for (index_t y = 0; y < height; ++y) {
      float* row = out.data<float>() + (c * height + y) * width;
      for (index_t k = 0; k < down.count; ++k) {
        const float weight = down.weights[y * down.count + k];
        const float* from = narrow.data<float>() + (c * in_height + down.first[y] + k) * width;
        for (index_t x = 0; x < width; ++x) row[x] += weight * from[x];
      }
    }
  }
  return out;
}

Tensor crop_and_resize(const Tensor& image, index_t height, index_t width, Sampling sampling) {
  check_image("crop_and_resize", image);
  check_size("crop_and_resize", height, width);
  check_size("crop_and_resize", image.dim(1), image.dim(2));
  const index_t in_height = image.dim(1), in_width = image.dim(2);
  const auto scaled = [](index_t extent, index_t to, index_t from) {  // rounded, at least one pixel
    return std::max<index_t>(1, (2 * extent * to + from) / (2 * from));
  };
  const index_t window_height = std::min(in_height, scaled(in_width, height, width));
  const index_t window_width = std::min(in_width, scaled(in_height, width, height));
  return resize(crop(image, (in_height - window_height) / 2, (in_width - window_width) / 2,
                     window_height, window_width),
                height, width, sampling);
}

Transform normalising(std::vector<double> mean, std::vector<double> deviation) {
  return [mean = std::move(mean), deviation = std::move(deviation)](
             const Tensor& image, const Rng&) { return normalise(image, mean, deviation); };
}

Transform resizing(index_t height, index_t width, Sampling sampling) {
  return [=](const Tensor& image, const Rng&) { return resize(image, height, width, sampling); };
}

Transform random_crop(index_t height, index_t width, index_t padding) {
  return [=](const Tensor& image, const Rng& rng) {
    check_image("random_crop", image);
    const index_t slack_y = image.dim(1) + 2 * padding - height,
                  slack_x = image.dim(2) + 2 * padding - width;
    if (padding < 0 || slack_y < 0 || slack_x < 0) {
      throw ShapeError(
          fmt::format("random_crop: window {}x{} exceeds the image with {} pixels of padding",
                      height, width, padding),
          {{"image", describe(image)}});
    }
    return crop(image, rng.below(0, slack_y + 1) - padding, rng.below(1, slack_x + 1) - padding,
                height, width);
  };
}

Transform random_flip(double probability) {
  return [=](const Tensor& image, const Rng& rng) {
    return rng.uniform(0) < probability ? flip_horizontal(image) : image;
  };
}

Transform random_rotation(double degrees) {
  return [=](const Tensor& image, const Rng& rng) {
    return rotate(image, degrees * (2 * rng.uniform(0) - 1));
  };
}

Transformed::Transformed(DatasetPtr base, std::vector<Transform> transforms)
    : base_(std::move(base)), transforms_(std::move(transforms)) {
  for (const Target& target : base_->targets()) {
    if (target.shape.rank() > 1) {
      throw ShapeError(fmt::format(
          "transformed: task '{}' has targets {}, which the transforms would leave behind",
          target.name, to_string(target.shape)));
    }
  }
  shape_ = apply(Tensor::zeros(base_->input_shape()), Rng()).shape();
}

Tensor Transformed::apply(Tensor image, const Rng& rng) const {
  const Rng draws = rng.fork("transforms");
  for (std::size_t k = 0; k < transforms_.size(); ++k) image = transforms_[k](image, draws.fork(k));
  return image;
}

void Transformed::read_input(index_t item, const Rng& rng, std::span<float> out) const {
  const Tensor image = Tensor::empty(base_->input_shape());
  base_->read_input(item, rng, image.values<float>());
  const Tensor result = apply(image, rng);
  check_shape("transformed", "image", result, shape_);
  std::copy_n(result.data<float>(), out.size(), out.begin());
}

ImageSetPtr rotated(const ImageSet& set, double degrees, Normalisation normalisation) {
  const Tensor images = Tensor::empty(set.images().shape(), DType::u8);
  for (index_t i = 0; i < set.size(); ++i) {
    const Tensor turned = rotate(set.images()[i].to(DType::f32), degrees);
    std::uint8_t* out = images[i].data<std::uint8_t>();
    for (index_t k = 0; k < turned.numel(); ++k) {
      out[k] = static_cast<std::uint8_t>(std::clamp(turned.data<float>()[k] + 0.5f, 0.0f, 255.0f));
    }
  }
  return std::make_shared<ImageSet>(images, set.labels(), set.targets(), std::move(normalisation));
}

}  // namespace concord::data
