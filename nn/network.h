// Network: a trunk that all tasks share and one linear head per task; and the list of networks that
// can be chosen by name.
#pragma once

#include <concord/nn/layers.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::nn {

/// A module that maps an input batch to features [n, features()].
class Trunk : public Module {
 public:
  index_t features() const { return features_; }

 protected:
  Trunk(const Scope& scope, index_t features) : Module(scope), features_(features) {}

 private:
  index_t features_;
};

/// The trunk's parameters are shared; head t is Linear(features, outputs[t]) in the group of task
/// t. With one task the head is named "fc", as torchvision names it, otherwise "heads.0",
/// "heads.1", ...
class Network {
 public:
  /// Throws ValueError when `outputs` is empty.
  Network(const Scope& scope, std::unique_ptr<Trunk> trunk, std::span<const index_t> outputs);

  int tasks() const { return static_cast<int>(heads_.size()); }
  const Trunk& trunk() const { return *trunk_; }

  /// [n, features]
  Var features(const Context& ctx, const Var& x, Loc at = Loc::current()) const {
    return (*trunk_)(ctx, x, at);
  }
  /// Output of one task for given features: with separate batches per task, or a sweep in two
  /// parts.
  Var head(const Context& ctx, int task, const Var& features, Loc at = Loc::current()) const {
    return (*heads_.at(static_cast<std::size_t>(task)))(ctx, features, at);
  }
  /// Outputs of all tasks for one batch; the vector is reused, so that a steady step allocates
  /// nothing.
  void forward(const Context& ctx, const Var& x, std::vector<Var>& outputs,
               Loc at = Loc::current()) const;
  std::vector<Var> operator()(const Context& ctx, const Var& x, Loc at = Loc::current()) const;

 private:
  std::unique_ptr<Trunk> trunk_;
  std::vector<std::unique_ptr<Linear>> heads_;
};

struct NetworkOptions {
  Shape input;                   ///< of one sample: [c, h, w]; the mlp takes any shape
  std::vector<index_t> outputs;  ///< one per task
  // Of the mlp:
  std::vector<index_t> hidden{64, 64};
  std::string activation = "relu";
};

struct NetworkEntry {
  std::string_view name, help, source;
  Shape input;  ///< a usual input, for `concord summary`
  std::unique_ptr<Trunk> (*make)(const Scope&, const NetworkOptions&);
};

/// lenet, mlp, resnet18, resnet34, resnet50, resnet18-32 ... (nn/network.cpp has the list).
std::span<const NetworkEntry> networks();

/// Throws ValueError with the nearest valid names.
const NetworkEntry& find_network(std::string_view name);

/// The named network with its heads. Throws ShapeError when the input is too small for it.
std::unique_ptr<Network> make_network(std::string_view name, const Scope& scope,
                                      const NetworkOptions& options);

}  // namespace concord::nn
