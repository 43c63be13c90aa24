// Method: a training step around an Aggregator, or around something larger. Most methods are a
// function of the gradients of one batch: for them a step is Step and the optimiser, and
// make_method() wraps their Aggregator in it. The others drive the step themselves: they look at
// the losses on other batches or at another θ', change θ by a rule of their own, or put something
// between the features and the heads. A training loop is the same for all of them:
//
//   const auto method = make_method("sgsu", {{"alpha", "0.1"}}, theta, tasks);
//   model.draw(method->batches());                             // so many independent batches
//   method->step(model, {.theta = &theta, .tape = &tape, .training = true, .rng = rng}, optimizer,
//                {.step = i});
//   telemetry.record(method->inputs(), method->answer());
#pragma once

#include <concord/autograd/context.h>
#include <concord/multitask/options.h>
#include <concord/multitask/step.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::multitask {

/// What a training loop lends to a method: its losses, as often and wherever they are wanted.
class Model {
 public:
  virtual ~Model() = default;

  /// Fills `losses` with one scalar per task: of batch `batch` of the step under way (0 <= batch <
  /// Method::batches()), at ctx.theta, recorded on ctx.tape if there is one. An undefined Var is a
  /// task that is absent from this step, that is from all of its batches.
  virtual void losses(const Context& ctx, int batch, std::vector<Var>& losses) = 0;

  /// The same in two parts, for methods with needs_features(): the shared representation [n, d] ...
  virtual Var features(const Context& ctx, int batch);
  /// ... and the losses of heads of which head t is given features[t]. Both throw UsageError unless
  /// the model has such parts.
  virtual void losses_at(const Context& ctx, int batch, std::span<const Var> features,
                         std::vector<Var>& losses);
};

/// Base of all methods. One object per training run.
class Method {
 public:
  virtual ~Method() = default;
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;

  const std::string& name() const { return name_; }

  /// Independent batches that each step looks at.
  virtual int batches() const { return 1; }
  /// True for methods that need Model::features().
  virtual bool needs_features() const { return false; }
  /// Vectors as long as θ that the method holds, gradient rows included; what an Aggregator keeps
  /// comes on top.
  virtual int vectors() const = 0;

  /// One training step: losses, gradients, θ moved. `ctx` says which θ, which tape (it is reset),
  /// and which random numbers the forward pass of batch 0 takes; other batches fork them by their
  /// number. Throws what the model, the tape and the optimiser throw, and NumericError that names
  /// the task when a gradient is NaN or infinite; what it would have moved is as before then.
  virtual void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
                    const Step::When& when) = 0;

  /// What the head of a task is given for these features [n, d]: evaluation has to ask, too.
  virtual Var head_input(int task, const Var& features) const;

  /// What the last step saw and decided, for Telemetry: the rows present and their weights. NaN
  /// weights: the direction was no combination of the rows.
  virtual StepInputs inputs() const = 0;
  virtual const Direction& answer() const = 0;
  /// False when the last step took the weights of an earlier one: the Gram matrix and the answer
  /// are of that step then, while losses and tasks present are of the last.
  virtual bool fresh() const { return true; }
  /// The Step of a method that is a function of the gradients, for its answers block by block; null
  /// for those that drive the step themselves.
  virtual Step* inner() { return nullptr; }

  /// On a device: submit what comes before the Gram matrix as one CUDA graph and what follows the
  /// weights as another. For models whose losses neither wait for the device nor upload to it;
  /// methods that drive the step themselves go without. Off at first.
  void graphs(bool on) { graphs_ = on; }
  bool graphs() const { return graphs_; }
  /// How many had to be made so far.
  virtual int graphs_made() const { return 0; }

  virtual void save(State& state) const = 0;
  /// Throws ValueError when an entry is missing or has the wrong size.
  virtual void load(const State& state) = 0;

 protected:
  explicit Method(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
  bool graphs_ = false;
};

/// The context of batch `batch` of a step whose context is `ctx`.
Context for_batch(const Context& ctx, int batch);

/// The method of that name (registry.h) for `tasks` tasks on the parameters of `theta`. A method
/// that is a function of the gradients takes the options of a step as well (step_options.h), and
/// micro_batches: the rows are the mean over so many batches then. Unless the options say
/// otherwise, heads follow the task weights when the method weights losses, and else their own
/// gradients. Throws ValueError for an unknown method, an unknown option or a value out of range,
/// and what Step throws.
std::unique_ptr<Method> make_method(std::string_view name, const OptionMap& options,
                                    const Theta& theta, int tasks);

}  // namespace concord::multitask
