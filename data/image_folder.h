// ImageFolder: one folder per class, any JPEG or PNG files in it.
#pragma once

#include <concord/data/dataset.h>

#include <filesystem>

namespace concord::data {

struct ImageFolderOptions {
  index_t height = 64, width = 64;  ///< the middle of each image, shrunk or enlarged to this
  int channels = 3;                 ///< 1 or 3
  Normalisation normalisation;
};

/// Classes are the names of the folders in byte order; items are ordered by class, then by file
/// name. Hidden files and other endings than .jpg, .jpeg, .png (any case) are passed over. Files
/// are decoded when they are read, by as many threads as read: only their names are kept.
class ImageFolder final : public Dataset {
 public:
  /// One task, "class". Throws FileError when the folder is missing or a class has no image,
  /// ValueError for other channels or a bad size.
  explicit ImageFolder(const std::filesystem::path& folder, ImageFolderOptions options = {});

  index_t size() const override { return static_cast<index_t>(files_.size()); }
  Shape input_shape() const override {
    return {options_.channels, options_.height, options_.width};
  }
  const std::vector<Target>& targets() const override { return targets_; }
  void read_input(index_t item, const Rng& rng, std::span<float> out) const override;
  void read_labels(index_t item, int task, const Rng& rng,
                   std::span<std::int64_t> out) const override;

  const std::vector<std::string>& classes() const { return classes_; }
  const std::filesystem::path& file(index_t item) const { return files_.at(item); }

 private:
  ImageFolderOptions options_;
  ChannelScale scale_;
  std::vector<std::string> classes_;
  std::vector<std::filesystem::path> files_;
  std::vector<std::int64_t> labels_;
  std::vector<Target> targets_;
};

}  // namespace concord::data
