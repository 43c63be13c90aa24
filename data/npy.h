// npy, NumPy's file of one array (NumPy enhancement proposal 1; format versions 1, 2 and 3).
#pragma once

#include <concord/data/files.h>
#include <concord/tensor/tensor.h>

namespace concord::data {

/// Element types <f4, <f8, <i8, |u1 as they are; <i4 becomes i64; |b1 becomes u8 of 0 and 1. Throws
/// FileError for another magic, version, type, byte order or Fortran order, for a header that is
/// cut short or no such dictionary, for more than six axes, and when the values are not exactly as
/// many bytes as the shape declares (compared before anything is allocated).
Tensor parse_npy(Bytes bytes, std::string_view name);
Tensor load_npy(const std::filesystem::path& path);

/// Version 1.0, C order; values begin at a multiple of 64 bytes.
std::vector<std::byte> to_npy(const Tensor& t);
void save_npy(const std::filesystem::path& path, const Tensor& t);

}  // namespace concord::data
