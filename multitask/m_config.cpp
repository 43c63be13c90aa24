// M-ConFIG: Liu, Chu, Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural
// Networks", ICLR 2025, arXiv 2408.11104, section 3.3 and Algorithm 1. ConFIG on moving averages of
// the gradients, with Adam's second moment of the pseudo gradient that its answer implies. In step
// k, with k_t the number of steps in which task t was present:
//
//   m_t <- beta1 m_t + (1 - beta1) g_t,             m^_t = m_t / (1 - beta1^k_t)
//   c    = ConFIG(m^)                               a_k = c (1 - beta1^k)
//   s   <- beta2 s + (1 - beta2) ((a_k - beta1 a_{k-1}) / (1 - beta1))^2
//   d    = c / (sqrt(s / (1 - beta2^k)) + eps)
//
// Row t becomes m^_t divided by that root, so that d has ConFIG's weights. Use it with plain SGD.
#include <concord/multitask/elements.h>
#include <concord/multitask/methods.h>
#include <concord/tensor/kernels/kernels.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

class MConfig : public Aggregator {
 public:
  MConfig(double beta1, double beta2, double eps, AggregatorPtr config)
      : Aggregator("m_config"),
        beta1_(beta1),
        beta2_(beta2),
        eps_(eps),
        config_(std::move(config)) {}

  bool needs_elements() const override { return true; }
  void save(State& state) const override {
    state["m_config.steps"] = {steps_};
    state["m_config.task_steps"] = task_steps_;
    moments_.save(state, "m_config.m");
    shared_.save(state, "m_config.shared");
  }
  void load(const State& state) override {
    steps_ = state_entry(state, "m_config", "m_config.steps", 1)[0];
    const auto found = state.find("m_config.task_steps");
    task_steps_ = state_entry(state, "m_config", "m_config.task_steps",
                              found == state.end() ? 0 : found->second.size());
    moments_.load(state, "m_config.m");
    shared_.load(state, "m_config.shared");
  }

 private:
  bool rewrite_rows(const StepInputs& in, const Elements& elements) override {
    steps_ += 1;
    std::visit([&](auto rows) { rewrite_as(in, elements, rows); }, elements.rows);
    return true;
  }

  template <class T>
  void rewrite_as(const StepInputs& in, const Elements& elements, kernels::Rows<T> rows) {
    const index_t columns = elements.columns;
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r));
      if (t >= task_steps_.size()) task_steps_.resize(t + 1, 0.0);
      task_steps_[t] += 1;
      const T correction = static_cast<T>(1 / (1 - std::pow(beta1_, task_steps_[t])));
      const T gain = static_cast<T>(1 - beta1_);
      T* m = moments_.at(in.task(r), elements, name()).template data<T>();
      T* g = rows[r];
      for_columns(columns, [&](index_t first, index_t count, int) {
        for (index_t k = first; k < first + count; ++k) {
          m[k] += gain * (g[k] - m[k]);
          g[k] = m[k] * correction;
        }
      });
    }
    gram_.resize(in.rows());
    kernels::cpu_table<T>().gram(columns, rows, gram_.values().data());
    config_->weights({.gram = gram_, .tasks = in.tasks}, answer_);

    const double bias1 = 1 - std::pow(beta1_, steps_), bias2 = 1 - std::pow(beta2_, steps_);
    T* last = shared_.at(0, elements, name()).template data<T>();
    T* s = shared_.at(1, elements, name()).template data<T>();
    for_columns(columns, [&](index_t first, index_t count, int) {
      for (index_t k = first; k < first + count; ++k) {
        double c = 0;
        for (std::int32_t r = 0; r < rows.count; ++r)
          c += answer_.weights[static_cast<std::size_t>(r)] * rows[r][k];
        const double now = c * bias1, pseudo = (now - beta1_ * last[k]) / (1 - beta1_);
        last[k] = static_cast<T>(now);
        s[k] = static_cast<T>(beta2_ * s[k] + (1 - beta2_) * pseudo * pseudo);
        const double root = std::sqrt(s[k] / bias2) + eps_;
        for (std::int32_t r = 0; r < rows.count; ++r)
          rows[r][k] = static_cast<T>(rows[r][k] / root);
      }
    });
  }

  void solve(const StepInputs&, Direction& out) override {
    out.weights = answer_.weights;
    out.residual = answer_.residual;
    out.note = answer_.note;
  }

  double beta1_, beta2_, eps_;
  AggregatorPtr config_;
  double steps_ = 0;
  std::vector<double> task_steps_;
  TaskVectors moments_, shared_;  // shared: 0 is the last a_k, 1 is s
  Gram gram_;
  Direction answer_;
};

}  // namespace

AggregatorPtr make_m_config(Options& options) {
  const double beta1 = options.number("beta1", 0.9, 0, 0.999999);
  const double beta2 = options.number("beta2", 0.999, 0, 0.999999999);
  const double eps = options.number("eps", 1e-8, 0, 1);
  return std::make_unique<MConfig>(beta1, beta2, eps, make_config(options));
}

}  // namespace concord::multitask
