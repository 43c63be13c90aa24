// A network in training on one batch of noise: what the benchmarks of passes and steps work on.
#pragma once

#include <concord/multitask/step.h>
#include <concord/nn/network.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace concord::experiments {

/// Every task has ten classes; the labels of the tasks are independent of each other and of the
/// images, so that about half of the pairs of gradients are in conflict.
class Trainee {
 public:
  struct Options {
    std::string_view network;  ///< nn/network.h
    Shape input{};             ///< of one sample
    index_t batch = 1;
    int tasks = 1;
    std::string_view optimizer = "sgd";  ///< optim/registry.h; sgd with momentum 0.9
    std::vector<index_t> hidden{};       ///< of the mlp
    Device device = kCpu;
  };
  explicit Trainee(const Options& options);

  /// Records the losses anew.
  void forward();
  /// The optimiser's part: θ moves along d.
  void update(const optim::Direction& d, double squared_norm = -1);
  /// A whole step of training.
  void step(multitask::Step& step);

  /// FLOP of linear layers and convolutions in the recorded forward pass ...
  double forward_flops() const;
  /// ... and in the sweep: as much again for the gradient of each operand and each task that
  /// reaches it.
  double backward_flops() const;
  double flops() const { return forward_flops() + backward_flops(); }

  int tasks() const { return static_cast<int>(losses_.size()); }
  index_t batch() const { return input_.dim(0); }
  const Tensor& input() const { return input_; }
  Tape& tape() { return tape_; }
  std::span<const Var> losses() const { return losses_; }
  const ParameterStore& store() const { return store_; }
  const optim::Optimizer& optimizer() const { return *optimizer_; }

 private:
  ParameterStore store_;
  std::unique_ptr<nn::Network> network_;
  Theta theta_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  Tape tape_;
  Tensor input_;
  std::vector<Tensor> labels_;
  std::vector<Var> outputs_, losses_;
  std::int64_t steps_ = 0;
};

}  // namespace concord::experiments
