// ExcessMTL: He, Zhou, Zhang, Zhao, "Robust Multi-Task Learning with Excess Risks", ICML 2024,
// arXiv 2402.02009. Each task's excess risk is estimated with a diagonal Hessian as in Adagrad:
//
//   S_t <- S_t + g_t^2                           element by element
//   e_t  = sum_k g_tk^2 / sqrt(S_tk + 1e-7)      divided by its first value (eq 6, 7)
//   w_t <- w_t exp(lr e_t), normalised           (eq 9), 1/T at first
//
// The first step of each task sets its scale and leaves its weight. scale=sum: the weights sum to
// T, as in LibMTL (preset=libmtl). preset=torchjd: lr = 1, and the first step already moves the
// weights by the raw e_t. The rows are only read.
#include <concord/multitask/elements.h>
#include <concord/multitask/methods.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

class ExcessMtl : public Aggregator {
 public:
  ExcessMtl(double lr, bool sum, bool moves_at_once)
      : Aggregator("excess_mtl"), lr_(lr), sum_(sum), moves_at_once_(moves_at_once) {}

  bool needs_elements() const override { return true; }
  void save(State& state) const override {
    state["excess_mtl.log_weights"] = log_weights_;
    state["excess_mtl.scales"] = scales_;
    squares_.save(state, "excess_mtl.s");
  }
  void load(const State& state) override {
    const auto found = state.find("excess_mtl.scales");
    const std::size_t size = found == state.end() ? 0 : found->second.size();
    log_weights_ = state_entry(state, "excess_mtl", "excess_mtl.log_weights", size);
    scales_ = state_entry(state, "excess_mtl", "excess_mtl.scales", size);
    squares_.load(state, "excess_mtl.s");
  }

 private:
  bool rewrite_rows(const StepInputs& in, const Elements& elements) override {
    excess_.assign(static_cast<std::size_t>(in.rows()), 0.0);
    std::visit(
        [&]<class T>(kernels::Rows<T> rows) {
          for (int r = 0; r < in.rows(); ++r) {
            T* s = squares_.at(in.task(r), elements, name()).template data<T>();
            excess_[static_cast<std::size_t>(r)] = excess(rows[r], s, elements.columns);
          }
        },
        elements.rows);
    return false;
  }

  /// One sum per piece of columns, added up in order: the same bits for any number of threads.
  template <class T>
  double excess(const T* g, T* s, index_t columns) {
    constexpr index_t kPiece = 1024;
    parts_.assign(static_cast<std::size_t>((columns + kPiece - 1) / kPiece), 0.0);
    for_columns(columns, [&](index_t first, index_t count, int) {
      double sum = 0;
      for (index_t k = first; k < first + count; ++k) {
        const double square = static_cast<double>(g[k]) * g[k];
        s[k] += static_cast<T>(square);
        sum += square / std::sqrt(s[k] + 1e-7);
      }
      parts_[static_cast<std::size_t>(first / kPiece)] = sum;
    });
    double total = 0;
    for (const double part : parts_) total += part;
    return total;
  }

  void solve(const StepInputs& in, Direction& out) override {
    double most = -std::numeric_limits<double>::infinity();
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r)), i = static_cast<std::size_t>(r);
      if (t >= scales_.size()) {
        scales_.resize(t + 1, -1.0);
        log_weights_.resize(t + 1, 0.0);
      }
      const bool first = scales_[t] < 0;
      if (first) scales_[t] = excess_[i];
      if (!first) log_weights_[t] += lr_ * excess_[i] / (scales_[t] + 1e-7);
      if (first && moves_at_once_) log_weights_[t] += lr_ * excess_[i];
      most = std::max(most, log_weights_[t]);
    }
    double total = 0;
    for (int r = 0; r < in.rows(); ++r) {
      double& w = out.weights[static_cast<std::size_t>(r)];
      w = std::exp(log_weights_[static_cast<std::size_t>(in.task(r))] - most);
      total += w;
    }
    for (double& w : out.weights) w *= (sum_ ? in.rows() : 1) / total;
    // Only differences matter: the largest stays at 0, so that no run overflows.
    for (double& l : log_weights_) l -= most;
  }

  double lr_;
  bool sum_, moves_at_once_;
  std::vector<double> log_weights_, scales_, excess_, parts_;
  TaskVectors squares_;
};

}  // namespace

AggregatorPtr make_excess_mtl(Options& options) {
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const double lr =
      options.number("lr", preset == "torchjd" ? 1 : 0.01, 0, std::numeric_limits<double>::max());
  const bool sum =
      options.choice("scale", {"mean", "sum"}, preset == "libmtl" ? "sum" : "mean") == "sum";
  return std::make_unique<ExcessMtl>(lr, sum, preset == "torchjd");
}

}  // namespace concord::multitask
