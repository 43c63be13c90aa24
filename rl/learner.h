// Learner: from a list of losses to the next θ. The agents' one way to learn: the sweep, the
// multitask method, clipping, the optimiser and telemetry are those of supervised runs.
#pragma once

#include <concord/autograd/context.h>
#include <concord/autograd/tape.h>
#include <concord/multitask/method.h>
#include <concord/multitask/telemetry.h>
#include <concord/optim/optimizer.h>
#include <concord/rl/archive.h>
#include <concord/rl/stopwatch.h>

#include <memory>
#include <string>
#include <vector>

namespace concord::rl {

struct LearnerOptions {
  std::string method = "sum";             ///< in multitask/registry.h
  multitask::OptionMap method_options{};  ///< its own, and those of multitask/step_options.h
  std::string optimizer = "adam";         ///< adam, rmsprop or sgd
  double rate = 2.5e-4;
  double eps = 1e-5;  ///< added to the root of Adam's and RMSprop's second moment
  double momentum = 0;
  double smoothing = 0.99;  ///< of RMSprop's second moment
  double clip_norm = 0.5;   ///< 0: off
  Device device = kCpu;     ///< where the network and its gradients are; environments stay here
};

class Learner {
 public:
  /// One row of the gradient matrix per loss. θ is initialised from `rng`, which the method draws
  /// from as well. `store` is complete and outlives the learner. Throws ValueError for an unknown
  /// method or optimiser, and for a method that wants several independent batches per step.
  Learner(const ParameterStore& store, int losses, const LearnerOptions& options, const Rng& rng);

  /// One step: losses_of(ctx, losses) records one scalar per row, in order (an undefined Var: the
  /// row's task is absent). It is called as often as the method asks, without a tape for losses
  /// after the step. The rate is options.rate * rate_factor.
  template <class F>
  void step(F&& losses_of, Stopwatch& watch, double rate_factor = 1) {
    struct Batch final : multitask::Model {
      Batch(F& f, Stopwatch& w) : losses_of(f), watch(w) {}
      void losses(const Context& ctx, int, std::vector<Var>& losses) override {
        watch.lap(Phase::backward);
        losses_of(ctx, losses);
        watch.lap(Phase::forward);
      }
      F& losses_of;
      Stopwatch& watch;
    } batch(losses_of, watch);
    watch.lap(Phase::other);
    descend(batch, watch, rate_factor);
  }

  const Theta& theta() const { return theta_; }
  const optim::Optimizer& optimizer() const { return *optimizer_; }
  const multitask::Telemetry& telemetry() const { return telemetry_; }
  std::int64_t steps() const { return steps_; }

  void archive(const Archive& a);

 private:
  void descend(multitask::Model& batch, Stopwatch& watch, double rate_factor);

  LearnerOptions options_;
  Rng rng_;
  Theta theta_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<multitask::Method> method_;
  multitask::Telemetry telemetry_;
  Tape tape_;
  std::int64_t steps_ = 0;
};

}  // namespace concord::rl
