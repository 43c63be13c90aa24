// Loss functions. Cross-entropy from logits is an op of its own (autograd/ops.h, one fused kernel);
// those here are compositions. Reduction::none keeps the shape, mean and sum give a scalar.
//
// Predictions and targets must have the same shape: broadcasting a loss hides mistakes.
#pragma once

#include <concord/autograd/ops.h>

namespace concord::nn {

/// All of them, their mean or their sum.
Var reduce(const Var& losses, Reduction reduction, Loc at = Loc::current());

struct NllOptions {
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;  ///< mean: over the targets that are not ignored
};
/// -log_p[i, target[i]]. log_p [n, classes] or [n, classes, ...], finite; target i64 [n] or [n,
/// ...] in [0, classes) or ignore_index (others throw ValueError); an ignored element's loss is 0.
/// The host looks at every target, so that it waits for a device; cross_entropy does not.
Var nll_loss(const Var& log_p, const Tensor& target, const NllOptions& o = {},
             Loc at = Loc::current());

/// Binary cross-entropy, target t in [0, 1]: t softplus(-x) + (1 - t) softplus(x), which keeps its
/// digits for large |x| on both sides.
Var bce_with_logits(const Var& logits, const Var& target, Reduction reduction = Reduction::mean,
                    Loc at = Loc::current());

/// (x - t)^2
Var mse_loss(const Var& x, const Var& target, Reduction reduction = Reduction::mean,
             Loc at = Loc::current());

/// |x - t|
Var l1_loss(const Var& x, const Var& target, Reduction reduction = Reduction::mean,
            Loc at = Loc::current());

/// d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond, d = x - t. Throws ValueError unless
/// delta > 0.
Var huber_loss(const Var& x, const Var& target, double delta = 1,
               Reduction reduction = Reduction::mean, Loc at = Loc::current());

struct KlOptions {
  bool log_target = false;                ///< the target is given as log-probabilities
  Reduction reduction = Reduction::mean;  ///< mean: over all elements, as PyTorch
  bool batch_mean = false;  ///< sum over all but divide by the batch: the divergence itself
};
/// Pointwise target (log target - log_p); a target of 0 contributes 0.
Var kl_div(const Var& log_p, const Var& target, const KlOptions& o = {}, Loc at = Loc::current());

}  // namespace concord::nn
