#include <concord/multitask/registry.h>
#include <concord/optim/adam.h>
#include <concord/optim/rmsprop.h>
#include <concord/optim/sgd.h>
#include <concord/rl/learner.h>

namespace concord::rl {
namespace {

Theta initialised(const ParameterStore& store, const Rng& rng) {
  Theta theta(store);
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

multitask::Heads heads_of(const std::string& method) {
  return multitask::find_method(method).kind == multitask::Kind::weighting
             ? multitask::Heads::weighted
             : multitask::Heads::own;
}

}  // namespace

Learner::Learner(const ParameterStore& store, int losses, const LearnerOptions& options,
                 const Rng& rng)
    : options_(options),
      rng_(rng.fork("method")),
      theta_(initialised(store, rng)),
      optimizer_(make_optimizer(options, theta_)),
      step_(store, multitask::make_aggregator(options.method, options.method_options), losses,
            {.heads = heads_of(options.method)}),
      telemetry_(losses) {
  optimizer_->clip.norm = options.clip_norm;
  losses_.reserve(static_cast<std::size_t>(losses));
}

void Learner::descend(Stopwatch& watch, double rate_factor) {
  step_.backward(tape_, losses_, {.step = steps_, .rng = rng_});
  watch.lap(Phase::backward);
  optimizer_->rate(options_.rate * rate_factor);
  optimizer_->step(theta_, step_.direction(), step_.squared_norm());
  telemetry_.record(step_.inputs(), step_.answer());
  ++steps_;
  watch.lap(Phase::optimizer);
}

void Learner::archive(const Archive& a) {
  a("theta", theta_.values());
  a("buffers", theta_.buffers());
  for (const auto& [name, values] : optimizer_->state()) (a / "optimizer")(name, values);
  a.state("method", step_);
  a.state("telemetry", telemetry_);
  a("steps", steps_);
  optimizer_->steps(steps_);
}

}  // namespace concord::rl
