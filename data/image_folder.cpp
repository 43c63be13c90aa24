#include <concord/data/image.h>
#include <concord/data/image_folder.h>
#include <concord/data/transforms.h>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace concord::data {
namespace {

namespace fs = std::filesystem;

bool is_image(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return path.filename().string()[0] != '.' &&
         (ending == ".jpg" || ending == ".jpeg" || ending == ".png");
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder, code)) entries.push_back(entry.path());
  if (code)
    throw FileError("image folder: cannot be read: " + code.message(),
                    {{"folder", folder.string()}});
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace

ImageFolder::ImageFolder(const fs::path& folder, ImageFolderOptions options)
    : options_(std::move(options)) {
  if ((options_.channels != 1 && options_.channels != 3) || options_.height < 1 ||
      options_.width < 1) {
    throw ValueError(
        fmt::format("image folder: {} channels of {}x{}, expected 1 or 3 and at least 1x1",
                    options_.channels, options_.height, options_.width));
  }
  scale_ = channel_scale("image folder", options_.normalisation, options_.channels);
  for (const fs::path& entry : sorted_entries(folder)) {
    if (!fs::is_directory(entry) || entry.filename().string()[0] == '.') continue;
    const std::size_t before = files_.size();
    for (const fs::path& file : sorted_entries(entry)) {
      if (is_image(file)) files_.push_back(file);
    }
    if (files_.size() == before) {
      throw FileError("image folder: class has no .jpg, .jpeg or .png file",
                      {{"folder", entry.string()}});
    }
    labels_.resize(files_.size(), static_cast<std::int64_t>(classes_.size()));
    classes_.push_back(entry.filename().string());
  }
  if (classes_.empty()) {
    throw FileError("image folder: has no folders, expected one per class",
                    {{"folder", folder.string()}});
  }
  targets_ = {{"class", static_cast<int>(classes_.size()), {}}};
}

void ImageFolder::read_input(index_t item, const Rng&, std::span<float> out) const {
  const Tensor image = load_image(files_[item], options_.channels).to(DType::f32);
  const Tensor fitted = crop_and_resize(image, options_.height, options_.width);
  const float* in = fitted.data<float>();
  const index_t plane = options_.height * options_.width;
  for (index_t c = 0; c < options_.channels; ++c) {
    for (index_t i = c * plane; i < (c + 1) * plane; ++i)
      out[i] = in[i] * scale_.scale[c] + scale_.shift[c];
  }
}

void ImageFolder::read_labels(index_t item, int, const Rng&, std::span<std::int64_t> out) const {
  out[0] = labels_[item];
}

}  // namespace concord::data
