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

  const Rows& all = worth_.rows();
  gather_rows(flat(rollout_.observation), all.rows, inputs_);
  gather_rows(flat(rollout_.action), all.rows, actions_);
  (*network_)({.theta = &learner_->theta()}, inputs_, all.bounds, &policies_, nullptr);
  for (std::size_t t = 0; t < policies_.size(); ++t) {
    const index_t first = all.bounds[t], last = all.bounds[t + 1];
    const Tensor now = log_prob(policies_[t], actions_.rows(first, last)).value().to(kCpu);
    for (index_t k = first; k < last; ++k) {
      const index_t row = all.rows[static_cast<std::size_t>(k)];
      log_ratio_.data<float>()[row] =
          now.data<float>()[k - first] - rollout_.log_prob.data<float>()[row];
    }
  }
  vtrace(worth_.stretch(), log_ratio_,
         {.gamma = options_.gamma, .lambda = options_.lambda, .rho = options_.rho, .c = options_.c},
         target_, advantage_);
  update_popart(all);
  learn(all);
}

void Impala::archive_own(const Archive& a) {
  OnPolicyAgent::archive_own(a);
  for (std::size_t k = 0; k < past_.size(); ++k)
    (a / "past")(fmt::format("{}", k), past_[k].values());
}

}  // namespace concord::rl
