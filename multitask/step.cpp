#include <concord/multitask/elements.h>
#include <concord/multitask/step.h>
#include <concord/tensor/device.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace concord::multitask {
namespace {

constexpr double kOne = 1;

void check_options(const StepOptions& o, int tasks, const Aggregator& method) {
  const auto exclude = [&](bool wrong, const char* text) {
    if (wrong) throw UsageError(fmt::format("step: {}", text));
  };
  const bool blocks = o.granularity != Granularity::whole;
  exclude(blocks && o.heads == Heads::weighted,
          "heads take the task's weight, but there is one per block; use granularity whole");
  exclude(blocks && o.level == Level::features, "features are not made of blocks of parameters");
  exclude(o.refresh > 1 && (blocks || o.tasks_per_step > 0 || method.needs_elements()),
          "old weights serve whole rows of the same tasks only (refresh > 1)");
  exclude(o.keep != Keep::full && (method.needs_elements() || o.level == Level::features),
          "the method, or the level, works on rows of full precision; use keep = full");
  exclude((o.keep == Keep::none || o.keep == Keep::automatic) && blocks,
          "without G there is one weight per task, not one per block; use keep = full or bf16");
  if (o.refresh < 1 || o.tasks_per_step < 0 || tasks < 1) {
    throw ValueError(fmt::format("step: refresh {}, {} tasks per step of {} tasks", o.refresh,
                                 o.tasks_per_step, tasks));
  }
}

/// BlockGrams' way of saying which slice is in which block.
std::vector<int> block_of_slice(const ParameterStore& store, std::span<const Block> blocks) {
  std::vector<int> of(static_cast<std::size_t>(store.slices()), -1);
  for (SliceId id = 0; id < store.slices(); ++id) {
    const Slice& slice = store.slice(id);
    for (std::size_t b = 0; slice.group == kShared && b < blocks.size(); ++b) {
      if (slice.offset >= blocks[b].first && slice.offset < blocks[b].first + blocks[b].size)
        of[static_cast<std::size_t>(id)] = static_cast<int>(b);
    }
  }
  return of;
}

}  // namespace

Tensor values_of(std::span<const Var> losses) {
  Tensor values;
  for (std::size_t t = 0; t < losses.size(); ++t) {
    const Tensor& loss = losses[t].value();
    if (!loss.defined()) continue;
    if (!values.defined())
      values = Tensor::zeros({static_cast<index_t>(losses.size())}, loss.dtype(), loss.device());
    check_same_kind("step", "loss", loss, "another loss", values);
    const auto at = static_cast<index_t>(t);
    values.rows(at, at + 1).copy_from(loss);
  }
  return values;
}

Step::Step(const ParameterStore& store, const Make& make, int tasks, const StepOptions& options)
    : store_(store),
      options_(options),
      blocks_(blocks_of(store, options.granularity)),
      measured_blocks_(blocks_of(store, std::max(options.measure, options.granularity))),
      measured_(measured_blocks_.size()),
      grams_(store, tasks, block_of_slice(store, measured_blocks_)),
      chosen_(at(tasks)),
      known_(at(tasks)),
      loss_sums_(at(tasks)) {
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    parts_.push_back({make(), {}, {}});
    if (blocks_.size() > 1) ends_.push_back(blocks_[b].first + blocks_[b].size);
  }
  if (parts_.empty()) throw UsageError("step: no parameter is shared, there is nothing to combine");
  check_options(options_, tasks, method());
  weights_.resize(blocks_.size() * at(tasks));
  const bool without_g = options.keep == Keep::none || options.keep == Keep::automatic;
  if (options.level == Level::parameters) {
    // Automatic: the first sweep goes without G, and tells what either way costs.
    make_rows(without_g                    ? RowStorage::streamed
              : options.keep == Keep::bf16 ? RowStorage::bf16
                                           : RowStorage::full);
  }
  if (options.level == Level::features || without_g || options.refresh > 1)
    combined_.emplace(store, 1, options.dtype, Columns::shared, options.device);
}

void Step::make_rows(RowStorage storage) {
  rows_.emplace(store_, static_cast<int>(loss_sums_.size()), options_.dtype,
                storage == RowStorage::streamed ? Columns::trunk : Columns::shared, options_.device,
                storage);
}

Step::Step(const ParameterStore& store, std::unique_ptr<Aggregator> method, int tasks,
           const StepOptions& options)
    : Step(
          store,
          [&] {
            if (!method) throw UsageError("step: several blocks need a method each");
            return std::move(method);
          },
          tasks, options) {}

void Step::begin(std::span<const Var> losses, const When& when) {
  when_ = when;
  present_.clear();
  fetched_.clear();
  std::fill(chosen_.begin(), chosen_.end(), std::uint8_t{1});
  fresh_ = options_.refresh == 1 || refreshed_ < 0 || when.step >= refreshed_ + options_.refresh;
  for (std::size_t t = 0; t < losses.size(); ++t)
    fresh_ |= losses[t].value().defined() && !known_[t];
  if (prefer_rows_ && rows_->storage() == RowStorage::streamed) {
    make_rows(RowStorage::full);
    if (options_.refresh == 1) combined_.reset();
  }
  if (options_.tasks_per_step == 0) return;
  // Selection sampling: each present task is taken with probability (wanted / left).
  const Rng rng = when.rng.fork("tasks").fork(static_cast<std::uint64_t>(when.step));
  index_t left =
      std::count_if(losses.begin(), losses.end(), [](const Var& l) { return l.value().defined(); });
  index_t wanted = options_.tasks_per_step;
  for (std::size_t t = 0; t < losses.size(); ++t) {
    if (!losses[t].value().defined()) continue;
    chosen_[t] = rng.below(t, left--) < wanted;
    wanted -= chosen_[t];
  }
}

void Step::accumulate(Tape& tape, std::span<const Var> losses, const When& when, double share,
                      const Var& features) {
  const int tasks = static_cast<int>(loss_sums_.size());
  if (static_cast<int>(losses.size()) != tasks)
    throw ShapeError(fmt::format("step: {} losses for {} tasks", losses.size(), tasks));
  const bool at_features = options_.level == Level::features;
  if (at_features != features.recorded()) {
    throw UsageError(at_features ? "step: the features are missing, the level asks for them"
                                 : "step: features are given, but the level is parameters");
  }
  const int before = std::exchange(batches_, 0);  // what throws ends the step
  const bool first = before == 0;
  if (!first && (at_features || (fresh_ && !separate()))) {
    throw UsageError(
        "step: micro-batches add up in rows of parameters; use level = parameters, keep = full");
  }
  if (first) begin(losses, when);

  seeds_.clear();
  for (int t = 0; t < tasks; ++t) {
    const Var& loss = losses[at(t)];
    if (!loss.value().defined() || !chosen_[at(t)]) continue;
    if (!fresh_ && !known_[at(t)])
      throw UsageError(
          fmt::format("step: task {} comes after the first micro-batch and has no weight yet", t));
    seeds_.push_back({loss, t, share, {}});
    const auto place = std::lower_bound(present_.begin(), present_.end(), t);
    if (place == present_.end() || *place != t) present_.insert(place, t);
  }
  if (const Tensor values = values_of(losses); values.defined())
    fetched_.push_back({values.download(), share});
  SweepOptions sweep{.max_rows = options_.max_rows, .add = !first};
  if (!fresh_) {
    sweep.combine = weights_;
    tape.backward(seeds_, tasks, &*combined_, sweep);
  } else if (at_features) {
    sweep.wanted = std::span(&features, 1);
    sweep.gradients = &at_features_;
    sweep.stop_at_wanted = sweep.heads_only = true;
    tape.backward(seeds_, tasks, &*combined_, sweep);
  } else {
    sweep.grams = &grams_;
    tape.backward(seeds_, tasks, &*rows_, sweep);
  }
  if (fresh_ && !separate()) {  // combine() sweeps again
    tape_ = &tape;
    features_ = features;
  } else {
    seeds_.clear();  // Vars hold on to tensors
  }
  batches_ = before + 1;
}

void Step::combine() {
  if (std::exchange(batches_, 0) == 0) throw UsageError("step: combine() comes after accumulate()");
  if (fresh_ && options_.level == Level::parameters) grams_.download();
  fetch();
  if (fresh_) {
    if (options_.level == Level::features)
      answer_at_features();
    else
      answer_at_parameters();
    refreshed_ = when_.step;
    std::fill(known_.begin(), known_.end(), std::uint8_t{0});
    for (const int t : present_) known_[at(t)] = 1;
  }
  if (!separate()) take_norm_of_combined();
}

void Step::fetch() {
  synchronize(options_.device);
  grams_.add_up();
  std::fill(loss_sums_.begin(), loss_sums_.end(), 0.0);
  for (const Fetched& batch : fetched_) {
    for (const int t : present_)
      loss_sums_[at(t)] += batch.share * batch.losses.rows(t, t + 1).item();
  }
  fetched_.clear();
  losses_.clear();
  for (const int t : present_) losses_.push_back(loss_sums_[at(t)]);
}

void Step::measure() {
  const int tasks = static_cast<int>(loss_sums_.size()), rows = static_cast<int>(present_.size());
  for (std::size_t m = 0; m < measured_.size(); ++m) {
    const std::span<const double> all = grams_[static_cast<int>(m)];
    measured_[m].resize(rows);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j <= i; ++j)
        measured_[m].set(i, j, all[at(present_[at(i)] * tasks + present_[at(j)])]);
    }
  }
}

void Step::answer_at_parameters() {
  measure();
  squared_norm_ = 0;
  std::fill(weights_.begin(), weights_.end(), 0.0);
  std::size_t m = 0;
  for (std::size_t b = 0; b < parts_.size(); ++b) {
    // The measured blocks are as fine or finer, in the same order.
    auto& [method, gram, answer] = parts_[b];
    gram = measured_[m++];
    const index_t end = blocks_[b].first + blocks_[b].size;
    while (m < measured_.size() && measured_blocks_[m].first < end) gram.add(measured_[m++]);

    const StepInputs in = inputs(static_cast<int>(b));
    if (method->needs_elements()) {
      const OnHost rows(elements_of(*rows_, present_, blocks_[b]));
      if (method->rewrite(in, rows.elements())) {
        rows.put_back();
        gram_of(*rows_, present_, blocks_[b], gram);
      }
    }
    method->weights(in, answer);
    rescale(answer, gram);
    squared_norm_ += gram.squared_norm(answer.weights);
    for (std::size_t r = 0; r < present_.size(); ++r)
      weights_[b * loss_sums_.size() + at(present_[r])] = answer.weights[r];
  }
  if (separate()) return;
  prefer_rows_ =
      options_.keep == Keep::automatic && grams_.estimate().with_g <= grams_.estimate().without_g;
  tape_->backward(seeds_, static_cast<int>(loss_sums_.size()), &*combined_, {.combine = weights_});
  seeds_.clear();
}

void Step::answer_at_features() {
  auto& [method, gram, answer] = parts_[0];
  const Tensor& cotangents = at_features_[0];
  const Elements rows = rows_of(cotangents, present_);
  gram_of(rows, gram);
  if (method->needs_elements()) {
    const OnHost host(rows);
    if (method->rewrite(inputs(), host.elements())) {
      host.put_back();
      gram_of(rows, gram);
    }
  }
  method->weights(inputs(), answer);
  rescale(answer, gram);
  std::fill(weights_.begin(), weights_.end(), 0.0);
  for (std::size_t r = 0; r < present_.size(); ++r) weights_[at(present_[r])] = answer.weights[r];

  const Tensor direction = Tensor::empty_like(features_.value());
  kernels::on(direction, [&]<class T>(const kernels::Kernels<T>& k) {
    k.combine(
        rows.columns,
        {cotangents.data<T>(), rows.columns, static_cast<int>(weights_.size()), weights_.data()},
        direction.data<T>());
  });
  seeds_.assign(1, {features_, 0, 1, direction});
  tape_->backward(seeds_, 1, &*combined_, {.add = true});
  seeds_.clear();
  at_features_.clear();
  features_ = Var();
}

void Step::rescale(Direction& answer, const Gram& gram) const {
  double factor = 1;
  const double tasks = static_cast<double>(answer.weights.size());
  if (options_.rescale == Rescale::times_tasks) factor = tasks;
  if (options_.rescale == Rescale::over_tasks) factor = 1 / tasks;
  if (options_.rescale == Rescale::sum_length) {
    double sum = 0;
    for (const double v : gram.values()) sum += v;
    const double squared = gram.squared_norm(answer.weights);
    if (squared > 0) factor = std::sqrt(std::max(sum, 0.0) / squared);
  }
  for (double& w : answer.weights) w *= factor;
}

void Step::take_norm_of_combined() {
  squared_norm_ = squared_norm_of(combined_->row(0));
  if (!std::isfinite(squared_norm_)) {
    throw NumericError(fmt::format(
        "step: the combined gradient's squared norm is {}, expected a finite one", squared_norm_));
  }
}

void Step::after(std::span<const Var> losses) {
  if (losses.size() != loss_sums_.size()) {
    throw ShapeError(fmt::format("step: {} losses for {} tasks", losses.size(), loss_sums_.size()));
  }
  if (!fresh_) return;
  losses_after_.clear();
  const Tensor values = values_of(losses).to(kCpu);
  for (const int t : present_) losses_after_.push_back(values.rows(t, t + 1).item());
  for (Part& part : parts_) part.method->after_step(losses_after_);
}

optim::Direction Step::direction() const {
  const std::span<const double> heads = options_.heads == Heads::weighted
                                            ? std::span<const double>(weights_)
                                            : std::span<const double>();
  if (!separate()) return {*combined_, std::span(&kOne, 1), heads};
  return {*rows_, weights_, heads, ends_};
}

StepInputs Step::inputs(int block) const {
  // Blocks draw apart from each other; a single one draws as the method does on its own.
  const Rng rng =
      parts_.size() == 1 ? when_.rng : when_.rng.fork(static_cast<std::uint64_t>(block));
  return {gram(block), losses_, when_.step, when_.epoch, rng, present_};
}

void Step::save(State& state) const {
  for (std::size_t b = 0; b < parts_.size(); ++b) {
    if (parts_.size() == 1) {
      parts_[b].method->save(state);
      continue;
    }
    State own;
    parts_[b].method->save(own);
    for (auto& [name, values] : own) state[blocks_[b].name + "/" + name] = std::move(values);
  }
  if (options_.keep == Keep::automatic) state["step.prefer_rows"] = {prefer_rows_ ? 1.0 : 0.0};
  if (options_.refresh == 1) return;
  state["step.weights"] = weights_;
  state["step.known"].assign(known_.begin(), known_.end());
  state["step.refreshed"] = {static_cast<double>(refreshed_)};
}

void Step::load(const State& state) {
  for (std::size_t b = 0; b < parts_.size(); ++b) {
    if (parts_.size() == 1) {
      parts_[b].method->load(state);
      continue;
    }
    const std::string prefix = blocks_[b].name + "/";
    State own;
    for (const auto& [name, values] : state) {
      if (name.starts_with(prefix)) own[name.substr(prefix.size())] = values;
    }
    parts_[b].method->load(own);
  }
  if (options_.keep == Keep::automatic)
    prefer_rows_ = state_entry(state, "step", "step.prefer_rows", 1)[0] != 0;
  if (options_.refresh == 1) return;
  weights_ = state_entry(state, "step", "step.weights", weights_.size());
  const auto& known = state_entry(state, "step", "step.known", known_.size());
  std::transform(known.begin(), known.end(), known_.begin(),
                 [](double v) { return static_cast<std::uint8_t>(v); });
  refreshed_ = static_cast<std::int64_t>(state_entry(state, "step", "step.refreshed", 1)[0]);
}

}  // namespace concord::multitask
