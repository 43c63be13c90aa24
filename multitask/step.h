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
#include <concord/multitask/step_options.h>
#include <concord/optim/optimizer.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace concord::multitask {

/// The values of scalar losses [T] in one tensor where they are, 0 for undefined Vars: one transfer
/// brings all of them to the host. Throws DeviceError when they are on several devices.
Tensor values_of(std::span<const Var> losses);

class Step {
 public:
  using Make = std::function<std::unique_ptr<Aggregator>()>;

  /// The gradients of `tasks` tasks over the store's parameters, combined by the method that `make`
  /// makes: one per block. Throws UsageError for options that exclude each other.
  Step(const ParameterStore& store, const Make& make, int tasks, const StepOptions& options = {});
  /// The same for a method in one block.
  Step(const ParameterStore& store, std::unique_ptr<Aggregator> method, int tasks,
       const StepOptions& options = {});

  struct When {
    std::int64_t step = 0, epoch = 0;
    Rng rng{};  ///< the run's stream for the method
  };

  /// One sweep into the rows, the Gram matrix, the method's weights. On a device everything up to
  /// the Gram matrix is queued, then the host waits once: for it and the losses. (At
  /// Level::features, between refreshes, without G and with methods on elements, twice.) losses[t]
  /// is task t's, or an undefined Var when the task is absent from this step: its row is zero, the
  /// method does not see it. `features`, for Level::features only, is what all heads read. Throws
  /// ShapeError for another number of losses, and what the tape and the method throw.
  void backward(Tape& tape, std::span<const Var> losses, const When& when,
                const Var& features = {}) {
    restart();
    accumulate(tape, losses, when, 1, features);
    combine();
  }
  /// The same in two halves, for batches that do not fit at once: `share` times the losses of one
  /// micro-batch is added to the rows, then one answer is given to all of them (level parameters).
  void accumulate(Tape& tape, std::span<const Var> losses, const When& when, double share,
                  const Var& features = {});
  void combine();
  /// Drops what was begun and not combined.
  void restart() { batches_ = 0; }

  /// For methods with needs_losses_after(), which learn from what the step did: the losses again,
  /// on the same batch, after the optimiser's step (in training mode; no tape is needed). Does
  /// nothing after a step without new weights. Throws ShapeError for another number of losses.
  void after(std::span<const Var> losses);

  /// For Optimizer::step; valid until the next backward().
  optim::Direction direction() const;
  /// |d|^2 over the shared parameters.
  double squared_norm() const { return squared_norm_; }
  /// False after a step that used the weights of an earlier one: what follows here is of that one.
  bool fresh() const { return fresh_; }

  /// The rows that the answer combines, as the sweep left them, or as the method rewrote them. At
  /// Level::features, without G, and after a step without new weights: the one combined row.
  GradientMatrix& gradients() { return separate() ? *rows_ : *combined_; }
  std::span<const double> losses() const { return losses_; }  ///< of the tasks present
  std::span<const int> present() const { return present_; }
  /// One weight per task, 0 for absent ones; block by block.
  std::span<const double> weights() const { return weights_; }

  const std::vector<Block>& blocks() const { return blocks_; }
  Aggregator& method(int block = 0) const { return *parts_[at(block)].method; }
  const Gram& gram(int block = 0) const { return parts_[at(block)].gram; }  ///< of tasks present
  const Direction& answer(int block = 0) const { return parts_[at(block)].answer; }
  /// Give it to Telemetry::record after backward().
  StepInputs inputs(int block = 0) const;
  /// The blocks of StepOptions::measure and their Gram matrices: of the rows as the sweep left
  /// them, at Level::features none.
  const std::vector<Block>& measured() const { return measured_blocks_; }
  std::span<const Gram> measured_grams() const { return measured_; }

  /// With Keep::none or automatic: what the last sweep chose, and what it predicts.
  const BlockGrams& costs() const { return grams_; }

  /// The methods' states and the weights in use, for checkpoints.
  void save(State& state) const;
  void load(const State& state);

 private:
  /// One block's method and its answer.
  struct Part {
    std::unique_ptr<Aggregator> method;
    Gram gram;
    Direction answer;
  };

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  /// Whether this step's direction is given by T rows and weights.
  bool separate() const { return fresh_ && rows_ && rows_->storage() != RowStorage::streamed; }
  void make_rows(RowStorage storage);
  void measure();
  void begin(std::span<const Var> losses, const When& when);
  /// Waits for what was queued for the host.
  void fetch();
  void answer_at_parameters();
  void answer_at_features();
  void rescale(Direction& answer, const Gram& gram) const;
  void take_norm_of_combined();

  const ParameterStore& store_;
  StepOptions options_;
  std::vector<Block> blocks_, measured_blocks_;
  std::vector<index_t> ends_;  // of the blocks, when there are several
  std::vector<Part> parts_;
  std::vector<Gram> measured_;
  std::optional<GradientMatrix> rows_, combined_;
  BlockGrams grams_;  // of the measured blocks

  When when_;
  int batches_ = 0;    // since the last combine()
  bool fresh_ = true;  // this step has, or will have, new weights
  std::int64_t refreshed_ = -1;
  bool prefer_rows_ = false;  // Keep::automatic has found that the rows are worth their memory
  // What a second sweep needs in combine().
  Tape* tape_ = nullptr;
  Var features_;
  std::vector<Tensor> at_features_;
  std::vector<Seed> seeds_;
  std::vector<std::uint8_t> chosen_, known_;  // per task: takes part; has a weight
  std::vector<int> present_;
  struct Fetched {
    Tensor losses;  // [T], on the host after fetch()
    double share;
  };
  std::vector<Fetched> fetched_;  // by micro-batch
  std::vector<double> loss_sums_, losses_, losses_after_;
  std::vector<double> weights_;
  double squared_norm_ = 0;
};

}  // namespace concord::multitask
