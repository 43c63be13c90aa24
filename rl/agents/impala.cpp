#include <concord/rl/agents/impala.h>

#include <fmt/format.h>

namespace concord::rl {

Impala::Impala(EnvPtr env, const ImpalaOptions& options, std::uint64_t seed)
    : OnPolicyAgent("impala", std::move(env), options, seed),
      options_(options),
      log_ratio_(Tensor::zeros(target_.shape())) {
  if (options.lag < 0)
    throw ValueError(fmt::format("impala: lag is {}, expected at least 0", options.lag));
  for (index_t k = 0; k < options.lag; ++k) past_.push_back(learner_->theta().clone());
}

void Impala::iterate() {
  if (past_.empty()) {
    collect(learner_->theta());
  } else {
    const Theta& old = past_[static_cast<std::size_t>(learner_->steps() % options_.lag)];
    collect(old);
    old.copy_from(learner_->theta());
  }
  evaluate_values();

  gather_rows(rollout_.observation.view(rollout_.observation.shape().without(0).with(
                  0, (rollout_.steps() + 1) * rollout_.size())),
              all_rows_, inputs_);
  const Shape& a = rollout_.action.shape();
  gather_rows(rollout_.action.view(a.without(0).with(0, a[0] * a[1])), all_rows_, actions_);
  (*network_)({.theta = &learner_->theta()}, inputs_, all_bounds_, &policies_, nullptr);
  for (std::size_t t = 0; t < policies_.size(); ++t) {
    const index_t first = all_bounds_[t], last = all_bounds_[t + 1];
    const Tensor now = log_prob(policies_[t], actions_.rows(first, last)).value();
    for (index_t k = first; k < last; ++k) {
      const index_t row = all_rows_[static_cast<std::size_t>(k)];
      log_ratio_.data<float>()[row] =
          now.data<float>()[k - first] - rollout_.log_prob.data<float>()[row];
    }
  }
  vtrace(stretch_, log_ratio_,
         {.gamma = options_.gamma, .lambda = options_.lambda, .rho = options_.rho, .c = options_.c},
         target_, advantage_);
  update_popart();
  learn_all();
}

void Impala::archive_own(const Archive& a) {
  OnPolicyAgent::archive_own(a);
  for (std::size_t k = 0; k < past_.size(); ++k)
    (a / "past")(fmt::format("{}", k), past_[k].values());
}

}  // namespace concord::rl
