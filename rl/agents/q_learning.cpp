#include <concord/rl/agents/q_learning.h>

#include <algorithm>

namespace concord::rl {

double Exploration::operator()(std::int64_t step) const {
  if (steps == 0) return end;
  return start +
         (end - start) * std::min(1.0, static_cast<double>(step) / static_cast<double>(steps));
}

void epsilon_greedy(const Tensor& q, const Tensor& mask, double epsilon, const Rng& rng,
                    index_t first, const Tensor& actions) {
  const Tensor host = q.to(kCpu);
  const index_t count = q.dim(1);
  const auto exists = [&](index_t a) { return !mask.defined() || mask.data<float>()[a] == 0; };
  index_t possible = 0;
  for (index_t a = 0; a < count; ++a) possible += exists(a);
  for (index_t i = 0; i < q.dim(0); ++i) {
    const auto draw = static_cast<std::uint64_t>(2 * (first + i));
    const float* row = host.data<float>() + i * count;
    std::int64_t& chosen = actions.data<std::int64_t>()[i];
    if (rng.uniform(draw) >= epsilon) {
      chosen = std::max_element(row, row + count) - row;
      continue;
    }
    index_t left = rng.below(draw + 1, possible);
    chosen = 0;
    while (!exists(chosen) || left-- > 0) ++chosen;
  }
}

void epsilon_greedy(const QNetwork& network, std::span<const Var> q, const Bounds& bounds,
                    double epsilon, const Rng& rng, const Tensor& actions) {
  for (std::size_t t = 0; t < q.size(); ++t) {
    if (bounds[t] == bounds[t + 1]) continue;
    epsilon_greedy(q[t].value(), network.mask(static_cast<int>(t)), epsilon, rng, bounds[t],
                   actions.rows(bounds[t], bounds[t + 1]));
  }
}

void row_maxima(const Tensor& q, std::span<float> out) {
  const Tensor host = q.to(kCpu);
  const index_t count = q.dim(1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float* row = host.data<float>() + static_cast<index_t>(i) * count;
    out[i] = *std::max_element(row, row + count);
  }
}

}  // namespace concord::rl
