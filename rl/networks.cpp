#include <concord/rl/networks.h>

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <numbers>

namespace concord::rl {
namespace {

/// Of a last policy layer: it starts near the uniform policy.
constexpr double kPolicyGain = 0.01;

/// Weights of everything below `path` orthogonal, biases zero; norms stay as they are.
void start_orthogonal(const Scope& scope, double gain) {
  scope.store().for_each(scope.path() + ".", [&](Slice& s) {
    if (s.shape.rank() >= 2) s.init = nn::init::orthogonal(gain);
    if (s.name.ends_with("bias")) s.init = nn::init::zeros();
  });
}

index_t features_of(const ObservationSpec& spec, const TrunkOptions& o) {
  return o.hidden.empty() ? spec.shape.numel() : o.hidden.back();
}

class ObservationTrunk final : public nn::Trunk {
 public:
  ObservationTrunk(const Scope& scope, const ObservationSpec& spec, const TrunkOptions& o,
                   bool convolution)
      : Trunk(scope, features_of(spec, o)), layers_(scope) {
    const Shape& input = spec.shape;
    index_t width = input.numel();
    if (convolution) {
      constexpr index_t kChannels = 16;
      if (input.rank() != 3 || input[1] < 3 || input[2] < 3)
        throw ShapeError("minatar: the network needs planes [channels, height, width] from 3x3 on",
                         {{"observation", to_string(input)}});
      layers_.add<nn::Conv2d>("conv", input[0], kChannels, std::array<index_t, 2>{3, 3});
      layers_.add<nn::Activation>("conv_activation", "relu");
      width = kChannels * (input[1] - 2) * (input[2] - 2);
    }
    const bool numbered = spec.states > 0;
    if (numbered && o.hidden.empty())
      throw ValueError("mlp: states shown by number need a hidden layer");
    if (!numbered) layers_.add<nn::Flatten>("flatten");
    for (std::size_t i = 0; i < o.hidden.size(); ++i) {
      if (numbered && i == 0)
        layers_.add<nn::Embedding>("embedding", spec.states, o.hidden[i]);
      else
        layers_.add<nn::Linear>(fmt::format("layers.{}", i), width, o.hidden[i]);
      if (o.layer_norm) layers_.add<nn::LayerNorm>(fmt::format("norms.{}", i), Shape{o.hidden[i]});
      layers_.add<nn::Activation>(fmt::format("activations.{}", i), o.activation);
      width = o.hidden[i];
    }
  }

 protected:
  Var forward(const Context& ctx, const Var& x) const override { return layers_(ctx, x); }

 private:
  nn::Sequential layers_;
};

/// The mask of each task's actions, taken from its first environment.
std::vector<Tensor> masks_of(const VecEnv& env, const Bounds& bounds) {
  std::vector<Tensor> masks(bounds.size() - 1);
  if (env.spec().action.count == 0) return masks;
  for (std::size_t t = 0; t < masks.size(); ++t) masks[t] = mask_of(env.action_mask()[bounds[t]]);
  return masks;
}

/// Rows [first, last) of x; those of a constant share its memory.
Var rows_of(const Var& x, index_t first, index_t last) {
  if (first == 0 && last == x.dim(0)) return x;
  return x.recorded() ? slice(x, 0, first, last) : Var(x.value().rows(first, last));
}

}  // namespace

Bounds task_bounds(const VecEnv& env) {
  Bounds bounds{0};
  const auto tasks = env.tasks().values<std::int64_t>();
  for (index_t i = 0; i < env.size(); ++i) {
    const auto current = static_cast<std::int64_t>(bounds.size()) - 1;
    const std::int64_t task = tasks[static_cast<std::size_t>(i)];
    if (task == current + 1 && i > 0)
      bounds.push_back(i);
    else if (task != current)
      throw ValueError(fmt::format(
          "agent: environment {} is of task {} after task {}, expected tasks in ascending order", i,
          task, current));
  }
  bounds.push_back(env.size());
  return bounds;
}

std::vector<int> head_groups(int tasks, int first_row, bool several) {
  std::vector<int> groups;
  for (int t = 0; t < tasks; ++t) groups.push_back(several || tasks == 1 ? kShared : first_row + t);
  return groups;
}

std::unique_ptr<nn::Trunk> make_trunk(const Scope& scope, const ObservationSpec& spec,
                                      const TrunkOptions& o) {
  std::unique_ptr<nn::Trunk> trunk;
  if (o.name == "mlp" || o.name == "minatar") {
    trunk = std::make_unique<ObservationTrunk>(scope, spec, o, o.name == "minatar");
  } else {
    trunk = nn::find_network(o.name).make(
        scope, {.input = spec.shape, .hidden = o.hidden, .activation = o.activation});
  }
  if (!o.hidden.empty()) start_orthogonal(scope, std::numbers::sqrt2);
  return trunk;
}

void features_by_task(const nn::Trunk& trunk, const Context& ctx, const Var& x,
                      const Bounds& bounds, std::vector<Var>& out) {
  out.clear();
  const Var input = x.recorded() ? x : Var(x.value().to(ctx.theta->device()));
  const Var all = ctx.tape ? Var() : trunk(ctx, input);
  for (std::size_t t = 0; t + 1 < bounds.size(); ++t) {
    if (bounds[t] == bounds[t + 1])
      out.emplace_back();
    else if (ctx.tape)
      out.push_back(trunk(ctx, rows_of(input, bounds[t], bounds[t + 1])));
    else
      out.push_back(rows_of(all, bounds[t], bounds[t + 1]));
  }
}

Heads::Heads(const Scope& scope, std::span<const int> groups, index_t in, index_t out, double gain)
    : outputs_(out) {
  for (std::size_t t = 0; t < groups.size(); ++t)
    heads_.push_back(
        std::make_unique<nn::Linear>((scope / fmt::format("{}", t)).task(groups[t]), in, out));
  start_orthogonal(scope, gain);
}

void Heads::operator()(const Context& ctx, std::span<const Var> features,
                       std::vector<Var>& out) const {
  out.clear();
  for (std::size_t t = 0; t < features.size(); ++t)
    out.push_back(features[t].value().defined()
                      ? (*heads_[heads_.size() == 1 ? 0 : t])(ctx, features[t])
                      : Var());
}

ActorCritic::ActorCritic(const Scope& scope, const VecEnv& env, const ActorCriticOptions& o,
                         std::span<const int> actor_groups, std::span<const int> critic_groups)
    : masks_(masks_of(env, task_bounds(env))) {
  const EnvSpec& spec = env.spec();
  const std::size_t heads = o.shared_heads ? 1 : masks_.size();
  const index_t outputs = spec.action.count > 0 ? spec.action.count : spec.action.dimensions;
  actor_ = make_trunk(scope / "actor", spec.observation, o.trunk);
  if (o.separate) critic_ = make_trunk(scope / "critic", spec.observation, o.trunk);
  policy_ = std::make_unique<Heads>(scope / "policy", actor_groups.first(heads), actor_->features(),
                                    outputs, kPolicyGain);
  value_ = std::make_unique<Heads>(scope / "value", critic_groups.first(heads),
                                   (critic_ ? critic_ : actor_)->features(), 1, 1.0);
  if (spec.action.count > 0) return;
  for (std::size_t t = 0; t < heads; ++t)
    log_std_.push_back((scope / "log_std")
                           .task(actor_groups[t])
                           .parameter(fmt::format("{}", t), {outputs}, nn::init::zeros()));
}

void ActorCritic::operator()(const Context& ctx, const Var& x, const Bounds& bounds,
                             std::vector<Distribution>* policies, std::vector<Var>* values) const {
  if (policies || !critic_) features_by_task(*actor_, ctx, x, bounds, features_);
  if (policies) {
    (*policy_)(ctx, features_, outputs_);
    policies->resize(outputs_.size());
    for (std::size_t t = 0; t < outputs_.size(); ++t) {
      Distribution& d = (*policies)[t];
      if (!outputs_[t].value().defined())
        d = {};
      else if (log_std_.empty())
        d = categorical(outputs_[t], masks_[t]);
      else
        d = {.mean = outputs_[t], .log_std = ctx.parameter(log_std_[log_std_.size() == 1 ? 0 : t])};
    }
  }
  if (values) {
    if (critic_) features_by_task(*critic_, ctx, x, bounds, features_);
    (*value_)(ctx, features_, *values);
    for (Var& v : *values)
      if (v.value().defined()) v = view(v, {-1});
  }
  features_.clear();  // Vars hold on to tensors
  outputs_.clear();
}

ColumnNetwork::Column::Column(const Scope& scope, const EnvSpec& spec, const TrunkOptions& options)
    : trunk(make_trunk(scope / "trunk", spec.observation, options)),
      logits(std::make_unique<nn::Linear>(scope / "logits", trunk->features(), spec.action.count)) {
  if (spec.action.count == 0)
    throw ValueError(fmt::format("{}: columns need a finite set of actions", spec.name));
  start_orthogonal(scope / "logits", kPolicyGain);
}

ColumnNetwork::ColumnNetwork(const Scope& scope, const VecEnv& env, const TrunkOptions& options,
                             double shared, bool own)
    : factor_(shared),
      masks_(masks_of(env, task_bounds(env))),
      shared_(scope / "shared", env.spec(), options) {
  if (shared == 0 && !own)
    throw ValueError("columns: policies without any, expected shared or own");
  const std::vector<int> groups = head_groups(tasks());
  for (std::size_t t = 0; t < masks_.size(); ++t) {
    const Scope task = (scope / fmt::format("{}", t)).task(groups[t]);
    if (own) own_.emplace_back(task, env.spec(), options);
    const index_t features = (own ? own_.back() : shared_).trunk->features();
    values_.push_back(std::make_unique<nn::Linear>(task / "value", features, 1));
    start_orthogonal(task / "value", 1);
  }
}

void ColumnNetwork::operator()(const Context& ctx, const Var& x, const Bounds& bounds,
                               std::vector<Distribution>* policies,
                               std::vector<Distribution>* distilled,
                               std::vector<Var>* values) const {
  for (auto* out : {policies, distilled})
    if (out) out->assign(masks_.size(), {});
  if (values) values->assign(masks_.size(), {});
  const Var input(x.value().to(ctx.theta->device()));
  const bool mixed = policies && factor_ != 0;
  if (mixed || distilled || own_.empty())
    features_by_task(*shared_.trunk, ctx, input, bounds, features_);
  for (std::size_t t = 0; t < masks_.size(); ++t) {
    if (bounds[t] == bounds[t + 1]) continue;
    const Var h = mixed || distilled ? (*shared_.logits)(ctx, features_[t]) : Var();
    if (distilled) (*distilled)[t] = categorical(h, masks_[t]);
    if (!policies && !values) continue;
    const Var own = own_.empty() ? features_[t]
                                 : (*own_[t].trunk)(ctx, rows_of(input, bounds[t], bounds[t + 1]));
    if (values) (*values)[t] = view((*values_[t])(ctx, own), {-1});
    if (!policies) continue;
    Var logits = own_.empty() ? Var() : (*own_[t].logits)(ctx, own);
    if (mixed) logits = own_.empty() ? factor_ * h : factor_ * h + logits;
    (*policies)[t] = categorical(logits, masks_[t]);
  }
  features_.clear();
}

QNetwork::QNetwork(const Scope& scope, const VecEnv& env, const TrunkOptions& options,
                   std::span<const int> groups)
    : masks_(masks_of(env, task_bounds(env))) {
  const EnvSpec& spec = env.spec();
  if (spec.action.count == 0)
    throw ValueError(fmt::format("{}: Q-learning needs a finite set of actions", spec.name));
  trunk_ = make_trunk(scope / "trunk", spec.observation, options);
  heads_ = std::make_unique<Heads>(scope / "q", groups, trunk_->features(), spec.action.count, 1.0);
}

void QNetwork::operator()(const Context& ctx, const Var& x, const Bounds& bounds,
                          std::vector<Var>& q) const {
  features_by_task(*trunk_, ctx, x, bounds, features_);
  (*heads_)(ctx, features_, q);
  features_.clear();
  for (std::size_t t = 0; t < q.size(); ++t)
    if (q[t].value().defined() && masks_[t].defined())
      q[t] = q[t] + Var(masks_[t].to(ctx.theta->device()));
}

Tensor to_input(const Tensor& observation) {
  return observation.dtype() == DType::u8 ? observation.to(DType::f32) : observation;
}

void gather_rows(const Tensor& source, std::span<const index_t> rows, Tensor& out) {
  const DType dtype = source.dtype() == DType::u8 ? DType::f32 : source.dtype();
  const Shape shape = source.shape().with(0, static_cast<index_t>(rows.size()));
  if (!out.defined() || !(out.shape() == shape) || out.dtype() != dtype)
    out = Tensor::empty(shape, dtype);
  const index_t width = shape.span(1, shape.rank());
  if (source.dtype() == DType::u8) {
    const auto* from = source.data<std::uint8_t>();
    float* to = out.data<float>();
    for (const index_t row : rows)
      for (index_t k = 0; k < width; ++k) *to++ = from[row * width + k];
  } else {
    const std::size_t bytes = static_cast<std::size_t>(width) * size_of(dtype);
    std::byte* to = out.raw();
    for (const index_t row : rows) {
      std::memcpy(to, source.raw() + static_cast<std::size_t>(row) * bytes, bytes);
      to += bytes;
    }
  }
}

}  // namespace concord::rl
