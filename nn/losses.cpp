#include <concord/nn/losses.h>

#include <fmt/format.h>

#include <limits>

namespace concord::nn {
namespace {

void check_pair(const char* op, const Var& x, const Var& target, Loc at) {
  check_same_kind(op, "input", x.value(), "target", target.value(), at);
  if (!(x.shape() == target.shape())) {
    throw ShapeError(fmt::format("{}: input is {}, target is {}", op, to_string(x.shape()),
                                 to_string(target.shape())),
                     {{"input", describe(x.value())}, {"target", describe(target.value())}}, at);
  }
}

}  // namespace

Var reduce(const Var& losses, Reduction reduction, Loc at) {
  switch (reduction) {
    case Reduction::mean:
      return mean(losses, at);
    case Reduction::sum:
      return sum(losses, at);
    case Reduction::none:
      break;
  }
  return losses;
}

Var nll_loss(const Var& log_p, const Tensor& target, const NllOptions& o, Loc at) {
  if (log_p.rank() < 2) {
    throw ShapeError(fmt::format("nll_loss: input has {} axes, needs at least 2", log_p.rank()),
                     {{"input", describe(log_p.value())}}, at);
  }
  check_dtype("nll_loss", "target", target, DType::i64, at);
  check_shape("nll_loss", "target", target, log_p.shape().without(1), at);

  // Ignored elements pick class 0 and are masked.
  const index_t classes = log_p.dim(1);
  const Device device = log_p.value().device();
  const Tensor index = target.device() == kCpu ? target.clone() : target.to(kCpu);
  const Tensor weight = Tensor::empty(target.shape(), DType::f64);  // -1, or 0 where ignored
  index_t counted = 0;
  for (index_t i = 0; i < target.numel(); ++i) {
    std::int64_t& t = index.data<std::int64_t>()[i];
    const bool ignored = t == o.ignore_index;
    if (!ignored && (t < 0 || t >= classes)) {
      throw ValueError(fmt::format("nll_loss: target {} at element {}, expected 0 to {} or {}", t,
                                   i, classes - 1, o.ignore_index),
                       {{"input", describe(log_p.value())}, {"target", describe(target)}}, at);
    }
    if (ignored) t = 0;
    weight.data<double>()[i] = ignored ? 0 : -1;
    counted += !ignored;
  }
  const Var picked = view(gather(log_p, 1, index.view(target.shape().insert(1, 1)).to(device), at),
                          target.shape(), at);
  const Var losses = mul(picked, weight.to(log_p.dtype()).to(device), at);
  if (o.reduction != Reduction::mean) return reduce(losses, o.reduction, at);
  return mul_scalar(sum(losses, at), 1 / static_cast<double>(counted), at);
}

Var bce_with_logits(const Var& logits, const Var& target, Reduction reduction, Loc at) {
  check_pair("bce_with_logits", logits, target, at);
  const Var if_true = softplus(neg(logits, at), at);
  const Var if_false = softplus(logits, at);
  return reduce(
      add(mul(target, if_true, at), mul(add_scalar(neg(target, at), 1, at), if_false, at), at),
      reduction, at);
}

Var mse_loss(const Var& x, const Var& target, Reduction reduction, Loc at) {
  check_pair("mse_loss", x, target, at);
  return reduce(square(sub(x, target, at), at), reduction, at);
}

Var l1_loss(const Var& x, const Var& target, Reduction reduction, Loc at) {
  check_pair("l1_loss", x, target, at);
  return reduce(abs(sub(x, target, at), at), reduction, at);
}

Var huber_loss(const Var& x, const Var& target, double delta, Reduction reduction, Loc at) {
  if (!(delta > 0))
    throw ValueError(fmt::format("huber_loss: delta is {}, expected delta > 0", delta), {}, at);
  check_pair("huber_loss", x, target, at);
  // With a = |d| and m = min(a, delta), both branches are m (a - m / 2).
  const Var a = abs(sub(x, target, at), at);
  const Var m = clamp(a, 0, delta, at);
  return reduce(mul(m, sub(a, m * 0.5, at), at), reduction, at);
}

Var kl_div(const Var& log_p, const Var& target, const KlOptions& o, Loc at) {
  check_pair("kl_div", log_p, target, at);
  Var losses;
  if (o.log_target) {
    losses = mul(exp(target, at), sub(target, log_p, at), at);
  } else {
    // The bound makes 0 log 0 the product 0 * (a finite number).
    const double tiny = target.dtype() == DType::f32 ? std::numeric_limits<float>::min()
                                                     : std::numeric_limits<double>::min();
    const Var log_target =
        log(clamp(target, tiny, std::numeric_limits<double>::infinity(), at), at);
    losses = mul(target, sub(log_target, log_p, at), at);
  }
  if (o.batch_mean) return mul_scalar(sum(losses, at), 1 / static_cast<double>(log_p.dim(0)), at);
  return reduce(losses, o.reduction, at);
}

}  // namespace concord::nn
