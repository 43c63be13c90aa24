// Optimizer: θ <- θ - step(d). The direction is never formed as a vector: the kernels combine the
// gradient rows and update θ in one pass.
#pragma once

#include <concord/autograd/gradient_matrix.h>
#include <concord/autograd/parameters.h>
#include <concord/tensor/kernels/step.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::optim {

/// Which parameters a step moves; the others stand still with all their state.
enum class Part { all, shared, heads };

/// d = sum_t weights[t] * (row t of G) over the shared parameters; over the head of task t, its own
/// gradient times head_weights[t] (empty: 1 for all).
struct Direction {
  const GradientMatrix& gradients;
  std::span<const double> weights;  ///< [T], or [blocks, T]
  std::span<const double> head_weights = {};
  std::span<const index_t> block_ends = {};  ///< where each block of columns ends; empty: one block
  Part part = Part::all;
};

/// Bounds on the direction before weight decay, as torch.nn.utils clips gradients; on the part that
/// moves. Clipping by norm waits for a device.
struct Clip {
  double norm = 0;   ///< scale d so that its norm (shared and heads) is at most this; 0: off
  double value = 0;  ///< then bound every |d_i|; 0: off
};

/// Base of all optimisers. State lies in vectors laid out as θ. A slice's rate_factor and
/// decay_factor multiply rate and decay; a frozen slice is neither moved nor decayed.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One step. `shared_norm_squared`, when not negative, is |d|^2 over the shared part (wᵀGw from
  /// the Gram matrix): clipping by norm then needs no pass over the rows. A step in two parts,
  /// heads and shared, is two calls with steps() set back between them.
  void step(const Theta& theta, const Direction& d, double shared_norm_squared = -1);

  double rate() const { return rate_; }
  void rate(double rate) { rate_ = rate; }  ///< schedules set it before each step
  double decay() const { return decay_; }
  Clip clip;

  /// What a checkpoint has to keep, by name ("m", "v", ...), in the layout of θ; shares memory.
  virtual std::map<std::string, Tensor> state() const = 0;
  std::int64_t steps() const { return steps_; }  ///< finished steps
  void steps(std::int64_t n) { steps_ = n; }     ///< when continuing from a checkpoint
  double seconds() const { return seconds_; }    ///< spent in step() so far, for profiles

 protected:
  Optimizer(const ParameterStore& store, double rate, double decay)
      : rate_(rate), store_(store), decay_(decay) {}

  /// The update of θ[offset, offset + size), whose slices have equal factors; `scalars` has rate,
  /// decay, clipping and `first` filled in, the rest is the optimiser's.
  virtual void update(const Theta& theta, index_t offset, index_t size,
                      kernels::StepScalars scalars, kernels::WeightedRows<float> d) = 0;
  virtual void update(const Theta& theta, index_t offset, index_t size,
                      kernels::StepScalars scalars, kernels::WeightedRows<double> d) = 0;

  double rate_;

 private:
  template <class T>
  void step_as(const Theta& theta, const Direction& d, double norm_squared);

  const ParameterStore& store_;
  double decay_;
  std::int64_t steps_ = 0;
  double seconds_ = 0;
};

}  // namespace concord::optim
