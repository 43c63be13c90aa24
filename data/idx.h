// IDX, the format of the MNIST family: big-endian; bytes 0, 0, element type, number of axes; one
// u32 extent per axis; values in row-major order. (LeCun, Cortes, Burges, "The MNIST database".)
#pragma once

#include <concord/data/files.h>
#include <concord/tensor/tensor.h>

namespace concord::data {

/// An IDX file of unsigned bytes with exactly `axes` axes, as u8; gzip is recognised by its first
/// bytes. `name` is what errors call it. Throws FileError for anything else: another magic number,
/// a header or values cut short, bytes left over. No allocation precedes the comparison of the
/// declared extents with the bytes present.
Tensor parse_idx(Bytes bytes, std::string_view name, int axes, std::size_t limit = kMaxFileBytes);
Tensor load_idx(const std::filesystem::path& path, int axes);

}  // namespace concord::data
