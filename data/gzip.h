// gzip (RFC 1952) in memory, through zlib.
#pragma once

#include <concord/data/files.h>

namespace concord::data {

/// Whether the bytes begin as a gzip file does.
bool is_gzip(Bytes bytes);

/// The content of a gzip file of one member. Throws FileError naming `name` when the stream is
/// damaged or ends early, when bytes follow it, or when the content has more than `limit` bytes.
std::vector<std::byte> gunzip(Bytes bytes, std::string_view name,
                              std::size_t limit = kMaxFileBytes);

}  // namespace concord::data
