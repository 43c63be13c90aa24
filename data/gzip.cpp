#include <concord/data/gzip.h>

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>

namespace concord::data {

bool is_gzip(Bytes bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

std::vector<std::byte> gunzip(Bytes bytes, std::string_view name, std::size_t limit) {
  if (bytes.size() > kMaxFileBytes) {  // zlib counts input in 32 bits
    throw_damaged(
        "gzip", name, 0,
        fmt::format("has {} bytes, at most {} are accepted", bytes.size(), kMaxFileBytes));
  }
  struct Stream : z_stream {
    Stream() : z_stream{} {
      if (inflateInit2(this, 15 + 16) != Z_OK)
        throw std::bad_alloc();  // 15: largest window; 16: gzip only
    }
    ~Stream() { inflateEnd(this); }
  } z;
  z.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());

  // Grown as content arrives, never by what the file claims of its length.
  std::vector<std::byte> content(
      std::min(limit + 1, std::max<std::size_t>(4096, 2 * bytes.size())));
  std::size_t filled = 0;
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (filled == content.size()) content.resize(std::min(limit + 1, 2 * content.size()));
    const std::size_t room = content.size() - filled;
    z.next_out = reinterpret_cast<Bytef*>(content.data() + filled);
    z.avail_out = static_cast<uInt>(std::min<std::size_t>(room, 1u << 30));
    const std::size_t asked = z.avail_out;
    status = inflate(&z, Z_NO_FLUSH);
    filled += asked - z.avail_out;
    const std::size_t offset = bytes.size() - z.avail_in;
    if (filled > limit)
      throw_damaged("gzip", name, offset, fmt::format("content exceeds {} bytes", limit));
    if (status == Z_BUF_ERROR || (status == Z_OK && z.avail_in == 0 && z.avail_out > 0)) {
      throw_damaged("gzip", name, offset, "ends within the compressed stream");
    }
    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    if (status != Z_OK && status != Z_STREAM_END) {
      throw_damaged("gzip", name, offset,
                    fmt::format("damaged stream ({})", z.msg ? z.msg : "preset dictionary"));
    }
  }
  if (z.avail_in > 0) {
    throw_damaged("gzip", name, bytes.size() - z.avail_in,
                  fmt::format("{} bytes follow the stream, expected its end", z.avail_in));
  }
  content.resize(filled);
  return content;
}

}  // namespace concord::data
