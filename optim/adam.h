// Adam (Kingma and Ba, 1412.6980) and AdamW (Loshchilov and Hutter, 1711.05101), as torch.optim.
#pragma once

#include <concord/optim/optimizer.h>

namespace concord::optim {

enum class Decay {
  coupled,   ///< Adam: d + decay θ enters the moments
  decoupled  ///< AdamW: θ shrinks by rate * decay beside the step
};

struct AdamOptions {
  double rate = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double decay = 0;  ///< torch's AdamW has 1e-2
  Decay form = Decay::coupled;
};

/// m <- beta1 m + (1 - beta1) d; v <- beta2 v + (1 - beta2) d²;
/// θ <- θ - rate m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + eps).
class Adam final : public Optimizer {
 public:
  /// Throws ValueError for options out of range.
  Adam(const Theta& theta, const AdamOptions& o = {});
  std::map<std::string, Tensor> state() const override { return {{"m", m_}, {"v", v_}}; }

 private:
  void update(const Theta&, index_t, index_t, kernels::StepScalars,
              kernels::WeightedRows<float>) override;
  void update(const Theta&, index_t, index_t, kernels::StepScalars,
              kernels::WeightedRows<double>) override;
  template <class T>
  void apply(const Theta&, index_t, index_t, kernels::StepScalars, kernels::WeightedRows<T>);

  AdamOptions options_;
  Tensor m_, v_;
};

}  // namespace concord::optim
