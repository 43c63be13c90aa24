// A moving average of θ, kept beside training and used for evaluation.
#pragma once

#include <concord/autograd/parameters.h>

namespace concord::optim {

/// average <- momentum average + (1 - momentum) θ after each step, parameters and buffers alike
/// (Polyak's averaging with exponential weights; torch.optim.swa_utils' EMA with use_buffers).
class MovingAverage {
 public:
  /// Starts at θ. Throws ValueError unless momentum is in [0, 1).
  MovingAverage(const Theta& theta, double momentum);
  void update(const Theta& theta);
  /// The averaged network: give it to a Context.
  const Theta& theta() const { return average_; }

 private:
  Theta average_;
  double momentum_;
};

}  // namespace concord::optim
