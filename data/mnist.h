// MNIST (LeCun, Cortes, Burges 1998) and Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 28x28 grey
// images, ten classes, 60,000 to train and 10,000 to test, as four IDX files.
#pragma once

#include <concord/data/dataset.h>

#include <array>
#include <filesystem>

namespace concord::data {

/// Where Debian's package dataset-fashion-mnist puts its files.
inline constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";

inline constexpr std::array<const char*, 10> kFashionMnistClasses{
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal",  "shirt",   "sneaker",  "bag",   "ankle-boot"};

/// Mean and standard deviation of all pixels of the training part, in [0, 1].
inline constexpr double kMnistMean = 0.1307, kMnistDeviation = 0.3081;
inline constexpr double kFashionMnistMean = 0.2860, kFashionMnistDeviation = 0.3530;

/// One task, "class". Files {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or with .gz. Throws
/// FileError when one is missing (the text says where Fashion-MNIST comes from), damaged, not
/// 28x28, has a label above 9, or when there are not as many labels as images.
ImageSetPtr load_mnist(const std::filesystem::path& folder, Part part);
ImageSetPtr load_fashion_mnist(Part part,
                               const std::filesystem::path& folder = kFashionMnistFolder);

}  // namespace concord::data
