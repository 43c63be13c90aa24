// Aggregator: the answer of a multitask method to one step. It sees the Gram matrix and the losses,
// never the P columns, and returns one weight per task: the direction is d = J^T w and the
// optimiser takes theta <- theta - lr * d. The few methods that work element by element see the
// rows first and may rewrite them in place (rewrite()); the rest of the step is the same for them.
#pragma once

#include <concord/multitask/gram.h>
#include <concord/tensor/random.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::multitask {

struct Elements;

/// What a method may look at. Row r of the Gram matrix is task `task(r)`; tasks that are absent
/// from a step have no row (a row of zeros is another thing: a task that is present and has no
/// gradient).
struct StepInputs {
  const Gram& gram;
  std::span<const double> losses = {};  ///< one per row, or empty for methods that do not need them
  std::int64_t step = 0;                ///< of the whole run
  std::int64_t epoch = 0;
  Rng rng = Rng();                  ///< the run's stream for the method; methods fork it by `step`
  std::span<const int> tasks = {};  ///< ids of the rows' tasks; empty: row r is task r

  int rows() const { return gram.tasks(); }
  int task(int row) const { return tasks.empty() ? row : tasks[static_cast<std::size_t>(row)]; }
  /// The row of a task, or -1 when it is absent.
  int row_of(int task) const;
};

/// The answer. Reuse one object from step to step: nothing is allocated then.
struct Direction {
  std::vector<double> weights;  ///< one per row: d = sum_r weights[r] g_r, scale included
  /// How far the answer is from the optimality conditions of the method's own problem, recomputed
  /// from the Gram matrix outside the solver and relative to the size of the terms; 0 for closed
  /// forms.
  double residual = 0;
  std::string_view note;  ///< empty, or a degenerate case by name, e.g. "pareto-stationary"
};

/// What a method remembers between steps, for checkpoints: named vectors of doubles.
using State = std::map<std::string, std::vector<double>>;

/// state[name]. Throws ValueError in the name of `owner` when it is missing or not `size` long.
const std::vector<double>& state_entry(const State& state, std::string_view owner,
                                       const std::string& name, std::size_t size);

/// Base of all methods. Objects keep their scratch space: one per training run (or parameter
/// group).
class Aggregator {
 public:
  virtual ~Aggregator() = default;
  Aggregator(const Aggregator&) = delete;
  Aggregator& operator=(const Aggregator&) = delete;

  const std::string& name() const { return name_; }

  /// Fills `out`. Throws ShapeError when sizes do not fit, and NumericError naming the task when a
  /// gradient or a needed loss is NaN or infinite; `out` and the method's state are untouched then.
  void weights(const StepInputs& in, Direction& out);

  /// True for methods that read `losses`.
  virtual bool needs_losses() const { return false; }

  /// True for methods that a Gram matrix is not enough for: rewrite() comes before weights() then.
  virtual bool needs_elements() const { return false; }
  /// Lets the method see the rows, whose Gram matrix is `in.gram`, and put others in their place:
  /// tracked, masked or rescaled ones. True when it did: the weights belong to the new rows, and
  /// weights() expects their Gram matrix. Throws as weights() does; the rows and the method's state
  /// are untouched then.
  bool rewrite(const StepInputs& in, const Elements& rows);

  /// True for methods that want the losses of the same batch again, after the optimiser's step:
  /// after_step() follows each weights() then.
  virtual bool needs_losses_after() const { return false; }
  /// One loss per row of the last weights(). Throws UsageError when none was waiting, and as
  /// weights() does.
  void after_step(std::span<const double> losses);

  virtual void save(State&) const {}
  /// Throws ValueError when an entry is missing or has the wrong size.
  virtual void load(const State&) {}

 protected:
  explicit Aggregator(std::string name) : name_(std::move(name)) {}
  /// `out.weights` has one zero per row, residual 0 and no note; all inputs are finite.
  virtual void solve(const StepInputs& in, Direction& out) = 0;
  virtual bool rewrite_rows(const StepInputs&, const Elements&) { return false; }
  virtual void learn(std::span<const double>) {}

 private:
  void check(const StepInputs& in) const;

  std::string name_;
  bool rewritten_ = false;
  std::size_t rows_waiting_ = 0;  // for after_step(); 0: none
};

}  // namespace concord::multitask
