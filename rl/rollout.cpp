#include <concord/rl/rollout.h>

#include <fmt/format.h>

namespace concord::rl {

Rollout::Rollout(const VecEnv& env, index_t steps) {
  if (steps < 1) throw ValueError(fmt::format("rollout: {} steps, expected at least 1", steps));
  const ObservationSpec& spec = env.spec().observation;
  const index_t n = env.size();
  const Shape row = spec.shape.insert(0, n);
  observation = Tensor::zeros(row.insert(0, steps + 1), spec.dtype);
  final_observation = Tensor::zeros(row.insert(0, steps), spec.dtype);
  const Tensor one = env.actions();
  action = Tensor::zeros(one.shape().insert(0, steps), one.dtype());
  log_prob = Tensor::zeros({steps, n});
  reward = Tensor::zeros({steps, n});
  terminated = Tensor::zeros({steps, n}, DType::u8);
  truncated = Tensor::zeros({steps, n}, DType::u8);
}

StepBuffers Rollout::step(index_t t) const {
  return {observation[t + 1], final_observation[t], reward[t], terminated[t], truncated[t]};
}

Tensor flat(const Tensor& t) {
  const Shape& s = t.shape();
  return t.view(s.without(0).with(0, s[0] * s[1]));
}

Rows in_order_of_tasks(index_t steps, const Bounds& tasks) {
  Rows r{{}, {0}};
  for (std::size_t task = 0; task + 1 < tasks.size(); ++task) {
    for (index_t t = 0; t < steps; ++t)
      for (index_t i = tasks[task]; i < tasks[task + 1]; ++i)
        r.rows.push_back(t * tasks.back() + i);
    r.bounds.push_back(static_cast<index_t>(r.rows.size()));
  }
  return r;
}

RolloutValues::RolloutValues(const Rollout& rollout, const Bounds& tasks)
    : rollout_(rollout),
      all_(in_order_of_tasks(rollout.steps(), tasks)),
      with_last_(in_order_of_tasks(rollout.steps() + 1, tasks)),
      values_(Tensor::zeros({rollout.steps() + 1, rollout.size()})),
      final_values_(Tensor::zeros({rollout.steps(), rollout.size()})) {
  stretch_ = {rollout.reward, values_.rows(0, rollout.steps()),
              Tensor::zeros(rollout.reward.shape()),
              Tensor::zeros(rollout.reward.shape(), DType::u8)};
}

void RolloutValues::evaluate(const ValueOf& value_of) {
  evaluate(rollout_.observation, with_last_, value_of, values_);
  truncated_.rows.clear();
  truncated_.bounds.assign(1, 0);
  const auto* truncated = rollout_.truncated.data<std::uint8_t>();
  for (std::size_t t = 0; t + 1 < all_.bounds.size(); ++t) {
    for (index_t k = all_.bounds[t]; k < all_.bounds[t + 1]; ++k) {
      const index_t row = all_.rows[static_cast<std::size_t>(k)];
      if (truncated[row]) truncated_.rows.push_back(row);
    }
    truncated_.bounds.push_back(static_cast<index_t>(truncated_.rows.size()));
  }
  if (!truncated_.rows.empty())
    evaluate(rollout_.final_observation, truncated_, value_of, final_values_);
  next_values(values_, final_values_, rollout_.terminated, rollout_.truncated, stretch_.next_value,
              stretch_.ended);
}

void RolloutValues::evaluate(const Tensor& observation, const Rows& rows, const ValueOf& value_of,
                             const Tensor& values) {
  gather_rows(flat(observation), rows.rows, inputs_);
  out_.resize(rows.rows.size());
  value_of(inputs_, rows.bounds, out_);
  for (std::size_t k = 0; k < out_.size(); ++k) values.data<float>()[rows.rows[k]] = out_[k];
}

Minibatches::Minibatches(const Rows& rows, index_t count) : all_(rows), count_(count) {
  for (std::size_t t = 0; t + 1 < rows.bounds.size(); ++t) {
    const index_t n = rows.bounds[t + 1] - rows.bounds[t];
    if (count < 1 || n < count)
      throw ValueError(fmt::format("minibatches: {} parts of task {}'s {} steps, expected 1 to {}",
                                   count, t, n, n));
    order_.emplace_back(static_cast<std::size_t>(n));
  }
}

void Minibatches::shuffle(const Rng& rng) {
  for (std::size_t t = 0; t < order_.size(); ++t) rng.fork(t).permutation(order_[t]);
}

const Rows& Minibatches::operator[](index_t m) {
  part_.rows.clear();
  part_.bounds.assign(1, 0);
  for (std::size_t t = 0; t < order_.size(); ++t) {
    const auto n = static_cast<index_t>(order_[t].size());
    for (index_t k = m * n / count_; k < (m + 1) * n / count_; ++k)
      part_.rows.push_back(all_.rows[static_cast<std::size_t>(
          all_.bounds[t] + order_[t][static_cast<std::size_t>(k)])]);
    part_.bounds.push_back(static_cast<index_t>(part_.rows.size()));
  }
  return part_;
}

}  // namespace concord::rl
