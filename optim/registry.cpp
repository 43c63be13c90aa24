#include <concord/optim/adam.h>
#include <concord/optim/registry.h>
#include <concord/optim/rmsprop.h>
#include <concord/optim/sgd.h>

#include <array>
#include <string>

namespace concord::optim {

std::span<const std::string_view> optimizer_names() {
  static constexpr std::array<std::string_view, 4> kNames{"adam", "adamw", "rmsprop", "sgd"};
  return kNames;
}

std::unique_ptr<Optimizer> make_optimizer(std::string_view name, const Theta& theta,
                                          const OptimizerOptions& o) {
  if (name == "adam")
    return std::make_unique<Adam>(theta, AdamOptions{.rate = o.rate, .decay = o.decay});
  if (name == "adamw") {
    return std::make_unique<Adam>(
        theta, AdamOptions{.rate = o.rate, .decay = o.decay, .form = Decay::decoupled});
  }
  if (name == "rmsprop") {
    return std::make_unique<Rmsprop>(
        theta, RmspropOptions{.rate = o.rate, .momentum = o.momentum, .decay = o.decay});
  }
  if (name == "sgd")
    return std::make_unique<Sgd>(
        theta, SgdOptions{.rate = o.rate, .momentum = o.momentum, .decay = o.decay});
  throw_unknown("optimizer", name, {optimizer_names().begin(), optimizer_names().end()});
}

}  // namespace concord::optim
