// Whole files in and out, and the one form of a FileError.
#pragma once

#include <concord/tensor/check.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace concord::data {

using Bytes = std::span<const std::byte>;

/// No reader of this room takes or makes more than this from one file.
inline constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;

/// The whole file. Throws FileError when it is missing, no plain file, unreadable or above `limit`.
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::size_t limit = kMaxFileBytes);
/// Writes beside the target, then renames: a reader sees the old file or the whole new one.
void write_file(const std::filesystem::path& path, Bytes bytes);

/// Throws FileError "<format>: <last part of name>: <what>" with the fields file and offset
/// (bytes).
[[noreturn]] void throw_damaged(std::string_view format, std::string_view name, std::size_t offset,
                                std::string_view what);

}  // namespace concord::data
