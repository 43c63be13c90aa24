// The methods by name: what `concord list methods`, `concord run --methods` and `concord aggregate`
// know. make_method() of method.h makes any of them for a training run.
#pragma once

#include <concord/multitask/aggregator.h>
#include <concord/multitask/options.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concord {
class Theta;
}

namespace concord::multitask {

class Method;

/// What the weights of a method mean.
enum class Kind {
  fixed,      ///< weights that depend on nothing
  weighting,  ///< loss weighting: the weights belong to the losses, so the heads take them as well
  gradient,   ///< gradient combination: surgery on the shared part; heads keep their own gradient
  step,       ///< drives the whole training step: no function of one matrix of gradients
};

struct MethodInfo {
  std::string_view name;  ///< lower case with underscores, as in the literature
  Kind kind;
  std::string_view
      needs;  ///< "nothing", "Gram", "losses", "Gram, losses", with "state" where it has one
  std::string_view source;                        ///< paper
  std::string_view help;                          ///< one line
  std::unique_ptr<Aggregator> (*make)(Options&);  ///< null for Kind::step, which has the next
  std::unique_ptr<Method> (*make_method)(Options&, const Theta&, int tasks) = nullptr;
};

/// All methods, in the order of the list, and those of them that are functions of the gradients.
std::span<const MethodInfo> all_methods();
std::span<const MethodInfo> methods();

/// Throws ValueError "unknown method ..." with the nearest names.
const MethodInfo& find_method(std::string_view name);

/// One of methods(). Throws ValueError as find_method() does, and for a method of Kind::step, which
/// only a training run can serve.
const MethodInfo& find_aggregator(std::string_view name);

/// Throws ValueError for an unknown method, one of Kind::step, an unknown option or a value out of
/// range.
std::unique_ptr<Aggregator> make_aggregator(std::string_view name, const OptionMap& options = {});

/// Every option of a method and its default.
std::vector<std::pair<std::string, std::string>> default_options(std::string_view name);

std::string_view name(Kind kind);

}  // namespace concord::multitask
