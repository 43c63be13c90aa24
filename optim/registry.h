// The optimisers by name, for command lines and configs.
#pragma once

#include <concord/optim/optimizer.h>

#include <memory>
#include <span>
#include <string_view>

namespace concord::optim {

struct OptimizerOptions {
  double rate = 1e-3;
  double momentum = 0.9;  ///< of sgd and rmsprop; adam and adamw have their betas
  double decay = 0;
};

/// adam, adamw, rmsprop, sgd (Nesterov off), everything else at PyTorch's defaults. Throws
/// ValueError with the nearest names.
std::unique_ptr<Optimizer> make_optimizer(std::string_view name, const Theta& theta,
                                          const OptimizerOptions& options);
std::span<const std::string_view> optimizer_names();

}  // namespace concord::optim
