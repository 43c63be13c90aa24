// RotoGrad: Javaloy, Valera, "RotoGrad: Gradient Homogenization in Multitask Learning", ICLR 2022,
// arXiv 2103.02631. Head k is given R_k z, a rotation R_k = exp(W_k - W_k^T) of the shared features
// z, and both the lengths and the directions of the tasks' gradients are brought together. With G_k
// [n, d] the gradient of L_k with respect to z and |.| over the whole batch:
//
//   trunk      d = sum_k (C / |G_k|) g_k,   C = sum_k a_k |G_k|,   a_k = r_k / sum_j r_j,
//              r_k = |G_k| / |G_k of the task's first step|, of its step `burn_in` from then on
//   rotations  W_k descends along the gradient of mean_b |R_k v_b - R_k' G_kb|^2 by Adam with the
//              rate lr, v = mean_k of G_k made as long as the mean of all G_k
//
// where R_k' G_k, the gradient at head k's input, and v are constants. Heads follow their own
// gradients. The trunk is swept once, with one row; telemetry sees the G_k. `size` rotates only the
// first features (0: all); normalize=losses divides each loss by its value at the same step as r_k.
// An absent task's rotation and counts stand still.
#include <concord/autograd/ops.h>
#include <concord/multitask/driver.h>
#include <concord/multitask/rotograd.h>
#include <concord/multitask/training_methods.h>
#include <concord/optim/adam.h>
#include <concord/tensor/check.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>

namespace concord::multitask {

namespace {

Tensor identity(index_t d, DType dtype, Device device) {
  const Tensor eye = Tensor::zeros({d, d}, dtype, device),
               one = Tensor::full({1}, 1, dtype, device);
  kernels::on(eye, [&]<class T>(const kernels::Kernels<T>& k) {
    k.copy_box({1, {d}, {0}, {d + 1}}, kernels::one_row<const T>(one.data<T>()),
               kernels::one_row(eye.data<T>()));
  });
  return eye;
}

/// out = sum_k weights[k] rows[k]
void combine(const Tensor& rows, std::span<const double> weights, const Tensor& out) {
  kernels::on(rows, [&]<class T>(const kernels::Kernels<T>& k) {
    k.combine(out.numel(),
              {rows.data<T>(), out.numel(), static_cast<int>(weights.size()), weights.data()},
              out.data<T>());
  });
}

/// Each sample's features rotated by r [s, s]: the first s of them.
Var rotate(const Var& features, const Var& r) {
  const index_t s = r.dim(0), d = features.dim(1);
  if (s == d) return linear(features, r);
  return concat({linear(slice(features, 1, 0, s), r), slice(features, 1, s, d)}, 1);
}

/// One task's rotation with all that moves it.
struct Rotation {
  Rotation(index_t d, DType dtype, Device device, double lr)
      : w(store.add("rotation", {d, d}, [](const Tensor& values, const Rng&) { values.zero(); })),
        theta(store, dtype, device),
        adam(theta, {.rate = lr}),
        gradient(store, 1, dtype, Columns::all, device),
        matrix(identity(d, dtype, device)) {}

  ParameterStore store;
  SliceId w;
  Theta theta;
  optim::Adam adam;
  GradientMatrix gradient;
  Tensor matrix;  // R, what the heads see
};

struct Setting {
  double lr;
  int size;
  double burn_in;
  bool normalize_losses;
};

class RotoGrad final : public Driver {
 public:
  RotoGrad(const Theta& like, int tasks, const Setting& setting)
      : Driver("rotograd", like, tasks, 1),
        set_(setting),
        dtype_(like.dtype()),
        rotations_(static_cast<std::size_t>(tasks)),
        steps_(rotations_.size()),
        first_norms_(rotations_.size()),
        first_losses_(rotations_.size(), 1.0),
        scale_(rotations_.size()) {}

  bool needs_features() const override { return true; }
  int vectors() const override { return 1; }

  Var head_input(int task, const Var& features) const override {
    const auto& rotation = rotations_[static_cast<std::size_t>(task)];
    return rotation ? rotate(features, rotation->matrix) : features;
  }

  void save(State& state) const override;
  void load(const State& state) override;
  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override;

 private:
  void take_gram(const Tensor& gradients);
  void note_first_values();
  void find_weights();
  void turn(const Tensor& gradients);

  Setting set_;
  DType dtype_;
  std::vector<std::unique_ptr<Rotation>> rotations_;  // null until the features' size is known
  std::vector<double> steps_, first_norms_, first_losses_;  // by task
  std::vector<double> scale_;                               // of the losses, by task
  std::vector<Var> inputs_;                                 // of the heads
  std::vector<Tensor> feature_gradients_;                   // [tasks, n, d], of the wanted features
  std::vector<double> shares_;                              // of v, by task
  Tape tape_;                                               // of the rotations
};

void RotoGrad::step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
                    const Step::When& when) {
  ctx.tape->reset();
  const Var features = model.features(ctx, 0);
  if (features.rank() != 2 || set_.size > features.dim(1)) {
    throw ShapeError(
        fmt::format("rotograd: features must be [n, d], with d at least {}", set_.size),
        {{"features", describe(features.value())}});
  }
  inputs_.clear();
  for (std::size_t t = 0; t < rotations_.size(); ++t) {
    if (!rotations_[t]) {
      const index_t d = set_.size > 0 ? set_.size : features.dim(1);
      rotations_[t] = std::make_unique<Rotation>(d, dtype_, rows_.device(), set_.lr);
    }
    inputs_.push_back(head_input(static_cast<int>(t), features));
  }
  model.losses_at(ctx, 0, inputs_, vars_);
  inputs_.clear();
  note_present(when);
  for (const int t : present_) {
    const auto i = static_cast<std::size_t>(t);
    const bool first = steps_[i] == 0 || steps_[i] == set_.burn_in;
    const double loss = first ? vars_[i].item() : first_losses_[i];
    scale_[i] = set_.normalize_losses ? 1 / loss : 1.0;
  }
  sweep(*ctx.tape, rows_,
        {.wanted = {&features, 1},
         .gradients = &feature_gradients_,
         .stop_at_wanted = true,
         .heads_only = true},
        scale_);
  vars_.clear();  // Vars hold on to tensors
  const Tensor& gradients = feature_gradients_[0];
  take_gram(gradients);
  note_first_values();
  find_weights();
  spread_weights();
  const Tensor direction = Tensor::empty_like(features.value());
  combine(gradients, weights_, direction);
  const Seed seed{features, 0, 1, direction};
  ctx.tape->backward(std::span(&seed, 1), 1, &rows_, {.add = true});
  const double squared = squared_norm(rows_), one = 1;
  optimizer.step(*ctx.theta, {rows_, {&one, 1}}, squared);
  turn(gradients);
  for (const int t : present_) steps_[static_cast<std::size_t>(t)] += 1;
}

/// The Gram matrix of the tasks present: rows of [tasks, n, d].
void RotoGrad::take_gram(const Tensor& gradients) {
  gram_of(rows_of(gradients, present_), gram_);
  gram_.check_finite(name(), present_);
}

void RotoGrad::note_first_values() {
  for (std::size_t r = 0; r < present_.size(); ++r) {
    const auto t = static_cast<std::size_t>(present_[r]);
    if (steps_[t] != 0 && steps_[t] != set_.burn_in) continue;
    first_norms_[t] = gram_.norm(static_cast<int>(r));
    first_losses_[t] = losses_[r];
  }
}

void RotoGrad::find_weights() {
  constexpr double kTiny = 1e-15;
  double ratios = 0, length = 0;
  for (std::size_t r = 0; r < present_.size(); ++r) {
    const double first = first_norms_[static_cast<std::size_t>(present_[r])];
    const double norm = gram_.norm(static_cast<int>(r)), ratio = norm / std::max(first, kTiny);
    ratios += ratio;
    length += ratio * norm;
  }
  clear_answer();
  if (ratios == 0) {
    answer_.note = "all gradients are zero";
    return;
  }
  for (std::size_t r = 0; r < present_.size(); ++r) {
    const double norm = gram_.norm(static_cast<int>(r));
    answer_.weights[r] = norm > 0 ? length / ratios / norm : 0.0;
  }
}

/// One step of each present task's rotation.
void RotoGrad::turn(const Tensor& gradients) {
  const double n = static_cast<double>(present_.size());
  // v = sum_k c |G_k|^-1 G_k / n with c = |sum_k G_k / n|
  shares_.assign(present_.size(), 1 / n);
  const double mean_norm = std::sqrt(gram_.squared_norm(shares_));
  shares_.assign(weights_.size(), 0.0);
  for (std::size_t r = 0; r < present_.size(); ++r) {
    const double norm = gram_.norm(static_cast<int>(r));
    shares_[static_cast<std::size_t>(present_[r])] = norm > 0 ? mean_norm / norm / n : 0.0;
  }
  const Tensor v = Tensor::empty_like(gradients[0]);
  combine(gradients, shares_, v);
  for (const int t : present_) {
    Rotation& rotation = *rotations_[static_cast<std::size_t>(t)];
    const index_t s = rotation.matrix.dim(0);
    const Var target = linear(slice(gradients[t], 1, 0, s), rotation.matrix);
    tape_.reset();
    const Var r = rotation_of(tape_.parameter(rotation.theta, rotation.w));
    const Var difference = linear(slice(v, 1, 0, s), r) - target;
    const Var loss = sum(square(difference)) * (1.0 / static_cast<double>(v.dim(0)));
    tape_.backward({loss}, rotation.gradient);
    const double one = 1;
    rotation.adam.step(rotation.theta, {rotation.gradient, {&one, 1}});
    rotation.matrix = rotation_of(rotation.theta[rotation.w]).value();
  }
  tape_.reset();
}

void RotoGrad::save(State& state) const {
  state["rotograd.steps"] = steps_;
  state["rotograd.first_norms"] = first_norms_;
  state["rotograd.first_losses"] = first_losses_;
  for (std::size_t t = 0; t < rotations_.size(); ++t) {
    if (!rotations_[t]) continue;
    const std::string key = fmt::format("rotograd.{}", t);
    save_tensor(state, key, rotations_[t]->theta.values());
    for (const auto& [name, tensor] : rotations_[t]->adam.state())
      save_tensor(state, key + "." + name, tensor);
    state[key + ".shape"] = {static_cast<double>(rotations_[t]->matrix.dim(0)),
                             static_cast<double>(rotations_[t]->adam.steps())};
  }
}

void RotoGrad::load(const State& state) {
  const std::size_t tasks = rotations_.size();
  steps_ = state_entry(state, name(), "rotograd.steps", tasks);
  first_norms_ = state_entry(state, name(), "rotograd.first_norms", tasks);
  first_losses_ = state_entry(state, name(), "rotograd.first_losses", tasks);
  for (std::size_t t = 0; t < tasks; ++t) {
    rotations_[t].reset();
    const std::string key = fmt::format("rotograd.{}", t);
    if (state.find(key) == state.end()) continue;
    const auto& shape = state_entry(state, name(), key + ".shape", 2);
    rotations_[t] =
        std::make_unique<Rotation>(static_cast<index_t>(shape[0]), dtype_, rows_.device(), set_.lr);
    Rotation& rotation = *rotations_[t];
    load_tensor(state, name(), key, rotation.theta.values());
    for (const auto& [entry, tensor] : rotation.adam.state())
      load_tensor(state, name(), key + "." + entry, tensor);
    rotation.adam.steps(static_cast<std::int64_t>(shape[1]));
    rotation.matrix = rotation_of(rotation.theta[rotation.w]).value();
  }
}

}  // namespace

Var rotation_of(const Var& w) {
  if (w.rank() != 2 || w.dim(0) != w.dim(1)) {
    throw ShapeError("rotograd: a rotation needs a square matrix",
                     {{"matrix", describe(w.value())}});
  }
  const index_t d = w.dim(0);
  const Var one = identity(d, w.dtype(), w.value().device());
  const Var skew = w - transpose(w, 0, 1);
  // Frobenius norm at most 1/2 before the squarings; 0.5^k / k! is below rounding then.
  int squarings = 0;
  for (double size = std::sqrt(squared_norm_of(skew.value())); size > 0.5 && squarings < 60;
       size /= 2)
    ++squarings;
  const Var x = skew * std::ldexp(1.0, -squarings);
  const int degree = w.dtype() == DType::f32 ? 8 : 14;
  Var r = one;
  for (int k = degree; k >= 1; --k) r = one + matmul(x, r) * (1.0 / k);
  for (int i = 0; i < squarings; ++i) r = matmul(r, r);
  return r;
}

MethodPtr make_rotograd(Options& options, const Theta& like, int tasks) {
  Setting set{};
  set.lr = options.number("lr", 1e-4, 0, std::numeric_limits<double>::max());
  set.size = options.integer("size", 0, 0, 1 << 20);
  set.burn_in = options.integer("burn_in", 20, 0, 1 << 30);
  set.normalize_losses = options.choice("normalize", {"none", "losses"}) == "losses";
  return std::make_unique<RotoGrad>(like, tasks, set);
}

}  // namespace concord::multitask
