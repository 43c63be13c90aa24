// MoDo: Chen, Fernando, Ying, Chen, "Three-Way Trade-Off in Multi-Objective Learning", NeurIPS
// 2023, arXiv 2305.20057. With J_k the gradients of three independent batches of one step:
//
//   lambda <- projection onto the simplex of lambda - c (J_1 J_2^T lambda + rho lambda),  1/T at
//   first d      = J_3^T lambda
//
// J_1 and J_2 are independent, so J_1 J_2^T is an unbiased estimate of E[J] E[J]^T; one batch twice
// is not. J_2 and J_3 are needed only as J_2^T lambda and J_3^T lambda: their sweeps carry one row
// through the trunk. A task absent from a step keeps its lambda; the others' sum to one then. What
// telemetry sees is J_1.
#include <concord/multitask/driver.h>
#include <concord/multitask/solvers/simplex.h>
#include <concord/multitask/training_methods.h>

#include <limits>

namespace concord::multitask {

namespace {

class MoDo final : public Driver {
 public:
  MoDo(const Theta& like, int tasks, double c, double rho)
      : Driver("modo", like, tasks, tasks),
        c_(c),
        rho_(rho),
        lambda_(static_cast<std::size_t>(tasks), 1.0 / tasks),
        combined_(like.store(), 1, like.dtype(), Columns::shared, like.values().device()) {}

  int batches() const override { return 3; }
  int vectors() const override { return tasks() + 1; }
  void save(State& state) const override { state["modo.lambda"] = lambda_; }
  void load(const State& state) override {
    lambda_ = state_entry(state, "modo", "modo.lambda", lambda_.size());
  }

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    begin(model, ctx, when);
    forward(model, ctx, 1);
    sweep(*ctx.tape, combined_, {.combine = lambda_});
    squared_norm(combined_);  // finite?
    slopes_.resize(present_.size());
    products(shared_elements(rows_, present_), shared_elements(combined_, {}), slopes_, scratch_);
    clear_answer();
    for (std::size_t r = 0; r < present_.size(); ++r) {
      const double lambda = lambda_[static_cast<std::size_t>(present_[r])];
      answer_.weights[r] = lambda - c_ * (slopes_[r] + rho_ * lambda);
    }
    project_onto_simplex(answer_.weights, scratch_);
    spread_weights();

    forward(model, ctx, 2);
    sweep(*ctx.tape, combined_, {.combine = weights_});
    vars_.clear();  // Vars hold on to tensors
    const double squared = squared_norm(combined_), one = 1;
    for (const int t : present_)
      lambda_[static_cast<std::size_t>(t)] = weights_[static_cast<std::size_t>(t)];
    optimizer.step(*ctx.theta, {combined_, {&one, 1}}, squared);
  }

 private:
  double c_, rho_;
  std::vector<double> lambda_;
  GradientMatrix combined_;
  std::vector<double> slopes_, scratch_;
};

}  // namespace

MethodPtr make_modo(Options& options, const Theta& like, int tasks) {
  constexpr double kMax = std::numeric_limits<double>::max();
  const double c = options.number("c", 1e-3, 0, kMax);
  return std::make_unique<MoDo>(like, tasks, c, options.number("rho", 0.1, 0, kMax));
}

}  // namespace concord::multitask
