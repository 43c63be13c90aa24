// Aligned-MTL: Senushkin, Patakin, Kuznetsov, Konushin, "Independent Component Alignment for
// Multi-Task Learning", CVPR 2023, arXiv 2305.19000. With G = V diag(l) V^T over the eigenvalues
// above rounding,
//
//   w = sigma V diag(l^-1/2) V^T p,   sigma^2 = min | median | mean (rmse) of those eigenvalues
//
// d = J^T w is the preference p applied to gradients whose principal components are all made sigma
// long. Eigenvalues below T eps max(l) count as zero.
#include <concord/multitask/methods.h>
#include <concord/multitask/preference.h>
#include <concord/multitask/solvers/symmetric_eigen.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

enum class Scale { min, median, rmse };

class AlignedMtl : public Aggregator {
 public:
  AlignedMtl(Scale scale, Preference preference)
      : Aggregator("aligned_mtl"), scale_(scale), preference_(std::move(preference)) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    preference_.fill(in, out.weights);
    eigen_.decompose(in.gram);
    kept_.clear();
    for (const double value : eigen_.values()) {
      if (value > eigen_.tolerance()) kept_.push_back(value);
    }
    if (kept_.empty()) {
      out.note = "all gradients are zero";
      return;
    }
    const double sigma = std::sqrt(squared_scale());
    eigen_.apply([&](double lambda) { return sigma / std::sqrt(lambda); }, out.weights);
  }

  double squared_scale() {
    if (scale_ == Scale::min) return *std::min_element(kept_.begin(), kept_.end());
    if (scale_ == Scale::median) {  // the lower one of two
      const auto middle = kept_.begin() + static_cast<std::ptrdiff_t>((kept_.size() - 1) / 2);
      std::nth_element(kept_.begin(), middle, kept_.end());
      return *middle;
    }
    double sum = 0;
    for (const double value : kept_) sum += value;
    return sum / static_cast<double>(kept_.size());
  }

  Scale scale_;
  Preference preference_;
  SymmetricEigen eigen_;
  std::vector<double> kept_;
};

}  // namespace

AggregatorPtr make_aligned_mtl(Options& options) {
  // LibMTL and the authors' code sum over the tasks; TorchJD takes the mean.
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const std::string scale = options.choice("scale", {"min", "median", "rmse"});
  return std::make_unique<AlignedMtl>(
      scale == "min"      ? Scale::min
      : scale == "median" ? Scale::median
                          : Scale::rmse,
      Preference::from(options, preset == "libmtl" ? "sum" : "mean"));
}

}  // namespace concord::multitask
