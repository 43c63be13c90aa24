// Stochastic gradient descent, as torch.optim.SGD.
#pragma once

#include <concord/optim/optimizer.h>

namespace concord::optim {

struct SgdOptions {
  double rate = 1e-2;
  double momentum = 0, dampening = 0;
  double decay = 0;       ///< coupled: d + decay θ
  bool nesterov = false;  ///< needs momentum > 0 and dampening 0
};

/// b <- momentum b + (1 - dampening) d, starting at b = d; θ <- θ - rate b, or with Nesterov
/// θ <- θ - rate (d + momentum b).
class Sgd final : public Optimizer {
 public:
  /// Throws ValueError for options out of range.
  Sgd(const Theta& theta, const SgdOptions& o = {});
  std::map<std::string, Tensor> state() const override;

 private:
  void update(const Theta&, index_t, index_t, kernels::StepScalars,
              kernels::WeightedRows<float>) override;
  void update(const Theta&, index_t, index_t, kernels::StepScalars,
              kernels::WeightedRows<double>) override;
  template <class T>
  void apply(const Theta&, index_t, index_t, kernels::StepScalars, kernels::WeightedRows<T>);

  SgdOptions options_;
  Tensor momentum_;  // undefined without momentum
};

}  // namespace concord::optim
