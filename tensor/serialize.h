// safetensors: named tensors in one file, as PyTorch and torchvision users exchange weights. Used
// for weights, checkpoints and the goldens of the tests.
//
//   8 bytes   length H of the header, little-endian
//   H bytes   JSON {"name": {"dtype": "F32", "shape": [2,3], "data_offsets": [begin, end]}, ...,
//                   "__metadata__": {"key": "text", ...}}, padded with spaces
//   the rest  the values, row-major, little-endian; offsets count from here
//
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <concord/tensor/tensor.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace concord {

/// What a safetensors file holds. Element types: F32, F64, I64, U8, BF16.
struct TensorFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads a whole file. The file is taken as hostile: a header that is too long, damaged JSON,
/// double names, unknown element types, shapes that do not fit their bytes, overlaps, gaps,
/// truncation and trailing bytes each throw FileError with the file, the offset and what was
/// expected there. Nothing is returned unless all of it is good.
TensorFile load_safetensors(const std::filesystem::path& path);

/// The same from memory. `file` is the name that errors show.
TensorFile parse_safetensors(std::span<const std::byte> bytes, std::string_view file = "(memory)");

/// Writes to a temporary file in the same folder, fsyncs it, renames it over `path` and fsyncs the
/// folder: after a crash `path` holds either the old or the new content, whole. Throws FileError
/// with the system's reason, ValueError for a name that JSON or the format cannot hold.
void save_safetensors(const std::filesystem::path& path, const TensorFile& file);

}  // namespace concord
