#include <concord/data/image.h>

#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace {

// The decoder's only source of memory: what a damaged file asks for is bounded here.
void* limited_realloc(void* p, std::size_t bytes) {
  return bytes > concord::data::kMaxImageBytes ? nullptr : std::realloc(p, bytes);
}

}  // namespace

#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS concord::data::kMaxImageSide
#define STBI_MALLOC(bytes) limited_realloc(nullptr, bytes)
#define STBI_REALLOC(p, bytes) limited_realloc(p, bytes)
#define STBI_FREE(p) std::free(p)
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

namespace concord::data {
namespace {

/// Position of JPEG's end-of-image marker, or 0: the decoder itself fills a missing end with grey.
/// Segments are stepped over by their length; within coded data 0xff is followed by 0 or a restart
/// marker (ITU-T T.81, B.1.1).
std::size_t find_end_of_jpeg(Bytes bytes) {
  const auto at = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  std::size_t i = 2;
  while (i + 1 < bytes.size()) {
    if (at(i) != 0xff) {
      ++i;  // coded data
      continue;
    }
    const unsigned marker = at(i + 1);
    if (marker == 0xd9) return i;
    const bool alone = marker == 0 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd7);
    if (marker == 0xff)
      ++i;  // fill byte
    else if (alone)
      i += 2;
    else if (i + 3 < bytes.size())
      i += 2 + (at(i + 2) << 8 | at(i + 3));
    else
      return 0;
  }
  return 0;
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
  int width = 0, height = 0, stored = 0;
  if (size == 0 || !stbi_info_from_memory(data, size, &width, &height, &stored)) {
    throw_damaged("image", name, 0,
                  fmt::format("not a JPEG or PNG that can be decoded ({})",
                              size ? stbi_failure_reason() : "empty"));
  }
  // Deflate expands at most 1032-fold, and a byte holds eight pixels at most; JPEG stays below
  // that.
  if (static_cast<std::size_t>(width) * static_cast<std::size_t>(height) >
      8 * 1032 * bytes.size()) {
    throw_damaged("image", name, 0,
                  fmt::format("declares {}x{} pixels, too many for {} bytes", width, height, size));
  }
  if (data[0] == 0xff && find_end_of_jpeg(bytes) == 0) {
    throw_damaged("image", name, bytes.size(), "ends before its end-of-image marker");
  }
  const std::unique_ptr<stbi_uc, decltype(&std::free)> pixels(
      stbi_load_from_memory(data, size, &width, &height, &stored, channels), &std::free);
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
