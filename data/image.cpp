#include <concord/data/image.h>

#include <fmt/format.h>

#define STBI_NO_STDIO
#include <stb/stb_image.h>
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

#include <memory>
#include <new>

namespace concord::data {
namespace {

/// Walks the segments of a JPEG (ITU-T T.81, annex B) and throws for what the decoder would not
/// notice: a missing end-of-image marker, which it makes up for with grey, and Huffman tables that
/// overrun its own (a table has at most 255 codes here; the standard's largest has 176).
void check_jpeg(Bytes bytes, std::string_view name) {
  const auto at = [&](std::size_t i) { return std::to_integer<std::size_t>(bytes[i]); };
  std::size_t i = 0;
  while (i + 1 < bytes.size()) {
    const std::size_t marker = at(i + 1);
    if (at(i) != 0xff || marker == 0xff) {
      ++i;  // coded data, fill bytes
      continue;
    }
    if (marker == 0xd9) return;
    // A stuffed zero, a temporary mark, restarts and the start of the image stand alone.
    if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      i += 2;
      continue;
    }
    const std::size_t length = i + 3 < bytes.size() ? at(i + 2) << 8 | at(i + 3) : 0,
                      end = i + 2 + length;
    if (length < 2 || end > bytes.size())
      throw_damaged("image", name, i, "JPEG segment is cut short");
    if (marker == 0xc4) {
      // Tables of one byte (class and number), 16 counts of codes by length, and that many symbols.
      for (std::size_t table = i + 4; table < end;) {
        std::size_t codes = 0;
        for (std::size_t k = 1; k <= 16 && table + k < end; ++k) codes += at(table + k);
        if (codes > 255 || table + 17 + codes > end) {
          throw_damaged("image", name, table,
                        "JPEG Huffman table is larger than its segment or 255 codes");
        }
        table += 17 + codes;
      }
    }
    i = end;
  }
  throw_damaged("image", name, bytes.size(), "JPEG ends before its end-of-image marker");
}

}  // namespace

Tensor decode_image(Bytes bytes, std::string_view name, int channels) {
  if (channels < 0 || channels == 2 || channels > 4) {
    throw ValueError(
        fmt::format("image: {} channels, expected 0 (as stored), 1, 3 or 4", channels));
  }
  if (bytes.size() > kMaxImageBytes) {
    throw_damaged(
        "image", name, kMaxImageBytes,
        fmt::format("has {} bytes, at most {} are accepted", bytes.size(), kMaxImageBytes));
  }
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  if (size > 0 && data[0] == 0xff) check_jpeg(bytes, name);
  int width = 0, height = 0, stored = 0;
  if (size == 0 || !stbi_info_from_memory(data, size, &width, &height, &stored)) {
    throw_damaged("image", name, 0,
                  fmt::format("not a JPEG or PNG with sides up to {}", kMaxImageSide));
  }
  // Deflate expands at most 1032-fold, and a byte holds eight pixels at most; JPEG stays below
  // that.
  if (static_cast<std::size_t>(width) * static_cast<std::size_t>(height) >
      8 * 1032 * bytes.size()) {
    throw_damaged("image", name, 0,
                  fmt::format("declares {}x{} pixels, too many for {} bytes", width, height, size));
  }
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(data, size, &width, &height, &stored, channels), &stbi_image_free);
  if (!pixels)
    throw_damaged("image", name, 0, fmt::format("cannot be decoded ({})", stbi_failure_reason()));

  const index_t c_count = channels ? channels : stored, plane = index_t{width} * height;
  const Tensor image = Tensor::empty({c_count, height, width}, DType::u8);
  for (index_t c = 0; c < c_count; ++c) {
    std::uint8_t* out = image.data<std::uint8_t>() + c * plane;
    for (index_t i = 0; i < plane; ++i) out[i] = pixels.get()[i * c_count + c];
  }
  return image;
}

Tensor load_image(const std::filesystem::path& path, int channels) {
  return decode_image(read_file(path, kMaxImageBytes), path.string(), channels);
}

std::vector<std::byte> encode_png(const Tensor& image) {
  check_rank("png", "image", image, 3);
  check_dtype("png", "image", image, DType::u8);
  const index_t channels = image.dim(0), height = image.dim(1), width = image.dim(2),
                plane = height * width;
  if (channels < 1 || channels > 4 || height < 1 || width < 1 || height > kMaxImageSide ||
      width > kMaxImageSide) {
    throw ShapeError(fmt::format("png: image is {}, expected 1 to 4 channels and sides of 1 to {}",
                                 to_string(image.shape()), kMaxImageSide),
                     {{"image", describe(image)}});
  }
  std::vector<std::uint8_t> interleaved(static_cast<std::size_t>(image.numel()));
  for (index_t c = 0; c < channels; ++c) {
    for (index_t i = 0; i < plane; ++i)
      interleaved[i * channels + c] = image.data<std::uint8_t>()[c * plane + i];
  }
  std::vector<std::byte> png;
  const auto append = [](void* to, void* data, int size) {
    const auto* first = static_cast<const std::byte*>(data);
    static_cast<std::vector<std::byte>*>(to)->insert(
        static_cast<std::vector<std::byte>*>(to)->end(), first, first + size);
  };
  if (!stbi_write_png_to_func(append, &png, static_cast<int>(width), static_cast<int>(height),
                              static_cast<int>(channels), interleaved.data(),
                              static_cast<int>(width * channels))) {
    throw std::bad_alloc();
  }
  return png;
}

void save_png(const std::filesystem::path& path, const Tensor& image) {
  write_file(path, encode_png(image));
}

}  // namespace concord::data
