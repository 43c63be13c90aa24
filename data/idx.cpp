#include <concord/data/gzip.h>
#include <concord/data/idx.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace concord::data {
namespace {

std::uint32_t big_endian(Bytes bytes, std::size_t offset) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value = value << 8 | std::to_integer<std::uint32_t>(bytes[offset + i]);
  return value;
}

}  // namespace

Tensor parse_idx(Bytes bytes, std::string_view name, int axes, std::size_t limit) {
  if (is_gzip(bytes)) return parse_idx(gunzip(bytes, name, limit), name, axes, limit);

  const std::size_t header = 4 + 4 * static_cast<std::size_t>(axes);
  const std::uint32_t expected =
      0x0800u + static_cast<std::uint32_t>(axes);  // type 0x08: unsigned byte
  if (bytes.size() >= 4 && big_endian(bytes, 0) != expected) {
    throw_damaged("idx", name, 0,
                  fmt::format("magic number is 0x{:08x}, expected 0x{:08x} ({} axes of bytes)",
                              big_endian(bytes, 0), expected, axes));
  }
  if (bytes.size() < header) {
    throw_damaged(
        "idx", name, bytes.size(),
        fmt::format("ends after {} bytes, expected a header of {}", bytes.size(), header));
  }
  std::array<index_t, kMaxRank> extents{};
  const std::size_t present = bytes.size() - header;
  std::size_t declared = 1;
  bool fits = true;
  for (int a = 0; a < axes; ++a) {
    extents[a] = big_endian(bytes, 4 + 4 * static_cast<std::size_t>(a));
    // Below 2^32 * 2^32 as long as it fits; after that only the verdict matters.
    fits = fits && declared <= std::max<std::size_t>(present, 1);
    if (fits) declared *= static_cast<std::size_t>(extents[a]);
  }
  const std::span<const index_t> shape(extents.data(), static_cast<std::size_t>(axes));
  if (!fits || declared != present) {
    throw_damaged("idx", name, fits ? header + std::min(declared, present) : bytes.size(),
                  fmt::format("has {} bytes of values, its header declares [{}]", present,
                              fmt::join(shape, ",")));
  }
  const Tensor values = Tensor::empty(Shape(shape), DType::u8);
  if (present > 0) std::memcpy(values.raw(), bytes.data() + header, present);
  return values;
}

Tensor load_idx(const std::filesystem::path& path, int axes) {
  return parse_idx(read_file(path), path.string(), axes);
}

}  // namespace concord::data
