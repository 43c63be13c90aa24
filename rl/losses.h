// The losses of policy-gradient agents, as functions of Vars: any agent, and any list of losses for
// multitask::Step, is put together from them. All are means over the batch; B is its size.
#pragma once

#include <concord/rl/distribution.h>

#include <cstdint>

namespace concord::rl {

/// -mean log pi(a|s) A (Williams 1992); the gradient does not flow into A [B].
Var policy_gradient_loss(const Var& log_prob, const Tensor& advantage, Loc at = Loc::current());

/// -mean min(r A, clip(r, 1 - clip, 1 + clip) A) with r = pi / pi_old (Schulman et al., 1707.06347,
/// eq. 7). All [B].
Var clipped_policy_loss(const Var& log_prob, const Tensor& old_log_prob, const Tensor& advantage,
                        double clip, Loc at = Loc::current());

/// mean (V - target)^2 / 2.
Var value_loss(const Var& value, const Tensor& target, Loc at = Loc::current());

/// mean max((V - target)^2, (V_old + clip(V - V_old, -clip, clip) - target)^2) / 2: PPO's value
/// loss as in OpenAI's baselines, not in the paper.
Var clipped_value_loss(const Var& value, const Tensor& old_value, const Tensor& target, double clip,
                       Loc at = Loc::current());

/// mean KL(teacher || student): policy distillation (Rusu et al., 1511.06295, sec. 3.2, without its
/// temperature, which belongs to the teacher's logits). The teacher is a constant.
Var distillation_loss(const Distribution& teacher, const Distribution& student,
                      Loc at = Loc::current());

/// mean H(teacher || student) = -mean sum_a teacher(a) log student(a) (Kickstarting: Schmitt et
/// al., 1803.03835, sec. 3.1). Its gradient is distillation_loss's; the value differs by the
/// teacher's entropy. Discrete actions only; throws ValueError otherwise.
Var kickstarting_loss(const Distribution& teacher, const Distribution& student,
                      Loc at = Loc::current());

/// The weight of a teacher's loss, linear from `start` to `end` over `steps` steps and `end` from
/// there on. Kickstarting leaves the schedule open; steps = 0 is constant `start`.
struct TeacherSchedule {
  double start = 1, end = 0;
  std::int64_t steps = 0;
  double operator()(std::int64_t step) const;
};

}  // namespace concord::rl
