// Transforms of images, f32 [C,H,W] -> f32 [C,H',W']. The functions do what they say; a pipeline is
// made of Transforms, whose random ones draw from the Rng of the item: what happens to item i in
// epoch e depends on seed, e and i only.
#pragma once

#include <concord/data/dataset.h>

#include <functional>

namespace concord::data {

enum class Sampling {
  nearest,     ///< the source pixel in which the centre falls
  bilinear,    ///< between the four nearest pixel centres
  antialiased  ///< bilinear when enlarging; a triangle over all covered pixels when shrinking
               ///< (resize only)
};

/// (value - mean[c]) / deviation[c]; one entry serves all channels. Throws ValueError for other
/// counts.
Tensor normalise(const Tensor& image, std::span<const double> mean,
                 std::span<const double> deviation);
/// The window of height x width whose first pixel is (top, left), which may be outside: zeros
/// there.
Tensor crop(const Tensor& image, index_t top, index_t left, index_t height, index_t width);
/// Left and right exchanged.
Tensor flip_horizontal(const Tensor& image);
/// Turned counter-clockwise about the centre, same size; zeros where nothing was. Not
/// `antialiased`.
Tensor rotate(const Tensor& image, double degrees, Sampling sampling = Sampling::bilinear);
/// Pixel centres at half integers, borders repeated (PyTorch's align_corners=False). `nearest`
/// takes source pixel floor(i * in / out), as PyTorch does.
Tensor resize(const Tensor& image, index_t height, index_t width,
              Sampling sampling = Sampling::bilinear);
/// The largest window of the ratio height : width in the middle of the image, resized to that.
Tensor crop_and_resize(const Tensor& image, index_t height, index_t width,
                       Sampling sampling = Sampling::antialiased);

/// The shape of the result may depend on the shape of the image only.
using Transform = std::function<Tensor(const Tensor& image, const Rng& rng)>;

Transform normalising(std::vector<double> mean, std::vector<double> deviation);
Transform resizing(index_t height, index_t width, Sampling sampling = Sampling::bilinear);
/// A random height x width window of the image with `padding` zeros on each side. Zero is black
/// before normalisation and the mean after it.
Transform random_crop(index_t height, index_t width, index_t padding);
Transform random_flip(double probability = 0.5);
/// By an angle uniform in [-degrees, degrees].
Transform random_rotation(double degrees);

/// `base` with its images sent through the transforms, in order. Labels stay as they are, so tasks
/// with dense targets (masks, depth) are refused: ShapeError.
class Transformed final : public Dataset {
 public:
  Transformed(DatasetPtr base, std::vector<Transform> transforms);

  index_t size() const override { return base_->size(); }
  Shape input_shape() const override { return shape_; }
  const std::vector<Target>& targets() const override { return base_->targets(); }
  void read_input(index_t item, const Rng& rng, std::span<float> out) const override;
  void read_labels(index_t item, int task, const Rng& rng,
                   std::span<std::int64_t> out) const override {
    base_->read_labels(item, task, rng, out);
  }
  void read_values(index_t item, int task, const Rng& rng, std::span<float> out) const override {
    base_->read_values(item, task, rng, out);
  }

 private:
  Tensor apply(Tensor image, const Rng& rng) const;

  DatasetPtr base_;
  std::vector<Transform> transforms_;
  Shape shape_;
};

/// Every image of the set turned by one angle: the tasks "0 degrees", "45 degrees" ... of rotated
/// digits. `normalisation` is how the new set is read.
ImageSetPtr rotated(const ImageSet& set, double degrees, Normalisation normalisation = {});

}  // namespace concord::data
