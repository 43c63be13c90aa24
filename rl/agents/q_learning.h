// What agents do that act on action values.
#pragma once

#include <concord/rl/networks.h>

#include <cstdint>
#include <span>

namespace concord::rl {

/// The probability of a random action: linear from `start` to `end` over `steps` environment steps.
struct Exploration {
  double start = 1, end = 0.05;
  std::int64_t steps = 250'000;
  double operator()(std::int64_t step) const;
};

/// The best action of each row of q [B,A], the first of equals; with probability epsilon a random
/// one of those that `mask` (see mask_of) allows. Row i looks at the random numbers 2 (first + i)
/// and 2 (first + i) + 1.
void epsilon_greedy(const Tensor& q, const Tensor& mask, double epsilon, const Rng& rng,
                    index_t first, const Tensor& actions);

/// Actions as Agent::act by the values q[t] of each task's rows; `network` knows which are allowed.
void epsilon_greedy(const QNetwork& network, std::span<const Var> q, const Bounds& bounds,
                    double epsilon, const Rng& rng, const Tensor& actions);

/// max_a q[i, a] for each row of q [B,A].
void row_maxima(const Tensor& q, std::span<float> out);

}  // namespace concord::rl
