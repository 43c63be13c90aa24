// IMTL-G and ConFIG: directions that treat all unit gradients u_t = g_t / |g_t| alike. With C = U
// U^T the cosine matrix and D = diag(|g_t|), <u_t, J^T w> is equal for all t when C D w = const
// * 1. So both methods are one solution a = C^+ 1 with w ~ D^-1 a, and differ in length only:
//
//   IMTL-G (Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021):   sum w = 1
//   ConFIG (Liu, Chu, Thuerey, arXiv 2408.11104):   d / |d| * sum_t <g_t, d / |d|>
//
// C is used rather than G: its rank does not depend on the lengths of the gradients. Zero gradients
// have no direction; they are left out. Where no direction has equal angles (opposed gradients) C^+
// 1 is the least-squares answer, and the residual says how unequal the angles are.
#include <concord/multitask/methods.h>
#include <concord/multitask/preference.h>
#include <concord/multitask/solvers/symmetric_eigen.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

class EqualAngles : public Aggregator {
 protected:
  using Aggregator::Aggregator;

  /// weights = D^-1 C^+ target, over the gradients that are not zero; the residual is the largest
  /// |<u_t, J^T weights> - target_t|, relative to the largest target.
  void aim(const Gram& gram, std::span<const double> target, Direction& out) {
    const int rows = gram.tasks();
    cosines_.resize(rows);
    for (int i = 0; i < rows; ++i) {
      if (gram(i, i) == 0) continue;
      cosines_.set(i, i, 1);
      for (int j = 0; j < i; ++j) cosines_.set(i, j, gram.cosine(i, j));
    }
    eigen_.decompose(cosines_);
    std::copy(target.begin(), target.end(), out.weights.begin());
    eigen_.apply([](double lambda) { return 1 / lambda; }, out.weights);
    reached_.resize(out.weights.size());
    cosines_.times(out.weights, reached_);
    double largest = 0, worst = 0;
    for (int t = 0; t < rows; ++t) {
      const auto i = static_cast<std::size_t>(t);
      out.weights[i] = gram(t, t) > 0 ? out.weights[i] / gram.norm(t) : 0.0;
      if (gram(t, t) == 0) continue;
      largest = std::max(largest, std::abs(target[i]));
      worst = std::max(worst, std::abs(reached_[i] - target[i]));
    }
    out.residual = largest > 0 ? worst / largest : 0;
    if (out.residual > 1e-6) out.note = "no direction has these angles";
  }

  std::vector<double> target_, reached_;

 private:
  Gram cosines_;
  SymmetricEigen eigen_;
};

class ImtlG : public EqualAngles {
 public:
  ImtlG() : EqualAngles("imtl_g") {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    target_.assign(out.weights.size(), 1.0);
    aim(in.gram, target_, out);
    double sum = 0, size = 0;
    for (const double w : out.weights) sum += w, size += std::abs(w);
    // Weights that cancel cannot be made to sum to 1 (equal lengths, opposed directions).
    const bool balanced = std::abs(sum) <= 1e-12 * size;
    for (double& w : out.weights) w = balanced ? 0.0 : w / sum;
  }
};

class Config : public EqualAngles {
 public:
  explicit Config(Preference preference)
      : EqualAngles("config"), preference_(std::move(preference)) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    target_.resize(out.weights.size());
    preference_.fill(in, target_);
    aim(in.gram, target_, out);
    // d = v sum_t <g_t, v> with v = x / |x|, x = J^T w: d = x * (sum_t (G w)_t) / (w^T G w).
    in.gram.times(out.weights, reached_);
    double sum = 0, squared = 0, size = 0;
    for (std::size_t t = 0; t < out.weights.size(); ++t) {
      sum += reached_[t];
      squared += out.weights[t] * reached_[t];
      size += std::abs(out.weights[t]) * in.gram.norm(static_cast<int>(t));
    }
    const bool vanished = !(squared > 1e-24 * size * size);
    for (double& w : out.weights) w = vanished ? 0.0 : w * (sum / squared);
  }

  Preference preference_;
};

}  // namespace

AggregatorPtr make_imtl_g(Options&) { return std::make_unique<ImtlG>(); }
AggregatorPtr make_config(Options& options) {
  return std::make_unique<Config>(Preference::from(options, "sum"));
}

}  // namespace concord::multitask
