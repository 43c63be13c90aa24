// Distribution: what a policy says about the actions of a batch of states; over a finite set, or
// Gaussian.
#pragma once

#include <concord/autograd/ops.h>
#include <concord/tensor/random.h>

namespace concord::rl {

struct Distribution {
  Var log_p;    ///< discrete: [B,A], normalised; -1e9 or so for actions that do not exist
  Var mean;     ///< Gaussian: [B,D]
  Var log_std;  ///< Gaussian: [D] or [B,D], log of the standard deviation

  bool discrete() const { return log_p.value().defined(); }
};

/// From logits [B,A]; `mask` f32 [A] is added to each row (see mask_of), or undefined.
Distribution categorical(const Var& logits, const Tensor& mask = {}, Loc at = Loc::current());
/// f32 [A]: 0 where `exists` (u8 [A]) says that there is such an action, else -1e9; undefined when
/// all exist.
Tensor mask_of(const Tensor& exists);

/// log pi(a_i | s_i): [B]. Actions i64 [B], or f32 [B,D].
Var log_prob(const Distribution& d, const Tensor& actions, Loc at = Loc::current());
/// Entropy of each row in nats: [B]. Gaussian: sum_d log_std_d + log(2 pi e) / 2.
Var entropy(const Distribution& d, Loc at = Loc::current());
/// KL(p || q) of each row: [B]. Both must be of one kind.
Var kl_divergence(const Distribution& p, const Distribution& q, Loc at = Loc::current());

/// Draws an action per row: i64 [B], or f32 [B,D], and writes log pi to f32 [B] unless undefined.
/// Row i looks at the random numbers of index `first` + i, so that the draw of an environment does
/// not depend on how a batch is cut.
void sample(const Distribution& d, const Rng& rng, index_t first, const Tensor& actions,
            const Tensor& log_probs);
/// The most likely action per row; the first of equals.
void mode(const Distribution& d, const Tensor& actions);

/// A Gaussian squeezed into (low, high) by tanh, for SAC (Haarnoja et al., 1812.05905, appendix C):
/// u = mean + exp(log_std) noise, a = centre + scale tanh(u). The gradient flows through both
/// (reparametrisation).
struct Squashed {
  Var action;    ///< [B,D]
  Var log_prob;  ///< [B]: log N(u) - sum_d log(scale (1 - tanh(u)^2))
};
/// noise [B,D], standard normal. 1 - tanh(u)^2 is taken as exp(2 (log 2 - u - softplus(-2u))),
/// which keeps its digits where tanh(u) rounds to 1.
Squashed squash(const Distribution& gaussian, const Tensor& noise, double low, double high,
                Loc at = Loc::current());

}  // namespace concord::rl
