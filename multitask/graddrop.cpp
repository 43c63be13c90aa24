// GradDrop: Chen, Ngiam, Huang, Luong, Kretzschmar, Chai, Anguelov, "Just Pick a Sign", NeurIPS
// 2020, arXiv 2010.06808, on the shared parameters. For each parameter, with U uniform in [0, 1):
//
//   p   = (1 + sum_t g_t / sum_t |g_t|) / 2            the purity of its gradients' sign
//   M_t = [p > U] [g_t > 0] + [p < U] [g_t < 0]        one sign is kept, the other dropped
//   d   = sum_t (leak_t + (1 - leak_t) M_t) g_t
//
// Row t becomes what is let through of g_t, so that d is the sum of the rows. U is keyed by step
// and column; option u gives it by hand, one number per column.
#include <concord/multitask/elements.h>
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {

namespace {

class GradDrop : public Aggregator {
 public:
  GradDrop(std::vector<double> leak, std::vector<double> u)
      : Aggregator("graddrop"), leak_(std::move(leak)), given_(std::move(u)) {}

  bool needs_elements() const override { return true; }

 private:
  bool rewrite_rows(const StepInputs& in, const Elements& elements) override {
    leak_of_row_.resize(static_cast<std::size_t>(in.rows()));
    for (int r = 0; r < in.rows(); ++r) {
      const auto task = static_cast<std::size_t>(in.task(r));
      if (leak_.size() > 1 && task >= leak_.size()) {
        throw ShapeError(fmt::format("graddrop: {} leaks, none for task {}", leak_.size(), task));
      }
      leak_of_row_[static_cast<std::size_t>(r)] =
          leak_.empty() ? 0.0 : leak_[leak_.size() > 1 ? task : 0];
    }
    draw(in, elements.columns);
    const double* u = u_.data<double>();
    std::visit([&](auto rows) { mask(rows, elements.columns, u); }, elements.rows);
    return true;
  }

  void draw(const StepInputs& in, index_t columns) {
    if (!u_.defined() || u_.numel() != columns) u_ = Tensor::empty({columns}, DType::f64);
    if (given_.empty()) {
      in.rng.fork(static_cast<std::uint64_t>(in.step)).fill_uniform(u_);
      return;
    }
    if (static_cast<index_t>(given_.size()) != columns) {
      throw ShapeError(
          fmt::format("graddrop: option u has {} numbers for {} columns", given_.size(), columns));
    }
    std::copy(given_.begin(), given_.end(), u_.data<double>());
  }

  template <class T>
  void mask(const kernels::Rows<T>& rows, index_t columns, const double* u) const {
    for_columns(columns, [&](index_t first, index_t count, int) {
      for (index_t k = first; k < first + count; ++k) {
        double sum = 0, size = 0;
        for (std::int32_t r = 0; r < rows.count; ++r) {
          sum += rows[r][k];
          size += std::abs(static_cast<double>(rows[r][k]));
        }
        if (size == 0) continue;
        const double purity = 0.5 * (1 + sum / size);
        const double kept = purity > u[k] ? 1 : purity < u[k] ? -1 : 0;
        for (std::int32_t r = 0; r < rows.count; ++r) {
          T& g = rows[r][k];
          if (!(g * kept > 0)) g *= static_cast<T>(leak_of_row_[static_cast<std::size_t>(r)]);
        }
      }
    });
  }

  void solve(const StepInputs&, Direction& out) override {
    std::fill(out.weights.begin(), out.weights.end(), 1.0);
  }

  std::vector<double> leak_, given_, leak_of_row_;
  Tensor u_;
};

}  // namespace

AggregatorPtr make_graddrop(Options& options) {
  std::vector<double> leak = options.numbers("leak"), u = options.numbers("u");
  for (const auto& [name, values] : {std::pair{"leak", &leak}, std::pair{"u", &u}}) {
    for (const double x : *values) {
      if (!(x >= 0 && x <= 1)) {
        throw ValueError(
            fmt::format("graddrop: option {} has {}, expected numbers in [0, 1]", name, x));
      }
    }
  }
  return std::make_unique<GradDrop>(std::move(leak), std::move(u));
}

}  // namespace concord::multitask
