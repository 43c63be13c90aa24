// SGSU: Lee, Son, "Multitask Learning with Single Gradient Step Update for Task Balancing", arXiv
// 2005.09910. The paper's abstract fixes the idea: shared layers and heads are trained apart, the
// shared ones by an inner and an outer loop as in MAML. What it leaves open are options here; the
// default is the plain reading. With theta the shared part and phi_t the heads:
//
//   heads    phi_t   <- step along grad_phi L_t(theta, phi_t)
//   inner    theta_t' = theta - alpha grad_theta L_t(theta, phi_t)
//   outer    theta   <- step along sum_t grad_theta L_t(theta_t', phi_t)
//
//   outer=first_order  the gradient g_t' at theta_t', as it stands
//   outer=exact        its derivative through the inner step, g_t' - alpha H_t g_t'; H_t g by a
//   finite
//                      difference of gradients, (grad L_t(theta + e u) - grad L_t(theta - e u)) |g|
//                      / 2e along u = g/|g|, e = epsilon
//   batch=same, fresh  the outer loss on the inner batch, or on an independent one
//   reduction=sum, mean   over the tasks in the outer step
//   inner=own, sum     each task steps along its own gradient, or all along their sum
//   heads=theta, moved    where the heads' gradient is taken: at theta or at theta_t'
//   order=heads, shared, together   which part moves first; together: both from one recording
//
// To first order in alpha the exact form descends along the gradient of L_t - alpha |g_t|^2: steep,
// curved losses are damped. Beyond a curvature of 1 / alpha the outer step leads uphill, and
// nothing keeps the run away from there: choose alpha small. Both steps are the optimiser's.
#include <concord/multitask/driver.h>
#include <concord/multitask/training_methods.h>
#include <concord/tensor/kernels/kernels.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace concord::multitask {

namespace {

struct Setting {
  double alpha, epsilon;
  bool exact, fresh, mean, own_step, heads_moved;
  std::string order;
};

class Sgsu final : public Driver {
 public:
  Sgsu(const Theta& like, int tasks, Setting setting)
      : Driver("sgsu", like, tasks, tasks),
        set_(std::move(setting)),
        one_(like.store(), 1, like.dtype(), Columns::all, like.values().device()),
        ahead_(set_.exact ? Tensor::empty({rows_.columns()}, like.dtype(), like.values().device())
                          : Tensor()),
        pick_(static_cast<std::size_t>(tasks)),
        beside_(like) {}

  int batches() const override { return set_.fresh ? 2 : 1; }
  int vectors() const override { return tasks() + 2 + set_.exact; }
  void save(State&) const override {}
  void load(const State&) override {}

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    begin(model, ctx, when);
    if (set_.order == "together") {
      outer(model, ctx, set_.exact);
      step_part(ctx, optimizer, optim::Part::all);
    } else {
      // Two steps of the optimiser that count as one.
      const std::int64_t steps = optimizer.steps();
      const bool heads_first = set_.order == "heads";
      for (const bool heads : {heads_first, !heads_first}) {
        if (heads != heads_first) {  // the other part has moved since
          forward(model, ctx, 0);
          sweep_rows(*ctx.tape);
        }
        if (!heads || set_.heads_moved) outer(model, ctx, set_.exact && !heads);
        optimizer.steps(steps);
        step_part(ctx, optimizer, heads ? optim::Part::heads : optim::Part::shared);
      }
    }
    vars_.clear();
  }

 private:
  void step_part(const Context& ctx, optim::Optimizer& optimizer, optim::Part part) {
    clear_answer();
    std::fill(answer_.weights.begin(), answer_.weights.end(),
              set_.mean ? 1.0 / static_cast<double>(present_.size()) : 1.0);
    optimizer.step(*ctx.theta, direction(Heads::own, part), gram_.squared_norm(answer_.weights));
  }

  /// θ - rate * (sum of the picked rows).
  const Theta& beside(const Context& ctx, double rate) {
    optim::Direction d{rows_, pick_};
    d.part = optim::Part::shared;
    return beside_.at(*ctx.theta, d, rate);
  }
  /// Task t alone, or all tasks.
  void pick(int task, bool all) {
    std::fill(pick_.begin(), pick_.end(), 0.0);
    if (!all) pick_[static_cast<std::size_t>(task)] = 1;
    for (const int t : present_) pick_[static_cast<std::size_t>(t)] += all;
  }

  /// The rows at θ become the outer gradients; with heads=moved the heads' gradients are replaced,
  /// too.
  void outer(Model& model, const Context& ctx, bool exact) {
    const int batch = set_.fresh ? 1 : 0;
    for (const int t : present_) {
      if (set_.own_step || t == present_[0]) {
        pick(t, !set_.own_step);
        const Theta& moved = beside(ctx, set_.alpha);
        forward(model, {&moved, ctx.tape, ctx.training, ctx.rng}, batch);
      }
      pick(t, false);
      sweep_sum(*ctx.tape, pick_, one_);
      rows_.row(t).copy_from(one_.row(0).rows(0, rows_.columns()));
      if (set_.heads_moved) {
        for (SliceId id = 0; id < rows_.store().slices(); ++id) {
          if (rows_.store().slice(id).group == t) rows_.slice(id, t).copy_from(one_.slice(id, 0));
        }
      }
    }
    if (exact) {
      for (const int t : present_) subtract_curvature(model, ctx, t);
    }
    gram_of(rows_, present_, gram_);
    gram_.check_finite(name(), present_);
  }

  /// g' <- g' - alpha H g' in row t, H the Hessian of the loss of the inner step at θ.
  void subtract_curvature(Model& model, const Context& ctx, int t) {
    kernels::on(rows_.row(t), [&]<class T>(const kernels::Kernels<T>& k) {
      T* g = rows_.row(t).template data<T>();
      const double squared = squared_norm_of(rows_.row(t));
      if (squared == 0) return;
      const double norm = std::sqrt(squared);
      for (const double sign : {1.0, -1.0}) {
        pick(t, false);
        const Theta& moved = beside(ctx, -sign * set_.epsilon / norm);
        forward(model, {&moved, ctx.tape, ctx.training, ctx.rng}, 0);
        pick(t, !set_.own_step);
        sweep_sum(*ctx.tape, pick_, one_);
        if (sign > 0) ahead_.copy_from(one_.row(0).rows(0, rows_.columns()));
      }
      const double c = set_.alpha * norm / (2 * set_.epsilon);
      // g - c (ahead - behind), as an optimiser's step.
      for (const auto& [weight, gradient] : {std::pair(c, ahead_.template data<T>()),
                                             std::pair(-c, one_.row(0).template data<T>())}) {
        k.sgd_step(rows_.columns(), {.rate = 1}, {gradient, 0, 1, &weight}, g, nullptr);
      }
    });
  }

  Setting set_;
  GradientMatrix one_;        // one loss at θ'
  Tensor ahead_;              // its gradient at θ + e u
  std::vector<double> pick_;  // one weight per task
  Beside beside_;
};

}  // namespace

MethodPtr make_sgsu(Options& options, const Theta& like, int tasks) {
  constexpr double kMax = std::numeric_limits<double>::max();
  Setting set{};
  set.alpha = options.number("alpha", 0.001, 0, kMax);
  set.exact = options.choice("outer", {"first_order", "exact"}) == "exact";
  set.epsilon = options.number("epsilon", 0.01, 1e-12, kMax);
  set.fresh = options.choice("batch", {"same", "fresh"}) == "fresh";
  set.mean = options.choice("reduction", {"sum", "mean"}) == "mean";
  set.own_step = options.choice("inner", {"own", "sum"}) == "own";
  set.heads_moved = options.choice("heads", {"theta", "moved"}) == "moved";
  set.order = options.choice("order", {"heads", "shared", "together"});
  return std::make_unique<Sgsu>(like, tasks, std::move(set));
}

}  // namespace concord::multitask
