// Weights that depend on nothing: single, equal, sum, mean, constant.
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace concord::multitask {

namespace {

/// One task alone. When it is absent from a step the direction is zero.
class Single : public Aggregator {
 public:
  explicit Single(int task) : Aggregator("single"), task_(task) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const int row = in.row_of(task_);
    if (row >= 0) {
      out.weights[static_cast<std::size_t>(row)] = 1;
    } else {
      out.note = "task absent";
    }
  }

  int task_;
};

/// w = 1 (sum) or 1/T (mean), T the number of tasks present.
class Uniform : public Aggregator {
 public:
  Uniform(std::string name, bool mean) : Aggregator(std::move(name)), mean_(mean) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    std::fill(out.weights.begin(), out.weights.end(), mean_ ? 1.0 / in.rows() : 1.0);
  }

  bool mean_;
};

class Constant : public Aggregator {
 public:
  explicit Constant(std::vector<double> w) : Aggregator("constant"), w_(std::move(w)) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    for (int r = 0; r < in.rows(); ++r) {
      const auto task = static_cast<std::size_t>(in.task(r));
      if (task >= w_.size()) {
        throw ShapeError(fmt::format("constant: {} weights, none for task {}", w_.size(), task));
      }
      out.weights[static_cast<std::size_t>(r)] = w_[task];
    }
  }

  std::vector<double> w_;
};

}  // namespace

AggregatorPtr make_single(Options& options) {
  return std::make_unique<Single>(options.integer("task", 0, 0, 1 << 30));
}
AggregatorPtr make_equal(Options& options) {
  return std::make_unique<Uniform>("equal", options.choice("scale", {"sum", "mean"}) == "mean");
}
AggregatorPtr make_sum(Options&) { return std::make_unique<Uniform>("sum", false); }
AggregatorPtr make_mean(Options&) { return std::make_unique<Uniform>("mean", true); }
AggregatorPtr make_constant(Options& options) {
  return std::make_unique<Constant>(options.numbers("w"));
}

}  // namespace concord::multitask
