// CR-MOGM: Zhou, Zhang, Jiang, Zhong, Gu, Zhu, "On the Convergence of Stochastic Multi-Objective
// Gradient Manipulation and Beyond", NeurIPS 2022. The weights of any other method, smoothed:
//
//   w <- ema w + (1 - ema) w_base,   at first w_base
//
// Options other than base and ema are the base method's. A task absent from a step keeps its w.
#include <concord/multitask/methods.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/check.h>

#include <utility>

namespace concord::multitask {

namespace {

class CrMogm : public Aggregator {
 public:
  CrMogm(AggregatorPtr base, double ema)
      : Aggregator("cr_mogm"), base_(std::move(base)), ema_(ema) {}

  bool needs_losses() const override { return base_->needs_losses(); }
  bool needs_elements() const override { return base_->needs_elements(); }
  bool needs_losses_after() const override { return base_->needs_losses_after(); }
  void save(State& state) const override {
    base_->save(state);
    state["cr_mogm.w"] = w_;
    state["cr_mogm.seen"] = seen_;
  }
  void load(const State& state) override {
    base_->load(state);
    const auto found = state.find("cr_mogm.w");
    const std::size_t size = found == state.end() ? 0 : found->second.size();
    w_ = state_entry(state, "cr_mogm", "cr_mogm.w", size);
    seen_ = state_entry(state, "cr_mogm", "cr_mogm.seen", size);
  }

 private:
  bool rewrite_rows(const StepInputs& in, const Elements& rows) override {
    return base_->rewrite(in, rows);
  }

  void solve(const StepInputs& in, Direction& out) override {
    base_->weights(in, out);
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r));
      if (t >= w_.size()) {
        w_.resize(t + 1, 0.0);
        seen_.resize(t + 1, 0.0);
      }
      double& w = out.weights[static_cast<std::size_t>(r)];
      if (seen_[t] != 0) w = ema_ * w_[t] + (1 - ema_) * w;
      w_[t] = w;
      seen_[t] = 1;
    }
  }

  void learn(std::span<const double> losses) override { base_->after_step(losses); }

  AggregatorPtr base_;
  double ema_;
  std::vector<double> w_, seen_;  // by task
};

}  // namespace

AggregatorPtr make_cr_mogm(Options& options) {
  const std::string base = options.text("base", "mgda");
  const double ema = options.number("ema", 0.9, 0, 1);
  if (base == "cr_mogm")
    throw ValueError("cr_mogm: option base is 'cr_mogm', expected another method");
  return std::make_unique<CrMogm>(find_aggregator(base).make(options), ema);
}

}  // namespace concord::multitask
