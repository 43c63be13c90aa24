// JPEG and PNG in, PNG out, through stb_image.
#pragma once

#include <concord/data/files.h>
#include <concord/tensor/tensor.h>

namespace concord::data {

/// Longest side that is decoded.
inline constexpr int kMaxImageSide = 16384;
/// No buffer of the decoder exceeds this.
inline constexpr std::size_t kMaxImageBytes = std::size_t{1} << 28;

/// u8 [C,H,W]. channels: 1 grey, 3 RGB, 4 RGBA, or 0 for as many as the file has (1 to 4). 16-bit
/// images lose their lower byte. Throws FileError when the bytes are neither JPEG nor PNG, damaged,
/// cut short (also where the decoder would fill in grey), larger than the limits, or declare more
/// pixels than so few bytes can hold; ValueError for other channels.
Tensor decode_image(Bytes bytes, std::string_view name, int channels = 0);
Tensor load_image(const std::filesystem::path& path, int channels = 0);

/// image: u8 [C,H,W] with C of 1 to 4. Throws ShapeError or DTypeError otherwise.
std::vector<std::byte> encode_png(const Tensor& image);
void save_png(const std::filesystem::path& path, const Tensor& image);

}  // namespace concord::data
