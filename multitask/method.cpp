#include <concord/multitask/method.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/check.h>
#include <concord/tensor/device.h>

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
             const StepOptions& options, int batches)
      : Method(std::move(name)),
        batches_(batches),
        at_features_(options.level == Level::features),
        vectors_(at_features_ || options.keep == Keep::none               ? 1
                 : options.refresh > 1 || options.keep == Keep::automatic ? tasks + 1
                                                                          : tasks),
        step_(theta.store(), make, tasks, options),
        inputs_(static_cast<std::size_t>(tasks)) {}

  int batches() const override { return batches_; }
  bool needs_features() const override { return at_features_; }
  int vectors() const override { return vectors_; }

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    const auto part = [&](StepPart& as, bool waits, const auto& work) {
      if (graphs() && !waits)
        as.run(ctx.theta->device(), work);
      else
        work();
    };
    step_.restart();
    part(to_gram_, ctx.tape->waits(), [&] {
      for (int b = 0; b < batches_; ++b) {
        ctx.tape->reset();
        const Var features = forward(model, for_batch(ctx, b), b);
        step_.accumulate(*ctx.tape, losses_, when, 1.0 / batches_, features);
      }
    });
    step_.combine();
    part(from_weights_, optimizer.clip.norm > 0,
         [&] { optimizer.step(*ctx.theta, step_.direction(), step_.squared_norm()); });
    if (step_.method().needs_losses_after() && step_.fresh()) learn(model, ctx);
    losses_.clear();  // Vars hold on to tensors
  }

  StepInputs inputs() const override { return step_.inputs(); }
  const Direction& answer() const override { return step_.answer(); }
  bool fresh() const override { return step_.fresh(); }
  Step* inner() override { return &step_; }
  int graphs_made() const override { return to_gram_.graphs() + from_weights_.graphs(); }
  void save(State& state) const override { step_.save(state); }
  void load(const State& state) override { step_.load(state); }

 private:
  /// A batch's losses into losses_. Returns the features, if the method compares gradients there.
  Var forward(Model& model, const Context& ctx, int batch) {
    if (!at_features_) {
      model.losses(ctx, batch, losses_);
      return {};
    }
    const Var features = model.features(ctx, batch);
    inputs_.assign(inputs_.size(), features);
    model.losses_at(ctx, batch, inputs_, losses_);
    inputs_.assign(inputs_.size(), Var());
    return features;
  }

  /// The losses of the same batches once more, for methods that ask what the step did to them.
  void learn(Model& model, Context ctx) {
    ctx.tape = nullptr;
    sums_.assign(inputs_.size(), 0.0);
    for (int b = 0; b < batches_; ++b) {
      forward(model, for_batch(ctx, b), b);
      const Tensor values = values_of(losses_).to(kCpu);
      for (std::size_t t = 0; t < sums_.size(); ++t) {
        const auto row = static_cast<index_t>(t);
        if (losses_[t].value().defined()) sums_[t] += values.rows(row, row + 1).item() / batches_;
      }
    }
    for (std::size_t t = 0; t < sums_.size(); ++t)
      losses_[t] = Tensor::full({}, sums_[t], DType::f64);
    step_.after(losses_);
  }

  int batches_;
  bool at_features_;
  int vectors_;
  Step step_;
  StepPart to_gram_, from_weights_;
  std::vector<Var> inputs_, losses_;
  std::vector<double> sums_;
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
  const int batches = options.integer("micro_batches", 1, 1, 1 << 10);
  const auto make = [&] {  // once per block
    auto aggregator = info.make(options);
    options.finish();
    return aggregator;
  };
  return std::make_unique<StepMethod>(std::string(name), make, theta, tasks, step, batches);
}

}  // namespace concord::multitask
