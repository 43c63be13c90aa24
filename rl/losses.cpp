#include <concord/rl/losses.h>

#include <algorithm>

namespace concord::rl {
namespace {

/// A part of a batch, which agents keep on the host, where the network's output is.
Var beside(const Var& output, const Tensor& part) { return part.to(output.value().device()); }

}  // namespace

Var policy_gradient_loss(const Var& log_prob, const Tensor& advantage, Loc at) {
  check_shape("policy_gradient_loss", "advantage", advantage, log_prob.shape(), at);
  return -mean(log_prob * beside(log_prob, advantage), at);
}

Var clipped_policy_loss(const Var& log_prob, const Tensor& old_log_prob, const Tensor& advantage,
                        double clip, Loc at) {
  check_shape("clipped_policy_loss", "old_log_prob", old_log_prob, log_prob.shape(), at);
  check_shape("clipped_policy_loss", "advantage", advantage, log_prob.shape(), at);
  const Var ratio = exp(log_prob - beside(log_prob, old_log_prob));
  const Var a = beside(log_prob, advantage);
  return -mean(minimum(ratio * a, clamp(ratio, 1 - clip, 1 + clip) * a), at);
}

Var value_loss(const Var& value, const Tensor& target, Loc at) {
  check_shape("value_loss", "target", target, value.shape(), at);
  return 0.5 * mean(square(value - beside(value, target)), at);
}

Var clipped_value_loss(const Var& value, const Tensor& old_value, const Tensor& target, double clip,
                       Loc at) {
  check_shape("clipped_value_loss", "target", target, value.shape(), at);
  check_shape("clipped_value_loss", "old_value", old_value, value.shape(), at);
  const Var old = beside(value, old_value), wanted = beside(value, target);
  const Var near = old + clamp(value - old, -clip, clip);
  return 0.5 * mean(maximum(square(value - wanted), square(near - wanted)), at);
}

Var distillation_loss(const Distribution& teacher, const Distribution& student, Loc at) {
  const Distribution constant{teacher.log_p.detach(), teacher.mean.detach(),
                              teacher.log_std.detach()};
  return mean(kl_divergence(constant, student, at), at);
}

Var kickstarting_loss(const Distribution& teacher, const Distribution& student, Loc at) {
  if (!teacher.discrete() || !student.discrete())
    throw ValueError("kickstarting_loss: needs discrete actions", {}, at);
  return -mean(sum(exp(teacher.log_p.detach()) * student.log_p, 1), at);
}

double TeacherSchedule::operator()(std::int64_t step) const {
  if (steps == 0) return start;
  const double done = std::clamp(static_cast<double>(step) / static_cast<double>(steps), 0.0, 1.0);
  return start + done * (end - start);
}

}  // namespace concord::rl
