#include <concord/data/idx.h>
#include <concord/data/mnist.h>

#include <fmt/format.h>

namespace concord::data {
namespace {

namespace fs = std::filesystem;

/// `stem` or `stem`.gz in `folder`.
fs::path find(const fs::path& folder, const std::string& stem, std::string_view hint) {
  for (const char* ending : {"", ".gz"}) {
    if (fs::path path = folder / (stem + ending); fs::exists(path)) return path;
  }
  throw FileError(fmt::format("mnist: {} is missing, plain and with .gz", stem),
                  {{"folder", folder.string()}, {"hint", std::string(hint)}});
}

ImageSetPtr load(const fs::path& folder, Part part, Normalisation normalisation,
                 std::string_view hint) {
  const std::string stem = part == Part::train ? "train" : "t10k";
  const fs::path image_file = find(folder, stem + "-images-idx3-ubyte", hint);
  const fs::path label_file = find(folder, stem + "-labels-idx1-ubyte", hint);
  const Tensor images = load_idx(image_file, 3), bytes = load_idx(label_file, 1);
  if (images.dim(1) != 28 || images.dim(2) != 28) {
    throw_damaged("mnist", image_file.string(), 8,
                  fmt::format("images are {}x{}, expected 28x28", images.dim(1), images.dim(2)));
  }
  if (images.dim(0) != bytes.dim(0)) {
    throw_damaged(
        "mnist", label_file.string(), 4,
        fmt::format("{} labels, expected {} as there are images", bytes.dim(0), images.dim(0)));
  }
  const auto labels = bytes.values<std::uint8_t>();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 9) {
      throw_damaged("mnist", label_file.string(), 8 + i,
                    fmt::format("label {} is {}, expected 0 to 9", i, labels[i]));
    }
  }
  return std::make_shared<ImageSet>(
      images.view({-1, 1, 28, 28}), bytes.to(DType::i64).view({1, -1}),
      std::vector<Target>{{"class", 10, {}}}, std::move(normalisation));
}

}  // namespace

ImageSetPtr load_mnist(const fs::path& folder, Part part) {
  return load(folder, part, {{kMnistMean}, {kMnistDeviation}},
              "the four IDX files of MNIST belong there");
}

ImageSetPtr load_fashion_mnist(Part part, const fs::path& folder) {
  return load(folder, part, {{kFashionMnistMean}, {kFashionMnistDeviation}},
              "Debian: apt-get install dataset-fashion-mnist");
}

}  // namespace concord::data
