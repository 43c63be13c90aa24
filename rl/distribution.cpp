#include <concord/rl/distribution.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace concord::rl {
namespace {

constexpr double kAbsent = -1e9;
const double kHalfLogTwoPi = 0.5 * std::log(2 * std::numbers::pi);

/// [B]: log N(mean + std z; mean, std) for z [B,D].
Var gaussian_log_prob(const Var& z, const Var& log_std) {
  return -sum(0.5 * square(z) + log_std + kHalfLogTwoPi, 1);
}

}  // namespace

Distribution categorical(const Var& logits, const Tensor& mask, Loc at) {
  const Device device = logits.value().device();
  return {.log_p = log_softmax(mask.defined() ? logits + Var(mask.to(device)) : logits, 1, at)};
}

Tensor mask_of(const Tensor& exists) {
  const auto e = exists.values<std::uint8_t>();
  if (std::all_of(e.begin(), e.end(), [](std::uint8_t x) { return x != 0; })) return {};
  const Tensor mask = Tensor::empty(exists.shape());
  for (std::size_t a = 0; a < e.size(); ++a)
    mask.data<float>()[a] = e[a] ? 0 : static_cast<float>(kAbsent);
  return mask;
}

Var log_prob(const Distribution& d, const Tensor& actions, Loc at) {
  if (d.discrete()) {
    const Tensor taken = actions.view({-1, 1}).to(d.log_p.value().device());
    return view(gather(d.log_p, 1, taken, at), {-1});
  }
  const Var taken(actions.to(d.mean.value().device()));
  return gaussian_log_prob((taken - d.mean) * exp(-d.log_std), d.log_std);
}

Var entropy(const Distribution& d, Loc at) {
  if (d.discrete()) return -sum(exp(d.log_p) * d.log_p, 1, false, at);
  return sum(broadcast_to(d.log_std, d.mean.shape()) + (kHalfLogTwoPi + 0.5), 1, false, at);
}

Var kl_divergence(const Distribution& p, const Distribution& q, Loc at) {
  if (p.discrete() != q.discrete())
    throw ValueError("kl_divergence: one distribution is discrete, the other is not", {}, at);
  if (p.discrete()) return sum(exp(p.log_p) * (p.log_p - q.log_p), 1, false, at);
  const Var spread = exp(2.0 * (p.log_std - q.log_std));
  const Var shift = square((p.mean - q.mean) * exp(-q.log_std));
  return sum(q.log_std - p.log_std + 0.5 * (shift + spread) - 0.5, 1, false, at);
}

void sample(const Distribution& d, const Rng& rng, index_t first, const Tensor& actions,
            const Tensor& log_probs) {
  float* log_pi = log_probs.defined() ? log_probs.data<float>() : nullptr;
  if (d.discrete()) {
    const Tensor log_p = d.log_p.value().to(kCpu);
    const index_t rows = log_p.dim(0), count = log_p.dim(1);
    for (index_t i = 0; i < rows; ++i) {
      const float* lp = log_p.data<float>() + i * count;
      double left = rng.uniform(static_cast<std::uint64_t>(first + i));
      index_t chosen = -1;
      for (index_t a = 0; a < count && left >= 0; ++a) {
        const double p = std::exp(static_cast<double>(lp[a]));
        if (p == 0) continue;
        chosen = a;  // the last possible one when rounding leaves the sum below 1
        left -= p;
      }
      actions.data<std::int64_t>()[i] = chosen;
      if (log_pi) log_pi[i] = lp[chosen];
    }
    return;
  }
  const index_t rows = d.mean.dim(0), size = d.mean.dim(1);
  const Tensor noise = Tensor::empty({rows, size});
  for (index_t k = 0; k < rows * size; ++k)
    noise.data<float>()[k] =
        static_cast<float>(rng.normal(static_cast<std::uint64_t>(first * size + k)));
  const Var drawn(noise.to(d.mean.value().device()));
  actions.copy_from((d.mean + drawn * exp(d.log_std)).value());
  if (log_pi) log_probs.copy_from(log_prob(d, actions).value());
}

void mode(const Distribution& d, const Tensor& actions) {
  if (!d.discrete()) return actions.copy_from(d.mean.value());
  const Tensor log_p = d.log_p.value().to(kCpu);
  const index_t rows = log_p.dim(0), count = log_p.dim(1);
  for (index_t i = 0; i < rows; ++i) {
    const float* lp = log_p.data<float>() + i * count;
    actions.data<std::int64_t>()[i] = std::max_element(lp, lp + count) - lp;
  }
}

Squashed squash(const Distribution& gaussian, const Tensor& noise, double low, double high,
                Loc at) {
  const double scale = (high - low) / 2, centre = (high + low) / 2;
  const Var z(noise.to(gaussian.mean.value().device()));
  const Var u = gaussian.mean + z * exp(gaussian.log_std);
  // log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u))
  const Var log_slope = -2.0 * (u + softplus(-2.0 * u)) + (2 * std::numbers::ln2 + std::log(scale));
  return {tanh(u, at) * scale + centre, gaussian_log_prob(z, gaussian.log_std) - sum(log_slope, 1)};
}

}  // namespace concord::rl
