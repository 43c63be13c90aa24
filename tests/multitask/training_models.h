// Small models for the methods that drive a training step, with gradients known in closed form.
#pragma once

#include <concord/autograd/ops.h>
#include <concord/multitask/method.h>
#include <concord/optim/sgd.h>

#include <memory>
#include <string>
#include <vector>

namespace concord::multitask {

/// Task t in batch b, with x [d] shared and a head y_t [d]:
///
///   L = (x - c)^T diag(a_t) (x - c) / 2 + |y_t - k_t x|^2 / 2,   c = centre_t + b shift_t
///
/// so that grad_x = a (x - c) + k (k x - y), grad_y = y - k x, and the Hessian by x is a + k^2.
struct Quadratic : Model {
  using Vector = std::vector<double>;

  struct Task {
    Vector a, centre, shift;
    double k = 0;
    bool present = true;
  };

  std::vector<Task> tasks;
  ParameterStore store;
  SliceId x;
  std::vector<SliceId> y;
  std::unique_ptr<Theta> theta;
  int evaluations = 0;

  explicit Quadratic(std::vector<Task> all, DType dtype = DType::f64, Vector x0 = {},
                     double y0 = 0.25)
      : tasks(std::move(all)) {
    const auto d = static_cast<index_t>(tasks[0].a.size());
    const auto fill = [](double v) { return [v](const Tensor& t, const Rng&) { t.fill(v); }; };
    x = Scope(store).parameter("x", {d}, fill(0.5));
    for (int t = 0; t < static_cast<int>(tasks.size()); ++t)
      y.push_back(Scope(store).task(t).parameter("y" + std::to_string(t), {d}, fill(y0)));
    theta = std::make_unique<Theta>(store, dtype);
    theta->initialize(Rng(1));
    if (!x0.empty()) {
      (*theta)[x].copy_from(tensor(x0));
    }
  }

  Tensor tensor(const Vector& v) const {
    return Tensor::from(std::span<const double>(v), {static_cast<index_t>(v.size())})
        .to(theta->dtype());
  }
  Vector centre(int task, int batch) const {
    const Task& t = tasks[static_cast<std::size_t>(task)];
    Vector c = t.centre;
    for (std::size_t i = 0; i < c.size(); ++i) c[i] += batch * t.shift[i];
    return c;
  }

  void losses(const Context& ctx, int batch, std::vector<Var>& out) override {
    ++evaluations;
    out.clear();
    const Var at = ctx.parameter(x);
    for (int t = 0; t < static_cast<int>(tasks.size()); ++t) {
      const Task& task = tasks[static_cast<std::size_t>(t)];
      if (!task.present) {
        out.emplace_back();
        continue;
      }
      const Var gap = at - Var(tensor(centre(t, batch)));
      const Var head = ctx.parameter(y[static_cast<std::size_t>(t)]) - at * task.k;
      out.push_back(sum(square(gap) * Var(tensor(task.a))) * 0.5 + sum(square(head)) * 0.5);
    }
  }

  Vector values(SliceId id) const {
    const Tensor v = (*theta)[id].to(DType::f64);
    return {v.values<double>().begin(), v.values<double>().end()};
  }
  double loss(int t, int batch, const Vector& at, const Vector& head) const {
    const Task& task = tasks[static_cast<std::size_t>(t)];
    const Vector c = centre(t, batch);
    double sum = 0;
    for (std::size_t i = 0; i < at.size(); ++i) {
      sum += task.a[i] * (at[i] - c[i]) * (at[i] - c[i]) / 2 +
             (head[i] - task.k * at[i]) * (head[i] - task.k * at[i]) / 2;
    }
    return sum;
  }
  Vector gradient(int t, int batch, const Vector& at, const Vector& head) const {
    const Task& task = tasks[static_cast<std::size_t>(t)];
    const Vector c = centre(t, batch);
    Vector g(at.size());
    for (std::size_t i = 0; i < at.size(); ++i)
      g[i] = task.a[i] * (at[i] - c[i]) + task.k * (task.k * at[i] - head[i]);
    return g;
  }
  Vector head_gradient(int t, const Vector& at, const Vector& head) const {
    Vector g(at.size());
    for (std::size_t i = 0; i < at.size(); ++i)
      g[i] = head[i] - tasks[static_cast<std::size_t>(t)].k * at[i];
    return g;
  }
};

/// Three tasks, pairwise in conflict here and there.
inline std::vector<Quadratic::Task> three_tasks() {
  return {{{1, 2, 0.5, 3, 1}, {1, -1, 2, 0.5, -2}, {0.3, 0.1, -0.2, 0, 0.4}, 0.5},
          {{2, 1, 1.5, 0.2, 4}, {-2, 1, 0, 1.5, 1}, {-0.1, 0.2, 0.3, -0.3, 0.1}, -0.7},
          {{0.4, 3, 2, 1, 0.6}, {0.5, 2, -1, -1, 0}, {0.2, -0.4, 0.1, 0.2, -0.1}, 0.3}};
}

/// A linear trunk z = X W^T and linear heads with squared errors, in n samples: a model with
/// features. Targets depend on the batch.
struct Linear : Model {
  static constexpr index_t kSamples = 7, kInputs = 6, kFeatures = 5, kOutputs = 3;

  int tasks;
  ParameterStore store;
  SliceId w;
  std::vector<SliceId> heads;
  std::unique_ptr<Theta> theta;
  std::vector<bool> present;
  std::vector<Tensor> inputs;                // by batch
  std::vector<std::vector<Tensor>> targets;  // by batch and task

  Linear(int tasks, DType dtype) : tasks(tasks), present(static_cast<std::size_t>(tasks), true) {
    const auto normal = [](const Tensor& t, const Rng& rng) { rng.fill_normal(t, 0, 0.5); };
    w = Scope(store).parameter("w", {kFeatures, kInputs}, normal);
    for (int t = 0; t < tasks; ++t) {
      heads.push_back(Scope(store).task(t).parameter("head" + std::to_string(t),
                                                     {kOutputs, kFeatures}, normal));
    }
    theta = std::make_unique<Theta>(store, dtype);
    theta->initialize(Rng(2));
    for (std::uint64_t b = 0; b < 3; ++b) {
      const Rng rng = Rng(3).fork(b);
      inputs.push_back(Tensor::empty({kSamples, kInputs}, dtype));
      rng.fill_normal(inputs.back());
      targets.emplace_back();
      for (int t = 0; t < tasks; ++t) {
        targets.back().push_back(Tensor::empty({kSamples, kOutputs}, dtype));
        rng.fork("target").fork(static_cast<std::uint64_t>(t)).fill_normal(targets.back().back());
      }
    }
  }

  Var features(const Context& ctx, int batch) override {
    return linear(inputs[static_cast<std::size_t>(batch)], ctx.parameter(w));
  }
  void losses_at(const Context& ctx, int batch, std::span<const Var> features,
                 std::vector<Var>& out) override {
    out.clear();
    for (std::size_t t = 0; t < heads.size(); ++t) {
      if (!present[t]) {
        out.emplace_back();
        continue;
      }
      const Var error = linear(features[t], ctx.parameter(heads[t])) -
                        Var(targets[static_cast<std::size_t>(batch)][t]);
      out.push_back(mean(square(error)) * (1.0 + static_cast<double>(t)));
    }
  }
  void losses(const Context& ctx, int batch, std::vector<Var>& out) override {
    const std::vector<Var> same(heads.size(), features(ctx, batch));
    losses_at(ctx, batch, same, out);
  }
};

/// A model, a method and plain gradient descent, step by step.
template <class M>
struct Loop {
  M& model;
  std::unique_ptr<Method> method;
  optim::Sgd sgd;
  Tape tape;
  std::int64_t steps = 0;

  Loop(M& m, std::string_view name, const OptionMap& options, double rate, int tasks)
      : model(m),
        method(make_method(name, options, *m.theta, tasks)),
        sgd(*m.theta, {.rate = rate}) {}

  void step() {
    method->step(model,
                 {.theta = model.theta.get(),
                  .tape = &tape,
                  .training = true,
                  .rng = Rng(4).fork(static_cast<std::uint64_t>(steps))},
                 sgd, {.step = steps, .epoch = 0, .rng = Rng(5)});
    ++steps;
  }
};

}  // namespace concord::multitask
