// Driver: what the methods that drive a whole training step have in common.
#pragma once

#include <concord/multitask/elements.h>
#include <concord/multitask/method.h>
#include <concord/optim/sgd.h>

#include <span>
#include <string>
#include <vector>

namespace concord::multitask {

/// θ': another Theta of the same store, one plain gradient step away from θ.
class Beside {
 public:
  explicit Beside(const Theta& like) : theta_(like.clone()), sgd_(theta_, {.rate = 0}) {}

  /// θ' = θ - rate d; `rate` may be negative. As in a real step, a slice's rate factor counts, and
  /// frozen slices stay. Running statistics are copied: those of θ do not move when the network
  /// runs on θ'.
  const Theta& at(const Theta& theta, const optim::Direction& d, double rate);

 private:
  Theta theta_;
  optim::Sgd sgd_;
};

class Driver : public Method {
 public:
  StepInputs inputs() const override {
    return {gram_, losses_, when_.step, when_.epoch, when_.rng, present_};
  }
  const Direction& answer() const override { return answer_; }

 protected:
  /// `rows`: of rows_, one per task or a single one.
  Driver(std::string name, const Theta& like, int tasks, int rows);

  /// The beginning of a step: the losses of batch 0 at θ say who is present; one sweep into rows_.
  void begin(Model& model, const Context& ctx, const Step::When& when);
  /// The first half of begin(), when the losses of batch 0 are in vars_.
  void note_present(const Step::When& when);

  /// The losses of a batch at ctx.theta into vars_, on ctx.tape (reset first) if there is one.
  /// Throws ShapeError unless the tasks present are those of batch 0.
  void forward(Model& model, const Context& ctx, int batch);
  /// One sweep from the losses in vars_, times `scale` (one number per task; empty: 1).
  void sweep(Tape& tape, GradientMatrix& into, const SweepOptions& options = {},
             std::span<const double> scale = {});
  /// sweep() into rows_, then their Gram matrix. Throws NumericError unless all is finite.
  void sweep_rows(Tape& tape);
  /// The gradient of sum_t weights[t] L_t by all parameters, as the one row of `sum`; a weight of 0
  /// leaves the task out.
  void sweep_sum(Tape& tape, std::span<const double> weights, GradientMatrix& sum);
  /// |row 0|^2 over the shared part. Throws NumericError unless it is finite.
  double squared_norm(const GradientMatrix& one) const;

  /// answer_ gets one zero per task present.
  void clear_answer();
  /// weights_: those of answer_, one per task, 0 for absent ones.
  void spread_weights();
  /// The direction of rows_ with these.
  optim::Direction direction(Heads heads, optim::Part part = optim::Part::all);

  int tasks() const { return static_cast<int>(weights_.size()); }
  bool present(int task) const { return vars_[static_cast<std::size_t>(task)].value().defined(); }

  GradientMatrix rows_;
  Gram gram_;  // of the rows of the tasks present
  Direction answer_;
  Step::When when_;
  std::vector<Var> vars_;       // one loss per task
  std::vector<double> losses_;  // of batch 0, one per task present
  std::vector<int> present_;
  std::vector<double> weights_;  // one per task

 private:
  void evaluate(Model& model, const Context& ctx, int batch);

  std::vector<Seed> seeds_;
};

/// All shared columns of the rows of the given tasks (all when `tasks` is empty); of a matrix by
/// all parameters, too.
Elements shared_elements(const GradientMatrix& gradients, std::span<const int> tasks);

/// out[i * (rows of b) + j] = <row i of a, row j of b> over the columns, in double and in a fixed
/// order; on a device by its kernel `gram` of all rows together, one wait. `scratch` is reused from
/// call to call. Throws ShapeError when the columns differ.
void products(const Elements& a, const Elements& b, std::span<double> out,
              std::vector<double>& scratch);

/// Saves a tensor as doubles, and fills one from them: exact for f32 and f64. Throws ValueError in
/// the name of `owner` when the entry is missing or of another size.
void save_tensor(State& state, const std::string& name, const Tensor& values);
void load_tensor(const State& state, std::string_view owner, const std::string& name,
                 const Tensor& values);

}  // namespace concord::multitask
