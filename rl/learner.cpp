#include <concord/optim/adam.h>
#include <concord/optim/rmsprop.h>
#include <concord/optim/sgd.h>
#include <concord/rl/learner.h>

#include <fmt/format.h>

namespace concord::rl {
namespace {

Theta initialised(const ParameterStore& store, const Rng& rng, Device device) {
  Theta theta(store, DType::f32, device);
  theta.initialize(rng);
  return theta;
}

std::unique_ptr<optim::Optimizer> make_optimizer(const LearnerOptions& o, const Theta& theta) {
  if (o.optimizer == "adam")
    return std::make_unique<optim::Adam>(theta, optim::AdamOptions{.rate = o.rate, .eps = o.eps});
  if (o.optimizer == "rmsprop")
    return std::make_unique<optim::Rmsprop>(
        theta, optim::RmspropOptions{
                   .rate = o.rate, .alpha = o.smoothing, .eps = o.eps, .momentum = o.momentum});
  if (o.optimizer == "sgd")
    return std::make_unique<optim::Sgd>(theta,
                                        optim::SgdOptions{.rate = o.rate, .momentum = o.momentum});
  throw_unknown("optimizer", o.optimizer, {"adam", "rmsprop", "sgd"});
}

}  // namespace

Learner::Learner(const ParameterStore& store, int losses, const LearnerOptions& options,
                 const Rng& rng)
    : options_(options),
      rng_(rng.fork("method")),
      theta_(initialised(store, rng, options.device)),
      optimizer_(make_optimizer(options, theta_)),
      method_(multitask::make_method(options.method, options.method_options, theta_, losses)),
      telemetry_(losses) {
  optimizer_->clip.norm = options.clip_norm;
  if (method_->batches() != 1)
    throw ValueError(
        fmt::format("learner: method '{}' wants {} independent batches per step, agents have one",
                    options.method, method_->batches()));
}

void Learner::descend(multitask::Model& batch, Stopwatch& watch, double rate_factor) {
  optimizer_->rate(options_.rate * rate_factor);
  const multitask::Step::When when{.step = steps_, .rng = rng_};
  const double seconds = optimizer_->seconds();
  method_->step(batch,
                {.theta = &theta_,
                 .tape = &tape_,
                 .training = true,
                 .rng = rng_.fork("step").fork(static_cast<std::uint64_t>(steps_))},
                *optimizer_, when);
  if (method_->fresh()) telemetry_.record(method_->inputs(), method_->answer());
  ++steps_;
  watch.lap(Phase::backward);
  watch.move(optimizer_->seconds() - seconds, Phase::backward, Phase::optimizer);
}

void Learner::archive(const Archive& a) {
  a("theta", theta_.values());
  a("buffers", theta_.buffers());
  for (const auto& [name, values] : optimizer_->state()) (a / "optimizer")(name, values);
  a.state("method", *method_);
  a.state("telemetry", telemetry_);
  a("steps", steps_);
  optimizer_->steps(steps_);
}

}  // namespace concord::rl
