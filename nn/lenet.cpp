#include <concord/nn/lenet.h>

#include <fmt/format.h>

namespace concord::nn {
namespace {

constexpr index_t kFeatures = 50;
constexpr index_t kChannels1 = 10, kChannels2 = 20;
constexpr index_t kSmallest = 16;  // what leaves one pixel behind the second pooling

/// Extent behind twice "5x5 convolution, pooling by 2".
index_t reduced(index_t extent) { return ((extent - 4) / 2 - 4) / 2; }

index_t flat_size(const Shape& input) {
  if (input[1] < kSmallest || input[2] < kSmallest) {
    throw ShapeError(fmt::format("lenet: images of {}x{}, needs at least {}x{}", input[1], input[2],
                                 kSmallest, kSmallest),
                     {{"input", to_string(input)}});
  }
  return kChannels2 * reduced(input[1]) * reduced(input[2]);
}

}  // namespace

LeNet::LeNet(const Scope& scope, const Shape& input)
    : Trunk(scope, kFeatures),
      conv1_(scope / "conv1", input[0], kChannels1, {5, 5}),
      conv2_(scope / "conv2", kChannels1, kChannels2, {5, 5}),
      fc1_(scope / "fc1", flat_size(input), kFeatures) {}

Var LeNet::forward(const Context& ctx, const Var& x) const {
  const Pool2dOptions half{.kernel = {2, 2}};
  const Var a = relu(max_pool2d(conv1_(ctx, x), half));
  const Var b = relu(max_pool2d(conv2_(ctx, a), half));
  return relu(fc1_(ctx, flatten(b)));
}

}  // namespace concord::nn
