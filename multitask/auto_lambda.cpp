// Auto-Lambda: Liu, James, Davison, Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships",
// TMLR 2022, arXiv 2202.03091. The weights lambda are learned so that a step along them lowers the
// primary tasks' loss on another batch. With a the learning rate and g_t the gradients of batch 0:
//
//   theta' = theta - a sum_t lambda_t g_t
//   v      = grad of sum_{primary k} L_k(theta'; batch 1)
//   lambda_t descends along -a <g_t, v>, by Adam with the rate lr; then d = sum_t lambda_t g_t
//
// -a <g_t, v> is the derivative of the primary loss at theta' by lambda_t. The rows g_t are at
// hand, so product=exact takes it as it stands; product=difference is the paper's and the authors'
// code: (L_t(theta + e v) - L_t(theta - e v)) / 2e with e = epsilon / |v|, two more forward passes.
// theta' is a plain gradient step, without momentum and weight decay.
#include <concord/multitask/driver.h>
#include <concord/multitask/learned.h>
#include <concord/multitask/training_methods.h>
#include <concord/tensor/check.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

struct Setting {
  double lambda, lr;
  std::vector<int> primary;  // empty: all
  bool fresh, exact;
  double epsilon;
};

class AutoLambda final : public Driver {
 public:
  AutoLambda(const Theta& like, int tasks, Setting setting)
      : Driver("auto_lambda", like, tasks, tasks),
        set_(std::move(setting)),
        lambda_(set_.lambda, set_.lr),
        primary_(static_cast<std::size_t>(tasks), set_.primary.empty() ? 1.0 : 0.0),
        v_(like.store(), 1, like.dtype(), Columns::all, like.values().device()),
        beside_(like) {
    for (const int t : set_.primary) {
      if (t >= tasks) {
        throw ValueError(
            fmt::format("auto_lambda: primary task {}, expected one of {} tasks", t, tasks));
      }
      primary_[static_cast<std::size_t>(t)] = 1;
    }
  }

  int batches() const override { return set_.fresh ? 2 : 1; }
  int vectors() const override { return tasks() + 2; }
  void save(State& state) const override { lambda_.save(state, "auto_lambda.lambda"); }
  void load(const State& state) override {
    lambda_.load(state, "auto_lambda", "auto_lambda.lambda");
  }

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    begin(model, ctx, when);
    take_weights();
    const bool judged = std::any_of(present_.begin(), present_.end(), [&](int t) {
      return primary_[static_cast<std::size_t>(t)] > 0;
    });
    if (judged) {  // else lambda stands still
      const Theta& moved = beside_.at(*ctx.theta, direction(Heads::weighted), optimizer.rate());
      forward(model, {&moved, ctx.tape, ctx.training, ctx.rng}, set_.fresh ? 1 : 0);
      sweep_sum(*ctx.tape, primary_, v_);
      products_.resize(present_.size());
      if (set_.exact) {
        exact_products();
      } else {
        differences(model, ctx);
      }
      for (std::size_t r = 0; r < present_.size(); ++r)
        lambda_.descend(static_cast<std::size_t>(present_[r]), -optimizer.rate() * products_[r]);
      take_weights();
    }
    vars_.clear();  // Vars hold on to tensors
    optimizer.step(*ctx.theta, direction(Heads::weighted), gram_.squared_norm(answer_.weights));
  }

 private:
  void take_weights() {
    clear_answer();
    for (std::size_t r = 0; r < present_.size(); ++r)
      answer_.weights[r] = lambda_.value(static_cast<std::size_t>(present_[r]));
  }

  /// <g_t, v> over the shared part and the head of task t.
  void exact_products() {
    products(shared_elements(rows_, present_), shared_elements(v_, {}), products_, scratch_);
    const ParameterStore& store = rows_.store();
    for (SliceId id = 0; id < store.slices(); ++id) {
      const int row =
          store.slice(id).group == kShared ? -1 : inputs().row_of(store.slice(id).group);
      if (row < 0) continue;
      double of_head = 0;
      products(elements_of(rows_.slice(id, store.slice(id).group)), elements_of(v_.slice(id, 0)),
               {&of_head, 1}, scratch_);
      products_[static_cast<std::size_t>(row)] += of_head;
    }
  }

  /// The same by central differences of the losses along v.
  void differences(Model& model, const Context& ctx) {
    const double squared = squared_norm_of(v_.row(0));  // over the heads, too
    std::fill(products_.begin(), products_.end(), 0.0);
    if (squared == 0) return;
    const double e = set_.epsilon / std::sqrt(squared), one = 1;
    for (const double sign : {1.0, -1.0}) {
      const Theta& moved = beside_.at(*ctx.theta, {v_, {&one, 1}}, -sign * e);
      forward(model, {.theta = &moved, .training = ctx.training, .rng = ctx.rng}, 0);
      for (std::size_t r = 0; r < present_.size(); ++r)
        products_[r] += sign * vars_[static_cast<std::size_t>(present_[r])].item() / (2 * e);
    }
  }

  Setting set_;
  LearnedPerTask lambda_;
  std::vector<double> primary_;  // 1 or 0 per task
  GradientMatrix v_;
  Beside beside_;
  std::vector<double> products_, scratch_;
};

}  // namespace

MethodPtr make_auto_lambda(Options& options, const Theta& like, int tasks) {
  constexpr double kMax = std::numeric_limits<double>::max();
  Setting set{};
  set.lambda = options.number("lambda", 0.1, -kMax, kMax);
  set.lr = options.number("lr", 1e-4, 0, kMax);
  set.primary = options.choice_or_tasks("primary", {"all"}).second;
  set.fresh = options.choice("batch", {"fresh", "same"}) == "fresh";
  set.exact = options.choice("product", {"exact", "difference"}) == "exact";
  set.epsilon = options.number("epsilon", 0.01, 1e-12, kMax);
  return std::make_unique<AutoLambda>(like, tasks, std::move(set));
}

}  // namespace concord::multitask
