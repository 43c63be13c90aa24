// Multi-Fashion: two items in one image, the class of each a task. The construction of MultiMNIST
// (Sabour, Frosst, Hinton 2017, "Dynamic routing between capsules", section 6.1) as simplified by
// Sener and Koltun (2018, "Multi-task learning as multi-objective optimization", section 5.1): an
// item at the left-top, another at the right-bottom of a 36x36 canvas, pixel-wise maximum where
// they overlap.
#pragma once

#include <concord/data/dataset.h>

namespace concord::data {

struct MultiFashionOptions {
  index_t canvas = 36;
  /// First row and column of the right item. 8 puts it into the corner (rows and columns 8..35);
  /// the code of Sener and Koltun has 6 (rows and columns 6..33), a larger overlap.
  index_t right_offset = 8;
  /// Images per part; any number, see below.
  index_t train = 60000, validation = 5000, test = 10000;
  /// Base images set aside from the training part of each source for the validation part.
  index_t validation_base = 5000;
  std::uint64_t seed = 0;  ///< of the validation choice and of the pairing
  /// Defaults: those of all pixels of the default training part of fashion_sources(), in [0, 1].
  double mean = 0.3042, deviation = 0.3641;
};

/// The sources of the items: u8 [N,1,28,28] and one task each.
struct MultiFashionSources {
  ImageSetPtr left_train, left_test, right_train, right_test;
};

/// Pairs of base images, i64 [N,2] per part: which left and which right item made an image. Indices
/// count within the source's training part (train, validation) or test part (test).
struct MultiFashionPairs {
  Tensor train, validation, test;
};

/// Image k of a part has the left item k mod n of that part's n base images, the right item from a
/// random permutation, a new one every n images. No base image serves two parts: validation items
/// are chosen by seed (the same ones left and right when both sources have the same number of
/// images), test items are those of the test sources. Throws ValueError for sizes that cannot be
/// met.
MultiFashionPairs multi_fashion_pairs(const MultiFashionSources& sources,
                                      const MultiFashionOptions& options);

/// The data set: u8 [1,canvas,canvas] images, tasks "left" and "right". Throws ShapeError when a
/// source is not of single-channel images with one task, ValueError when the items do not fit the
/// canvas.
Splits multi_fashion(const MultiFashionSources& sources, const MultiFashionOptions& options = {});

/// Both items from Fashion-MNIST, in Debian's folder or another. Throws FileError as
/// load_fashion_mnist.
MultiFashionSources fashion_sources(const std::string& folder = "");

}  // namespace concord::data
