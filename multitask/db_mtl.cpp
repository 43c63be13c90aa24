// DB-MTL: Lin, Jiang, Ye, Zhang, Chen, Liu, Chen, Tsang, Kwok, "Dual-Balancing for Multi-Task
// Learning", arXiv 2308.12029. In step k = 1, 2, ...
//
//   h_t = gradient of log(L_t + 1e-8) = g_t / (L_t + 1e-8)          loss balancing
//   q_t <- h_t + b_k (q_t - h_t),  0 at first                       b_k = beta / k^beta_decay
//   d   = sum_t (max_j |q_j| / |q_t|) q_t                           gradient balancing
//
// The averages q_t take the rows' place; a zero q_t counts nothing.
#include <concord/multitask/elements.h>
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

class DbMtl : public Aggregator {
 public:
  DbMtl(double beta, double decay) : Aggregator("db_mtl"), beta_(beta), decay_(decay) {}

  bool needs_losses() const override { return true; }
  bool needs_elements() const override { return true; }
  void save(State& state) const override {
    state["db_mtl.steps"] = {steps_};
    averages_.save(state, "db_mtl.q");
  }
  void load(const State& state) override {
    steps_ = state_entry(state, "db_mtl", "db_mtl.steps", 1)[0];
    averages_.load(state, "db_mtl.q");
  }

 private:
  bool rewrite_rows(const StepInputs& in, const Elements& elements) override {
    for (int r = 0; r < in.rows(); ++r) {
      const double loss = in.losses[static_cast<std::size_t>(r)];
      if (!(loss >= 0)) {
        throw NumericError(
            fmt::format("db_mtl: loss of task {} is {}, expected a value >= 0", in.task(r), loss));
      }
    }
    steps_ += 1;
    const double b = beta_ / std::pow(steps_, decay_);
    std::visit(
        [&]<class T>(kernels::Rows<T> rows) {
          for (int r = 0; r < in.rows(); ++r) {
            const T scale = static_cast<T>(1 / (in.losses[static_cast<std::size_t>(r)] + 1e-8));
            T* q = averages_.at(in.task(r), elements, name()).template data<T>();
            T* g = rows[r];
            for_columns(elements.columns, [&](index_t first, index_t count, int) {
              for (index_t k = first; k < first + count; ++k) {
                const T h = scale * g[k];
                g[k] = q[k] = h + static_cast<T>(b) * (q[k] - h);
              }
            });
          }
        },
        elements.rows);
    return true;
  }

  void solve(const StepInputs& in, Direction& out) override {
    double longest = 0;
    for (int r = 0; r < in.rows(); ++r) longest = std::max(longest, in.gram.norm(r));
    for (int r = 0; r < in.rows(); ++r) {
      const double norm = in.gram.norm(r);
      out.weights[static_cast<std::size_t>(r)] = norm > 0 ? longest / norm : 0;
    }
    if (longest == 0) out.note = "all gradients are zero";
  }

  double beta_, decay_, steps_ = 0;
  TaskVectors averages_;
};

}  // namespace

AggregatorPtr make_db_mtl(Options& options) {
  const double beta = options.number("beta", 0.9, 0, 1);
  return std::make_unique<DbMtl>(
      beta, options.number("beta_decay", 0, 0, std::numeric_limits<double>::max()));
}

}  // namespace concord::multitask
