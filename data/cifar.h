// CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning multiple layers of features from tiny
// images"), the binary version: records of one label byte (CIFAR-100: coarse, then fine) and
// 3x32x32 pixel bytes.
#pragma once

#include <concord/data/dataset.h>
#include <concord/data/files.h>

namespace concord::data {

enum class Cifar { ten, hundred };

/// u8 [N,3,32,32] and i64 [T,N]; T is 1 (class) or 2 (fine, coarse).
struct CifarRecords {
  Tensor images, labels;
};

/// Throws FileError when the file is no whole number of records or a label is out of range.
CifarRecords parse_cifar(Bytes bytes, std::string_view name, Cifar kind);

/// Task "class", from data_batch_1.bin ... data_batch_5.bin or test_batch.bin.
ImageSetPtr load_cifar10(const std::filesystem::path& folder, Part part);
/// Tasks "fine" (100 classes) and "coarse" (20 superclasses), from train.bin or test.bin.
ImageSetPtr load_cifar100(const std::filesystem::path& folder, Part part);

}  // namespace concord::data
