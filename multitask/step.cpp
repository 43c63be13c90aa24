#include <concord/multitask/elements.h>
#include <concord/multitask/step.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::multitask {

Step::Step(const ParameterStore& store, std::unique_ptr<Aggregator> method, int tasks, Heads heads,
           DType dtype, Device device)
    : method_(std::move(method)),
      heads_(heads),
      gradients_(store, tasks, dtype, Columns::shared, device),
      weights_(static_cast<std::size_t>(tasks)) {}

void Step::backward(Tape& tape, std::span<const Var> losses, const When& when,
                    const SweepOptions& sweep) {
  if (losses.size() != weights_.size()) {
    throw ShapeError(fmt::format("step: {} losses for {} tasks", losses.size(), weights_.size()));
  }
  when_ = when;
  seeds_.clear();
  present_.clear();
  losses_.clear();
  for (std::size_t t = 0; t < losses.size(); ++t) {
    if (!losses[t].value().defined()) continue;
    seeds_.push_back({losses[t], static_cast<int>(t), 1, {}});
    present_.push_back(static_cast<int>(t));
    losses_.push_back(losses[t].item());
  }
  tape.backward(seeds_, gradients_.tasks(), &gradients_, sweep);
  seeds_.clear();  // Vars hold on to tensors
  gram_of(gradients_, present_, gram_);
  if (method_->needs_elements() && method_->rewrite(inputs(), elements_of(gradients_, present_))) {
    gram_of(gradients_, present_, gram_);
  }
  method_->weights(inputs(), answer_);
  std::fill(weights_.begin(), weights_.end(), 0.0);
  for (std::size_t r = 0; r < present_.size(); ++r)
    weights_[static_cast<std::size_t>(present_[r])] = answer_.weights[r];
}

void Step::after(std::span<const Var> losses) {
  if (losses.size() != weights_.size()) {
    throw ShapeError(fmt::format("step: {} losses for {} tasks", losses.size(), weights_.size()));
  }
  losses_after_.clear();
  for (const int t : present_) losses_after_.push_back(losses[static_cast<std::size_t>(t)].item());
  method_->after_step(losses_after_);
}

optim::Direction Step::direction() const {
  return {
      gradients_, weights_,
      heads_ == Heads::weighted ? std::span<const double>(weights_) : std::span<const double>{}};
}

}  // namespace concord::multitask
