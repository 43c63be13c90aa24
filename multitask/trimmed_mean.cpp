// Trimmed mean: Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards
// Optimal Statistical Rates", ICML 2018, arXiv 1803.01498, definition 2. For each parameter the
// `trim` largest and the `trim` smallest of the T gradients are left out and the others averaged.
//
// Row t keeps its elements that are averaged and loses the others; d = sum_t g_t / (T - 2 trim).
// Of equal elements the earlier rows' count as smaller.
#include <concord/multitask/elements.h>
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace concord::multitask {

namespace {

class TrimmedMean : public Aggregator {
 public:
  explicit TrimmedMean(int trim) : Aggregator("trimmed_mean"), trim_(trim) {}

  bool needs_elements() const override { return true; }

 private:
  bool rewrite_rows(const StepInputs& in, const Elements& elements) override {
    if (in.rows() <= 2 * trim_) {
      throw ShapeError(fmt::format("trimmed_mean: {} tasks, expected more than {} for trim={}",
                                   in.rows(), 2 * trim_, trim_));
    }
    if (trim_ == 0) return false;
    ranked_.resize(static_cast<std::size_t>(omp_get_max_threads()) *
                   static_cast<std::size_t>(in.rows()));
    std::visit([&](auto rows) { trim(rows, elements.columns); }, elements.rows);
    return true;
  }

  template <class T>
  void trim(const kernels::Rows<T>& rows, index_t columns) {
    for_columns(columns, [&](index_t first, index_t count, int thread) {
      const auto ranked = std::span(ranked_).subspan(
          static_cast<std::size_t>(thread) * static_cast<std::size_t>(rows.count),
          static_cast<std::size_t>(rows.count));
      const auto below = ranked.begin() + trim_, above = ranked.end() - trim_;
      for (index_t k = first; k < first + count; ++k) {
        for (std::int32_t r = 0; r < rows.count; ++r) {
          ranked[static_cast<std::size_t>(r)] = {static_cast<double>(rows[r][k]), r};
        }
        std::nth_element(ranked.begin(), below, ranked.end());
        std::nth_element(below, above, ranked.end());
        const auto drop = [&](const std::pair<double, std::int32_t>& x) { rows[x.second][k] = 0; };
        std::for_each(ranked.begin(), below, drop);
        std::for_each(above, ranked.end(), drop);
      }
    });
  }

  void solve(const StepInputs& in, Direction& out) override {
    std::fill(out.weights.begin(), out.weights.end(), 1.0 / (in.rows() - 2 * trim_));
  }

  int trim_;
  std::vector<std::pair<double, std::int32_t>> ranked_;  // one row of them per thread
};

}  // namespace

AggregatorPtr make_trimmed_mean(Options& options) {
  return std::make_unique<TrimmedMean>(options.integer("trim", 0, 0, 1 << 20));
}

}  // namespace concord::multitask
