#include <concord/multitask/method.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

namespace concord::multitask {

Var Model::features(const Context&, int) {
  throw UsageError("model: no features, the method works between the shared part and the heads");
}

void Model::losses_at(const Context&, int, std::span<const Var>, std::vector<Var>&) {
  throw UsageError("model: no heads, the method works between the shared part and the heads");
}

Var Method::head_input(int, const Var& features) const { return features; }

Context for_batch(const Context& ctx, int batch) {
  Context other = ctx;
  if (batch > 0) other.rng = ctx.rng.fork("batch").fork(static_cast<std::uint64_t>(batch));
  return other;
}

namespace {

/// Step around an Aggregator: one per block.
class StepMethod final : public Method {
 public:
  StepMethod(std::string name, const Step::Make& make, const Theta& theta, int tasks,
             const StepOptions& options)
      : Method(std::move(name)),
        at_features_(options.level == Level::features),
        vectors_((at_features_ ? 0 : tasks) + (at_features_ || options.refresh > 1)),
        step_(theta.store(), make, tasks, options),
        inputs_(static_cast<std::size_t>(tasks)) {}

  bool needs_features() const override { return at_features_; }
  int vectors() const override { return vectors_; }

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    ctx.tape->reset();
    Var features;
    if (at_features_) {
      features = model.features(ctx, 0);
      inputs_.assign(inputs_.size(), features);
      model.losses_at(ctx, 0, inputs_, losses_);
      inputs_.assign(inputs_.size(), Var());  // Vars hold on to tensors
    } else {
      model.losses(ctx, 0, losses_);
    }
    step_.backward(*ctx.tape, losses_, when, features);
    optimizer.step(*ctx.theta, step_.direction(), step_.squared_norm());
    if (step_.method().needs_losses_after() && step_.fresh()) {
      Context after = ctx;
      after.tape = nullptr;
      model.losses(after, 0, losses_);
      step_.after(losses_);
    }
    losses_.clear();
  }

  StepInputs inputs() const override { return step_.inputs(); }
  const Direction& answer() const override { return step_.answer(); }
  bool fresh() const override { return step_.fresh(); }
  Step* inner() override { return &step_; }
  void save(State& state) const override { step_.save(state); }
  void load(const State& state) override { step_.load(state); }

 private:
  bool at_features_;
  int vectors_;
  Step step_;
  std::vector<Var> inputs_, losses_;
};

}  // namespace

std::unique_ptr<Method> make_method(std::string_view name, const OptionMap& values,
                                    const Theta& theta, int tasks) {
  const MethodInfo& info = find_method(name);
  Options options{std::string(name), values};
  if (info.kind == Kind::step) {
    auto method = info.make_method(options, theta, tasks);
    options.finish();
    return method;
  }
  StepOptions standard;
  standard.heads = info.kind == Kind::weighting ? Heads::weighted : Heads::own;
  standard.dtype = theta.dtype();
  standard.device = theta.values().device();
  const StepOptions step = read_step_options(options, standard);
  const auto make = [&] {  // once per block
    auto aggregator = info.make(options);
    options.finish();
    return aggregator;
  };
  return std::make_unique<StepMethod>(std::string(name), make, theta, tasks, step);
}

}  // namespace concord::multitask
