// Krum: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries", NeurIPS
// 2017. The score of a gradient is the sum of its squared distances to its T - f - 2 nearest
// neighbours (f = `byzantine`); the `select` gradients with the lowest scores are averaged.
// Distances follow from the Gram matrix. Ties go to the earlier row. preset=torchjd sums plain
// distances, as TorchJD does.
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

class Krum : public Aggregator {
 public:
  Krum(int byzantine, int select, bool squared)
      : Aggregator("krum"), byzantine_(byzantine), select_(select), squared_(squared) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const Gram& gram = in.gram;
    const int rows = in.rows(), neighbours = rows - byzantine_ - 2;
    if (neighbours < 1 || select_ > rows) {
      throw ShapeError(
          fmt::format("krum: {} tasks, expected at least {} for byzantine={} and select={}", rows,
                      std::max(byzantine_ + 3, select_), byzantine_, select_));
    }
    ranked_.resize(static_cast<std::size_t>(rows));
    for (int i = 0; i < rows; ++i) {
      distances_.clear();
      for (int j = 0; j < rows; ++j) {
        if (j == i) continue;
        const double squared = std::max(0.0, gram(i, i) + gram(j, j) - 2 * gram(i, j));
        distances_.push_back(squared_ ? squared : std::sqrt(squared));
      }
      std::sort(distances_.begin(), distances_.end());
      double score = 0;
      for (int k = 0; k < neighbours; ++k) score += distances_[static_cast<std::size_t>(k)];
      ranked_[static_cast<std::size_t>(i)] = {score, i};
    }
    std::sort(ranked_.begin(), ranked_.end());
    for (int k = 0; k < select_; ++k) {
      out.weights[static_cast<std::size_t>(ranked_[static_cast<std::size_t>(k)].second)] =
          1.0 / select_;
    }
  }

  int byzantine_, select_;
  bool squared_;
  std::vector<double> distances_;
  std::vector<std::pair<double, int>> ranked_;
};

}  // namespace

AggregatorPtr make_krum(Options& options) {
  const bool squared = options.choice("preset", {"paper", "torchjd"}) == "paper";
  const int byzantine = options.integer("byzantine", 1, 0, 1 << 20);
  return std::make_unique<Krum>(byzantine, options.integer("select", 1, 1, 1 << 20), squared);
}

}  // namespace concord::multitask
