// MoCo: Fernando, Shen, Liu, Chaudhury, Murugesan, Chen, "Mitigating Gradient Bias in
// Multi-objective Learning", ICLR 2023, arXiv 2210.12624, Algorithm 1. In step k = 1, 2, ...
//
//   y_t    <- y_t + b_k (h_t - y_t)                                        b_k = beta /
//   k^beta_decay lambda <- P(lambda - c_k (Y Y^T + rho I) lambda), 1/T at first         c_k = gamma
//   / k^gamma_decay d = Y^T lambda
//
// with h_t = g_t and P the projection onto the simplex. preset=libmtl follows the authors' code:
// h_t = L_t g_t / |g_t| and P = softmax. The tracked y_t take the rows' place. A task absent from a
// step keeps its y_t and lambda_t; the others' lambda sum to one then.
#include <concord/multitask/elements.h>
#include <concord/multitask/methods.h>
#include <concord/multitask/solvers/simplex.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace concord::multitask {

namespace {

struct Setting {
  double beta, beta_decay, gamma, gamma_decay, rho;
  bool by_loss;  // h_t = L_t g_t / |g_t|
  bool softmax;
};

class MoCo : public Aggregator {
 public:
  explicit MoCo(const Setting& setting) : Aggregator("moco"), set_(setting) {}

  bool needs_losses() const override { return set_.by_loss; }
  bool needs_elements() const override { return true; }
  void save(State& state) const override {
    state["moco.steps"] = {steps_};
    state["moco.lambda"] = lambda_;
    tracked_.save(state, "moco.y");
  }
  void load(const State& state) override {
    steps_ = state_entry(state, "moco", "moco.steps", 1)[0];
    const auto found = state.find("moco.lambda");
    lambda_ =
        state_entry(state, "moco", "moco.lambda", found == state.end() ? 0 : found->second.size());
    tracked_.load(state, "moco.y");
  }

 private:
  bool rewrite_rows(const StepInputs& in, const Elements& elements) override {
    steps_ += 1;
    const double b = set_.beta / std::pow(steps_, set_.beta_decay);
    std::visit(
        [&]<class T>(kernels::Rows<T> rows) {
          for (int r = 0; r < in.rows(); ++r) {
            double scale = 1;
            if (set_.by_loss && in.gram.norm(r) > 0)
              scale = in.losses[static_cast<std::size_t>(r)] / in.gram.norm(r);
            track(tracked_.at(in.task(r), elements, name()).template data<T>(), rows[r],
                  elements.columns, b, scale);
          }
        },
        elements.rows);
    return true;
  }

  /// y += b (scale g - y), and g = y.
  template <class T>
  static void track(T* y, T* g, index_t columns, double b, double scale) {
    const T step = static_cast<T>(b), factor = static_cast<T>(scale);
    for_columns(columns, [&](index_t first, index_t count, int) {
      for (index_t k = first; k < first + count; ++k) g[k] = y[k] += step * (factor * g[k] - y[k]);
    });
  }

  void solve(const StepInputs& in, Direction& out) override {
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r));
      if (t >= lambda_.size()) lambda_.resize(t + 1, 1.0 / in.rows());
      out.weights[static_cast<std::size_t>(r)] = lambda_[t];
    }
    const double c = set_.gamma / std::pow(steps_, set_.gamma_decay);
    slope_.resize(out.weights.size());
    in.gram.times(out.weights, slope_);
    for (std::size_t r = 0; r < slope_.size(); ++r)
      out.weights[r] -= c * (slope_[r] + set_.rho * out.weights[r]);
    if (set_.softmax) {
      const double most = *std::max_element(out.weights.begin(), out.weights.end());
      double sum = 0;
      for (double& w : out.weights) sum += w = std::exp(w - most);
      for (double& w : out.weights) w /= sum;
    } else {
      project_onto_simplex(out.weights, slope_);
    }
    for (int r = 0; r < in.rows(); ++r)
      lambda_[static_cast<std::size_t>(in.task(r))] = out.weights[static_cast<std::size_t>(r)];
  }

  Setting set_;
  double steps_ = 0;
  std::vector<double> lambda_, slope_;
  TaskVectors tracked_;
};

}  // namespace

AggregatorPtr make_moco(Options& options) {
  constexpr double kMax = std::numeric_limits<double>::max();
  const bool paper = options.choice("preset", {"paper", "libmtl"}) == "paper";
  Setting set{};
  set.beta = options.number("beta", 0.5, 0, kMax);
  set.beta_decay = options.number("beta_decay", 0.5, 0, kMax);
  set.gamma = options.number("gamma", 0.1, 0, kMax);
  set.gamma_decay = options.number("gamma_decay", 0.5, 0, kMax);
  set.rho = options.number("rho", 0, 0, kMax);
  set.by_loss =
      options.choice("track", {"gradient", "loss"}, paper ? "gradient" : "loss") == "loss";
  set.softmax =
      options.choice("onto", {"simplex", "softmax"}, paper ? "simplex" : "softmax") == "softmax";
  return std::make_unique<MoCo>(set);
}

}  // namespace concord::multitask
