// Returns: what a stretch of experience says about values and advantages. Time runs backwards
// through [T,N]: T steps of N environments.
#pragma once

#include <concord/tensor/tensor.h>

namespace concord::rl {

/// All f32 [T,N], `ended` u8 [T,N].
struct Stretch {
  Tensor reward;
  Tensor value;       ///< V(s_t), or max_a Q(s_t, a)
  Tensor next_value;  ///< V of what followed the step; see next_values()
  Tensor ended;  ///< 1 where the episode ended, terminated or truncated: row t+1 is another one
};

/// next[t] = 0 where terminated, final_value[t] where truncated, value[t+1] elsewhere; and
/// ended = terminated | truncated. `value` is [T+1,N], the others [T,N]; final_value is read only
/// where truncated. Bootstrapping a truncated episode from the first state of the next one, or a
/// terminated one at all, are the two common errors here.
void next_values(const Tensor& value, const Tensor& final_value, const Tensor& terminated,
                 const Tensor& truncated, const Tensor& next, const Tensor& ended);

/// G_t = r_t + gamma ((1 - lambda) next_t + lambda G_{t+1}), cut at the end of an episode and of
/// the stretch, where G_t = r_t + gamma next_t. Writes f32 [T,N].
///
/// G - V is the generalised advantage estimate (Schulman et al., 1506.02438, eq. 16): with
/// delta_t = r_t + gamma next_t - V_t, G_t - V_t = delta_t + gamma lambda (G_{t+1} - V_{t+1}).
/// lambda = 1 gives n-step returns; with max_a Q for V it is PQN's target (Gallici et al.,
/// 2407.04811, sec. 4), Peng's Q(lambda). `s.value` is not read.
void lambda_returns(const Stretch& s, double gamma, double lambda, const Tensor& returns);

/// V-trace (Espeholt et al., 1802.01561, sec. 4.1). log_ratio [T,N] = log pi(a|s) - log mu(a|s);
/// rho = min(rho_bar, pi/mu), c = lambda min(c_bar, pi/mu);
///   v_t = V_t + rho_t (r_t + gamma next_t - V_t) + gamma c_t (v_{t+1} - V_{t+1})
///   advantage_t = rho_t (r_t + gamma v_{t+1} - V_t),
/// the last term of v_t dropped, and v_{t+1} replaced by next_t, where an episode or the stretch
/// ends. Writes v to `target` and the advantages, both f32 [T,N].
struct VtraceOptions {
  double gamma = 0.99, lambda = 1;
  double rho = 1, c = 1;  ///< the bounds on the ratios
};
void vtrace(const Stretch& s, const Tensor& log_ratio, const VtraceOptions& o, const Tensor& target,
            const Tensor& advantage);

/// x <- (x - mean) / (standard deviation + eps), over all elements of an f32 tensor; the deviation
/// with n - 1 in the denominator, as PyTorch's std. A tensor of one element becomes 0.
void standardise(const Tensor& x, double eps = 1e-8);

}  // namespace concord::rl
