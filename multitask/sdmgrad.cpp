// SDMGrad: Xiao, Ban, Ji, "Direction-oriented Multi-objective Learning: Simple and Provable
// Stochastic Algorithms", NeurIPS 2023, arXiv 2305.18409. With J_k the gradients of three
// independent batches of one step, and u = (1/T, ..., 1/T):
//
//   w <- projection onto the simplex of w - lr * velocity,   velocity <- momentum velocity + M (w +
//   lambda u),   `iterations` times from the w of the last step (u at first), M = J_1 J_2^T / s^2
//   d = (J_3^T w + lambda J_3^T u) / (1 + lambda)
//
// M w + lambda M u is an unbiased estimate of the gradient of |E[J]^T w|^2 / 2 + lambda <E[J]^T w,
// g_0>, up to the scale s = mean_t sqrt(|g_t of batch 1| |g_t of batch 2|). (The authors' code
// takes the root of M's diagonal, which for independent batches may be negative, and in its
// training loop aliases the three batches.) J_3 is needed only combined: its sweep carries one row
// through the trunk. A task absent from a step keeps its w; the others' sum to one then. What
// telemetry sees is J_1.
#include <concord/multitask/driver.h>
#include <concord/multitask/solvers/simplex.h>
#include <concord/multitask/training_methods.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

struct Setting {
  double lambda, lr, momentum;
  int iterations;
};

class SdmGrad final : public Driver {
 public:
  SdmGrad(const Theta& like, int tasks, const Setting& setting)
      : Driver("sdmgrad", like, tasks, tasks),
        set_(setting),
        w_(static_cast<std::size_t>(tasks), 1.0 / tasks),
        second_(like.store(), tasks, like.dtype(), Columns::trunk, like.values().device()),
        combined_(like.store(), 1, like.dtype(), Columns::shared, like.values().device()) {}

  int batches() const override { return 3; }
  int vectors() const override { return 2 * tasks() + 1; }
  void save(State& state) const override { state["sdmgrad.w"] = w_; }
  void load(const State& state) override {
    w_ = state_entry(state, "sdmgrad", "sdmgrad.w", w_.size());
  }

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    begin(model, ctx, when);
    forward(model, ctx, 1);
    sweep(*ctx.tape, second_);
    gram_of(second_, present_, second_gram_);
    second_gram_.check_finite(name(), present_);
    const std::size_t n = present_.size();
    double scale = 0;
    for (int r = 0; r < gram_.tasks(); ++r)
      scale += std::sqrt(gram_.norm(r) * second_gram_.norm(r)) / static_cast<double>(n);
    cross_.resize(n * n);
    products(shared_elements(rows_, present_), shared_elements(second_, present_), cross_,
             scratch_);
    for (double& m : cross_) m = scale > 0 ? m / (scale * scale) : 0.0;
    clear_answer();
    find_weights();
    found_ = answer_.weights;
    for (double& w : answer_.weights)
      w = (w + set_.lambda / static_cast<double>(n)) / (1 + set_.lambda);
    spread_weights();

    forward(model, ctx, 2);
    sweep(*ctx.tape, combined_, {.combine = weights_});
    vars_.clear();  // Vars hold on to tensors
    const double squared = squared_norm(combined_), one = 1;
    for (std::size_t r = 0; r < n; ++r) w_[static_cast<std::size_t>(present_[r])] = found_[r];
    optimizer.step(*ctx.theta, {combined_, {&one, 1}}, squared);
  }

 private:
  void find_weights() {
    std::vector<double>& w = answer_.weights;
    const std::size_t n = w.size();
    for (std::size_t r = 0; r < n; ++r) w[r] = w_[static_cast<std::size_t>(present_[r])];
    velocity_.assign(n, 0.0);
    for (int i = 0; i < set_.iterations; ++i) {
      for (std::size_t r = 0; r < n; ++r) {
        double slope = 0;
        for (std::size_t c = 0; c < n; ++c)
          slope += cross_[r * n + c] * (w[c] + set_.lambda / static_cast<double>(n));
        velocity_[r] = set_.momentum * velocity_[r] + slope;
      }
      for (std::size_t r = 0; r < n; ++r) w[r] -= set_.lr * velocity_[r];
      project_onto_simplex(w, scratch_);
    }
  }

  Setting set_;
  std::vector<double> w_;
  GradientMatrix second_, combined_;
  Gram second_gram_;
  std::vector<double> cross_, velocity_, found_, scratch_;
};

}  // namespace

MethodPtr make_sdmgrad(Options& options, const Theta& like, int tasks) {
  constexpr double kMax = std::numeric_limits<double>::max();
  Setting set{};
  set.lambda = options.number("lambda", 0.3, 0, kMax);
  set.lr = options.number("lr", 5, 0, kMax);
  set.momentum = options.number("momentum", 0.5, 0, 1);
  set.iterations = options.integer("iterations", 20, 0, 1 << 20);
  return std::make_unique<SdmGrad>(like, tasks, set);
}

}  // namespace concord::multitask
