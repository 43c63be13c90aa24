// RMSprop (Tieleman and Hinton, lecture 6.5, 2012), as torch.optim.RMSprop.
#pragma once

#include <concord/optim/optimizer.h>

namespace concord::optim {

struct RmspropOptions {
  double rate = 1e-2;
  double alpha = 0.99, eps = 1e-8;
  double momentum = 0;
  double decay = 0;       ///< coupled
  bool centered = false;  ///< divide by the standard deviation instead of the root mean square
};

/// v <- alpha v + (1 - alpha) d²; centred: mean <- alpha mean + (1 - alpha) d, v̂ = v - mean²;
/// step d / (sqrt(v̂) + eps), through a momentum buffer if there is momentum.
class Rmsprop final : public Optimizer {
 public:
  /// Throws ValueError for options out of range.
  Rmsprop(const Theta& theta, const RmspropOptions& o = {});
  std::map<std::string, Tensor> state() const override;

 private:
  void update(const Theta&, index_t, index_t, kernels::StepScalars,
              kernels::WeightedRows<float>) override;
  void update(const Theta&, index_t, index_t, kernels::StepScalars,
              kernels::WeightedRows<double>) override;
  template <class T>
  void apply(const Theta&, index_t, index_t, kernels::StepScalars, kernels::WeightedRows<T>);

  RmspropOptions options_;
  Tensor v_, momentum_, mean_;  // the latter two may be undefined
};

}  // namespace concord::optim
