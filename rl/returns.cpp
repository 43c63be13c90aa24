#include <concord/rl/returns.h>

#include <algorithm>
#include <cmath>

namespace concord::rl {

void next_values(const Tensor& value, const Tensor& final_value, const Tensor& terminated,
                 const Tensor& truncated, const Tensor& next, const Tensor& ended) {
  const index_t steps = next.dim(0), n = next.dim(1);
  check_shape("next_values", "value", value, {steps + 1, n});
  for (const Tensor& t : {final_value, terminated, truncated, ended})
    check_shape("next_values", "argument", t, next.shape());
  const float* later = value.data<float>() + n;
  const float* last = final_value.data<float>();
  const auto* over = terminated.data<std::uint8_t>();
  const auto* cut = truncated.data<std::uint8_t>();
  for (index_t k = 0; k < steps * n; ++k) {
    next.data<float>()[k] = over[k] ? 0 : cut[k] ? last[k] : later[k];
    ended.data<std::uint8_t>()[k] = over[k] | cut[k];
  }
}

void lambda_returns(const Stretch& s, double gamma, double lambda, const Tensor& returns) {
  const index_t steps = returns.dim(0), n = returns.dim(1);
  for (const Tensor& t : {s.reward, s.next_value, s.ended})
    check_shape("lambda_returns", "argument", t, returns.shape());
  const float* r = s.reward.data<float>();
  const float* next = s.next_value.data<float>();
  const auto* ended = s.ended.data<std::uint8_t>();
  float* g = returns.data<float>();
  const auto discount = static_cast<float>(gamma), decay = static_cast<float>(lambda);
  for (index_t t = steps - 1; t >= 0; --t) {
    for (index_t k = t * n; k < (t + 1) * n; ++k) {
      const bool cut = t + 1 == steps || ended[k];
      g[k] = r[k] + discount * (cut ? next[k] : (1 - decay) * next[k] + decay * g[k + n]);
    }
  }
}

void vtrace(const Stretch& s, const Tensor& log_ratio, const VtraceOptions& o, const Tensor& target,
            const Tensor& advantage) {
  const index_t steps = target.dim(0), n = target.dim(1);
  for (const Tensor& t : {s.reward, s.value, s.next_value, s.ended, log_ratio, advantage})
    check_shape("vtrace", "argument", t, target.shape());
  const float *r = s.reward.data<float>(), *value = s.value.data<float>();
  const float *next = s.next_value.data<float>(), *log_rho = log_ratio.data<float>();
  const auto* ended = s.ended.data<std::uint8_t>();
  float *v = target.data<float>(), *a = advantage.data<float>();
  for (index_t t = steps - 1; t >= 0; --t) {
    for (index_t k = t * n; k < (t + 1) * n; ++k) {
      const double ratio = std::exp(static_cast<double>(log_rho[k]));
      const double rho = std::min(o.rho, ratio), c = o.lambda * std::min(o.c, ratio);
      const bool cut = t + 1 == steps || ended[k];
      const double later = cut ? 0 : static_cast<double>(v[k + n]) - value[k + n];
      v[k] = static_cast<float>(value[k] + rho * (r[k] + o.gamma * next[k] - value[k]) +
                                o.gamma * c * later);
      a[k] = static_cast<float>(rho * (r[k] + o.gamma * (cut ? next[k] : v[k + n]) - value[k]));
    }
  }
}

void standardise(const Tensor& x, double eps) {
  const auto values = x.values<float>();
  const auto n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const float v : values) mean += v / n;
  for (const float v : values) squares += (v - mean) * (v - mean);
  const double scale = 1 / (std::sqrt(squares / std::max(1.0, n - 1)) + eps);
  for (float& v : values) v = static_cast<float>((v - mean) * scale);
}

}  // namespace concord::rl
