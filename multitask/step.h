// Step: what stands between T losses and the optimiser. A training step reads
//
//   tape.reset();
//   const auto losses = ...;                        // one scalar Var per task
//   step.backward(tape, losses, {.step = i, .rng = rng});
//   optimizer.step(theta, step.direction(), step.squared_norm());
//
// and nothing is flattened, copied or re-assembled on the way.
#pragma once

#include <concord/autograd/gradient_matrix.h>
#include <concord/autograd/tape.h>
#include <concord/multitask/aggregator.h>
#include <concord/multitask/telemetry.h>
#include <concord/optim/optimizer.h>

#include <memory>
#include <span>
#include <vector>

namespace concord::multitask {

/// Which gradient the heads follow.
enum class Heads {
  own,      ///< each its task's gradient, whatever the method decides for the shared part
  weighted  ///< times the task's weight, as when the weighted sum of the losses is minimised
};

class Step {
 public:
  /// The gradients of `tasks` tasks over the store's parameters, combined by `method`.
  Step(const ParameterStore& store, std::unique_ptr<Aggregator> method, int tasks,
       Heads heads = Heads::own, DType dtype = DType::f32, Device device = kCpu);

  struct When {
    std::int64_t step = 0, epoch = 0;
    Rng rng{};  ///< the run's stream for the method
  };

  /// One sweep into the rows, the Gram matrix, the method's weights. losses[t] is task t's, or an
  /// undefined Var when the task is absent from this step: its row is zero, the method does not see
  /// it. Throws ShapeError for another number of losses, and what the tape and the method throw.
  void backward(Tape& tape, std::span<const Var> losses, const When& when,
                const SweepOptions& sweep = {});

  /// For methods with needs_losses_after(), which learn from what the step did: the losses again,
  /// on the same batch, after the optimiser's step (in training mode; no tape is needed). Throws
  /// ShapeError for another number of losses.
  void after(std::span<const Var> losses);

  /// For Optimizer::step; valid until the next backward().
  optim::Direction direction() const;
  /// |d|^2 over the shared parameters, from the Gram matrix.
  double squared_norm() const { return gram_.squared_norm(answer_.weights); }

  /// The rows that the answer combines: as the sweep left them, or as the method rewrote them.
  GradientMatrix& gradients() { return gradients_; }
  const Gram& gram() const { return gram_; }                  ///< of these rows, tasks present
  std::span<const double> losses() const { return losses_; }  ///< likewise
  std::span<const int> present() const { return present_; }
  const Direction& answer() const { return answer_; }
  Aggregator& method() const { return *method_; }
  /// Give it to Telemetry::record after backward().
  StepInputs inputs() const {
    return {gram_, losses_, when_.step, when_.epoch, when_.rng, present_};
  }

 private:
  std::unique_ptr<Aggregator> method_;
  Heads heads_;
  GradientMatrix gradients_;
  Gram gram_;
  Direction answer_;
  When when_;
  std::vector<Seed> seeds_;
  std::vector<int> present_;
  std::vector<double> losses_, losses_after_;
  std::vector<double> weights_;  // one per task, 0 for absent ones
};

}  // namespace concord::multitask
