// The data sets by name, for the command line. A new one is one line in registry.cpp.
#pragma once

#include <concord/data/dataset.h>

#include <string_view>

namespace concord::data {

struct OpenOptions {
  std::string path;  ///< folder or file; empty: the default of the data set, if it has one
  index_t train =
      -1;  ///< at most this many training items (Multi-*: exactly); -1: all, the default
  index_t validation = 5000;  ///< items held out from the training part
  index_t test = -1;          ///< as `train`
  std::uint64_t seed = 0;     ///< of split, pairing and generation
  index_t image_side = 64;    ///< image_folder: images are made this high and wide
};

struct DatasetEntry {
  std::string_view name;
  std::string_view help;    ///< one line
  std::string_view source;  ///< where it is described
  std::string_view needs;   ///< the files or the package; empty for generated data
  Splits (*open)(const OpenOptions& options);
};

/// All of them, in the order in which they are listed.
std::span<const DatasetEntry> datasets();
/// Throws ValueError with the nearest valid names.
const DatasetEntry& find_dataset(std::string_view name);

}  // namespace concord::data
