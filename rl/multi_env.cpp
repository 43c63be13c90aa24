#include <concord/rl/multi_env.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace concord::rl {
namespace {

EnvSpec common_spec(const std::vector<EnvPtr>& members) {
  if (members.empty()) throw ValueError("join: no environments, expected at least one");
  EnvSpec spec = members[0]->spec();
  for (const EnvPtr& member : members) {
    const EnvSpec& m = member->spec();
    const Shape &a = spec.observation.shape, &b = m.observation.shape;
    if (m.observation.dtype != spec.observation.dtype)
      throw DTypeError(fmt::format("join: '{}' shows {}, '{}' {}, expected one element type",
                                   m.name, concord::name(m.observation.dtype),
                                   members[0]->spec().name, concord::name(spec.observation.dtype)));
    if (a.rank() != b.rank() || (a.rank() > 0 && !(a.without(0) == b.without(0))))
      throw ShapeError(fmt::format(
          "join: '{}' shows {}, '{}' {}, expected shapes that differ in the leading axis only",
          m.name, to_string(b), members[0]->spec().name, to_string(a)));
    if (a.rank() > 0) spec.observation.shape = a.with(0, std::max(a[0], b[0]));
    spec.observation.states = std::max(spec.observation.states, m.observation.states);
    if ((m.action.count > 0) != (spec.action.count > 0) || m.action.low != spec.action.low ||
        m.action.high != spec.action.high)
      throw ValueError(fmt::format(
          "join: '{}' and '{}' take different kinds of actions, expected all discrete, or all "
          "continuous in one range",
          m.name, members[0]->spec().name));
    if (m.action.count > spec.action.count) spec.action = m.action;
    spec.action.dimensions = std::max(spec.action.dimensions, m.action.dimensions);
    spec.max_steps = std::max(spec.max_steps, m.max_steps);
  }
  spec.name = "join";
  return spec;
}

index_t total_size(const std::vector<EnvPtr>& members) {
  index_t n = 0;
  for (const EnvPtr& member : members) n += member->size();
  return n;
}

class MultiEnv final : public VecEnv {
 public:
  explicit MultiEnv(std::vector<EnvPtr> list)
      : VecEnv(common_spec(list), total_size(list)), members_(std::move(list)) {
    index_t first = 0;
    for (const EnvPtr& member : members_) {
      const index_t n = member->size();
      tasks_.rows(first, first + n).fill(static_cast<double>(parts_.size()));
      const index_t count = member->spec().action.count;
      for (index_t i = first; i < first + n; ++i)
        for (index_t a = count; a < spec_.action.count; ++a)
          action_mask_.data<std::uint8_t>()[i * spec_.action.count + a] = 0;
      parts_.push_back({first, member->buffers(), member->actions()});
      first += n;
    }
  }

  std::map<std::string, Tensor> state() const override {
    std::map<std::string, Tensor> all;
    for (std::size_t k = 0; k < members_.size(); ++k)
      for (const auto& [name, tensor] : members_[k]->state())
        all["task" + std::to_string(k) + "." + name] = tensor;
    return all;
  }

  void check_state() const override {
    for (const EnvPtr& member : members_) member->check_state();
  }

  bool started() const override {
    return std::all_of(members_.begin(), members_.end(),
                       [](const EnvPtr& member) { return member->started(); });
  }

  Canvas render(index_t i) const override {
    std::size_t k = members_.size() - 1;
    while (i < parts_[k].first) --k;
    return members_[k]->render(i - parts_[k].first);
  }

 private:
  /// A member's place, and the buffers it works in.
  struct Part {
    index_t first;
    StepBuffers buffers;
    Tensor actions;
  };

  void do_reset(const Tensor& observation) override {
    for (std::size_t k = 0; k < members_.size(); ++k) {
      members_[k]->reset(parts_[k].buffers.observation);
      pad(parts_[k].buffers.observation, observation, parts_[k].first);
    }
  }

  void do_observe(const Tensor& observation) const override {
    for (std::size_t k = 0; k < members_.size(); ++k) {
      members_[k]->observe(parts_[k].buffers.observation);
      pad(parts_[k].buffers.observation, observation, parts_[k].first);
    }
  }

  void do_step(const Tensor& actions, const StepBuffers& out) override {
    for (std::size_t k = 0; k < members_.size(); ++k) {
      const Part& part = parts_[k];
      const index_t first = part.first, end = first + members_[k]->size();
      if (spec_.action.count > 0) {
        part.actions.copy_from(actions.rows(first, end));
      } else {
        const index_t d = part.actions.dim(1);
        for (index_t i = first; i < end; ++i)
          std::copy_n(actions.data<float>() + i * spec_.action.dimensions, d,
                      part.actions.data<float>() + (i - first) * d);
      }
      const StepBuffers own = {part.buffers.observation, part.buffers.final_observation,
                               out.reward.rows(first, end), out.terminated.rows(first, end),
                               out.truncated.rows(first, end)};
      members_[k]->step(part.actions, own);
      pad(own.observation, out.observation, first);
      for (index_t i = first; i < end; ++i)
        if (out.terminated.data<std::uint8_t>()[i] || out.truncated.data<std::uint8_t>()[i])
          pad(own.final_observation.rows(i - first, i - first + 1), out.final_observation, i);
    }
  }

  /// Rows of `from` into rows of `to` that start at `first`, zeros behind them.
  static void pad(const Tensor& from, const Tensor& to, index_t first) {
    const std::size_t narrow = from.bytes() / from.dim(0), wide = to.bytes() / to.dim(0);
    for (index_t i = 0; i < from.dim(0); ++i) {
      std::byte* row = to.raw() + (first + i) * wide;
      std::memcpy(row, from.raw() + i * narrow, narrow);
      std::memset(row + narrow, 0, wide - narrow);
    }
  }

  std::vector<EnvPtr> members_;
  std::vector<Part> parts_;
};

}  // namespace

EnvPtr join(std::vector<EnvPtr> members) { return std::make_unique<MultiEnv>(std::move(members)); }

}  // namespace concord::rl
