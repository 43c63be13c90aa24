#include <concord/autograd/profile.h>
#include <concord/autograd/sweep.h>
#include <concord/tensor/device.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace concord {
namespace {

/// Elements [first, first + n) of a tensor, flat; shares memory.
Tensor piece(const Tensor& t, index_t first, index_t n) {
  return t.view(Shape{t.numel()}).rows(first, first + n);
}

/// to = scale * from, or to += scale * from, on the device of both.
void write_row(const Tensor& to, const Tensor& from, double scale, bool add) {
  if (!add && scale == 1) {
    to.copy_from(from);
    return;
  }
  kernels::on(to, [&]<class T>(const kernels::Kernels<T>& k) {
    k.spread({1, 1, to.numel()}, scale, kernels::one_row<const T>(from.data<T>()),
             kernels::one_row(to.data<T>(), add));
  });
}

}  // namespace

void Sweep::run(std::span<const Seed> seeds, const Var* diagonal, int rows, int first, int last,
                GradientMatrix* g, const SweepOptions& options) {
  g_ = g;
  options_ = &options;
  combine_ = options.combine;
  combined_ = combine_.empty() ? -1 : rows;
  rows_ = combine_.empty() ? rows : rows + 1;
  first_ = first;
  last_ = combine_.empty() ? last : rows_;
  words_ = (rows_ + 63) / 64;
  prepare(seeds, diagonal);

  if (diagonal) {
    State& s = state_[diagonal->id()];
    s.cotangent = Tensor::full(diagonal->shape(), 1, diagonal->dtype(), diagonal->value().device());
    s.form = Form::diagonal;
  }
  for (const Seed& seed : seeds) {
    if (seed.row < first || seed.row >= last) continue;
    const Tensor cotangent = seed.cotangent.defined()
                                 ? seed.cotangent
                                 : Tensor::full({}, 1, seed.var.dtype(), seed.var.value().device());
    allocate(seed.var.id());
    const Into to = into(seed.var.id(), seed.row);
    add_row(seed.var.id(), to.row, cotangent, seed.scale * to.scale);
  }
  for (int id = static_cast<int>(state_.size()) - 1; id >= 0; --id) {
    if (state_[id].list >= 0) visit(id);
  }
}

void Sweep::prepare(std::span<const Seed> seeds, const Var* diagonal) {
  const auto& nodes = tape_.nodes_;
  lists_used_ = maps_used_ = 0;
  state_.assign(nodes.size(), State{});
  uses_.assign(nodes.size(), 0);
  products_of_ = timed_ = -1;
  double flops = 0;  // of the forward pass below the seeds
  masks_.assign(nodes.size() * words_, 0);
  written_.assign(nodes.size() * words_, 0);
  for (std::size_t i = 0; i < options_->wanted.size(); ++i)
    state_[options_->wanted[i].id()].wanted = static_cast<int>(i);

  const auto reach = [&](int id, int row) {
    masks_[id * words_ + row / 64] |= std::uint64_t{1} << (row % 64);
  };
  if (diagonal) {
    for (int r = first_; r < last_; ++r) reach(diagonal->id(), r);
  }
  for (const Seed& s : seeds) {
    if (s.row >= first_ && s.row < last_) reach(s.var.id(), s.row);
  }
  for (int id = static_cast<int>(nodes.size()) - 1; id >= 0; --id) {
    std::uint64_t* mask = &masks_[id * words_];
    int reached = 0;
    for (int w = 0; w < words_; ++w) reached += std::popcount(mask[w]);
    if (reached == 0) continue;
    if (options_->heads_only && shared(id)) {
      throw UsageError(
          fmt::format("backward: '{}' is shared, only heads were expected above the features",
                      g_->store().slice(nodes[id].parameter).name));
    }
    if (combined_ >= 0 && (shared(id) || (reached > 1 && !parameter(id)))) {
      std::fill_n(mask, words_, std::uint64_t{0});
      reach(id, combined_);
    }
    state_[id].list = list_of(mask);
    if (options_->stop_at_wanted && state_[id].wanted >= 0) continue;
    flops += static_cast<double>(nodes[id].op.flops);
    for (const int input : tape_.inputs(nodes[id])) {
      if (input < 0) continue;
      ++uses_[input];
      for (int w = 0; w < words_; ++w) masks_[input * words_ + w] |= mask[w];
    }
  }
  // Gradients of the inputs and of the weights: twice the forward pass.
  if (options_->grams && first_ == 0) options_->grams->begin(g_->dtype(), g_->device(), 2 * flops);
}

int Sweep::list_of(const std::uint64_t* mask) {
  for (std::size_t i = 0; i < lists_used_; ++i) {
    if (std::equal(mask, mask + words_, lists_[i].mask.begin())) return static_cast<int>(i);
  }
  if (lists_used_ == lists_.size()) lists_.emplace_back();
  RowList& list = lists_[lists_used_];
  list.mask.assign(mask, mask + words_);
  list.rows.clear();
  for (int w = 0; w < words_; ++w) {
    for (std::uint64_t bits = mask[w]; bits; bits &= bits - 1)
      list.rows.push_back(64 * w + std::countr_zero(bits));
  }
  return static_cast<int>(lists_used_++);
}

const std::int32_t* Sweep::map(int from, int to) {
  if (from == to) return nullptr;
  for (std::size_t i = 0; i < maps_used_; ++i) {
    if (maps_[i].from == from && maps_[i].to == to) return maps_[i].position.data();
  }
  if (maps_used_ == maps_.size()) maps_.emplace_back();
  RowMap& m = maps_[maps_used_++];
  m.from = from;
  m.to = to;
  m.position.clear();
  const auto& target = lists_[to].rows;
  for (const std::int32_t r : lists_[from].rows) {
    m.position.push_back(static_cast<std::int32_t>(
        std::lower_bound(target.begin(), target.end(), r) - target.begin()));
  }
  return m.position.data();
}

bool Sweep::written(int id, int row) const {
  if (parameter(id)) return g_->written(tape_.nodes_[id].parameter, matrix_row(row));
  return written_[id * words_ + row / 64] >> (row % 64) & 1;
}

void Sweep::set_written(int id, int row) {
  if (parameter(id))
    g_->set_written(tape_.nodes_[id].parameter, matrix_row(row));
  else
    written_[id * words_ + row / 64] |= std::uint64_t{1} << (row % 64);
}

void Sweep::check_head(int id) const {
  const Slice& slice = g_->store().slice(tape_.nodes_[id].parameter);
  const auto& rows = lists_[state_[id].list].rows;
  if (!g_->in_heads(tape_.nodes_[id].parameter) || (rows.size() == 1 && rows[0] == slice.group))
    return;
  const int other = rows[0] != slice.group ? rows[0] : rows[1];
  throw UsageError(fmt::format(
      "backward: {} reaches '{}', which belongs to the head of task {}",
      other == combined_ ? "the sum of several losses" : fmt::format("the loss of task {}", other),
      slice.name, slice.group));
}

void Sweep::allocate(int id) {
  State& s = state_[id];
  if (parameter(id)) {
    check_head(id);
    g_->acquire(tape_.nodes_[id].parameter);
    return;
  }
  if (s.form == Form::none) {
    const Tape::Node& n = tape_.nodes_[id];
    const auto rows = static_cast<index_t>(lists_[s.list].rows.size());
    s.cotangent = Tensor::empty({rows, n.shape.numel()}, n.dtype, n.device);
    s.form = Form::dense;
  }
}

Tensor Sweep::row(int id, int row) const {
  const Tape::Node& n = tape_.nodes_[id];
  const index_t size = n.shape.numel();
  if (parameter(id)) {
    const GradientMatrix::Place p = g_->place(n.parameter);
    return piece(*p.tensor, p.offset + (p.head ? 0 : matrix_row(row)) * p.stride, size);
  }
  const auto& rows = lists_[state_[id].list].rows;
  const auto position = std::lower_bound(rows.begin(), rows.end(), row) - rows.begin();
  return piece(state_[id].cotangent, position * size, size);
}

void Sweep::add_row(int id, int r, const Tensor& values, double scale) {
  write_row(row(id, r), values, scale, written(id, r));
  set_written(id, r);
}

void Sweep::densify(int id) {
  State& s = state_[id];
  if (s.form != Form::diagonal) return;
  const Tensor packed = std::exchange(s.cotangent, {});
  s.form = Form::none;
  allocate(id);
  const Tape::Node& n = tape_.nodes_[id];
  const index_t sample = n.shape.span(1, n.shape.rank());
  s.cotangent.zero();
  for (const std::int32_t r : lists_[s.list].rows) {
    piece(row(id, r), r * sample, sample).copy_from(piece(packed, r * sample, sample));
    set_written(id, r);
  }
}

Sink::Place Sweep::place(int node, int k) {
  const Tape::Node& n = tape_.nodes_[node];
  const int target = tape_.inputs(n)[k];
  if (target < 0) return {};
  State& t = state_[target];
  const Tape::Node& tn = tape_.nodes_[target];
  spend_time_on(shared(target) ? tn.parameter : -1);
  const bool unwanted_leaf = !tn.call && !parameter(target) && t.wanted < 0;
  if (t.list < 0 || unwanted_leaf) return {};

  const int list = state_[node].list;
  const auto& rows = lists_[list].rows;
  const auto count = static_cast<std::int32_t>(rows.size());
  const index_t numel = tn.shape.numel();

  // The batch-diagonal form goes on as such to inputs that carry the batch.
  if (state_[node].form == Form::diagonal && (n.op.samples >> k & 1)) {
    if (!parameter(target) && t.form != Form::dense) {
      const bool accumulate = t.form == Form::diagonal;
      if (!accumulate) t.cotangent = Tensor::empty(tn.shape, tn.dtype, tn.device);
      t.form = Form::diagonal;
      return {&t.cotangent, 0, 0, nullptr, 1, accumulate};
    }
    pending_.push_back(
        {target, list, Form::diagonal, Tensor::empty(tn.shape, tn.dtype, tn.device)});
    return {&pending_.back().values, 0, 0, nullptr, 1, false};
  }

  densify(target);
  allocate(target);
  int already = 0;
  for (const std::int32_t r : rows) already += written(target, r);
  const bool weighted = into(target, rows[0]).row != rows[0];
  // Some rows would be written and others added to, or all have to be weighted first.
  if (weighted || (already != 0 && already != count)) {
    pending_.push_back(
        {target, list, Form::dense, Tensor::empty({count, numel}, tn.dtype, tn.device)});
    return {&pending_.back().values, 0, numel, nullptr, count, false};
  }
  for (const std::int32_t r : rows) set_written(target, r);
  if (parameter(target)) {
    const GradientMatrix::Place p = g_->place(tn.parameter);
    if (p.head) return {p.tensor, p.offset, 0, nullptr, 1, already != 0};
    return {p.tensor, p.offset,    p.stride, combined_ < 0 ? rows.data() : nullptr,
            count,    already != 0};
  }
  return {&t.cotangent, 0, numel, map(list, t.list), count, already != 0};
}

void Sweep::spend_time_on(SliceId id) {
  if (!options_->grams) return;
  const auto now = Clock::now();
  if (timed_ >= 0)
    options_->grams->spend(timed_, std::chrono::duration<double>(now - since_).count());
  timed_ = id >= 0 && options_->grams->covers(id) ? id : -1;
  since_ = now;
}

double* Sweep::products(int node, int k, const GramCosts& costs) {
  const int target = tape_.inputs(tape_.nodes_[node])[k];
  BlockGrams* const grams = options_->grams;
  if (!grams || target < 0 || !shared(target) || state_[target].list < 0) return nullptr;
  const SliceId slice = tape_.nodes_[target].parameter;
  const int list = state_[node].list, rows = static_cast<int>(lists_[list].rows.size());
  const bool rows_wanted =
      g_->storage() != RowStorage::streamed || options_->on_complete || state_[target].wanted >= 0;
  if (!grams->covers(slice) || !grams->choose(slice, costs, rows, uses_[target] == 1, rows_wanted))
    return nullptr;
  spend_time_on(slice);
  products_of_ = target;
  products_list_ = list;
  return grams->partial(rows);
}

void Sweep::settle() {
  spend_time_on(-1);
  if (products_of_ >= 0) {
    const int target = std::exchange(products_of_, -1);
    options_->grams->add(tape_.nodes_[target].parameter, lists_[products_list_].rows);
  }
  for (const Pending& p : pending_) {
    const Tape::Node& n = tape_.nodes_[p.target];
    const auto& rows = lists_[p.list].rows;
    if (p.form == Form::dense) {
      const index_t size = n.shape.numel();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const Into to = into(p.target, rows[i]);
        add_row(p.target, to.row, piece(p.values, static_cast<index_t>(i) * size, size), to.scale);
      }
      continue;
    }
    allocate(p.target);
    const index_t sample = n.shape.span(1, n.shape.rank());
    for (const std::int32_t r : rows) {
      const Tensor to = row(p.target, r);
      if (!written(p.target, r)) to.zero();
      write_row(piece(to, r * sample, sample), piece(p.values, r * sample, sample), 1,
                written(p.target, r));
      set_written(p.target, r);
    }
  }
  pending_.clear();
}

void Sweep::visit(int id) {
  const Tape::Node& n = tape_.nodes_[id];
  State& s = state_[id];
  if (parameter(id)) {
    check_head(id);
    if (s.wanted >= 0) {
      allocate(id);
      collect(id);
    }
    if (last_ == rows_) complete(n.parameter);
    return;
  }
  if (!n.call && s.wanted < 0) return;
  if (s.form != Form::diagonal) {
    // Rows that no vector-Jacobian product wrote (its input does not influence the loss) are zero.
    allocate(id);
    for (const std::int32_t r : lists_[s.list].rows) {
      if (!written(id, r)) row(id, r).zero();
    }
  }
  if (s.wanted >= 0) collect(id);
  if (n.call && !(s.wanted >= 0 && options_->stop_at_wanted)) {
    if (n.op.samples == 0) densify(id);
    const bool diagonal = s.form == Form::diagonal;
    const Cotangent gy(s.cotangent, n.shape.numel(), static_cast<int>(lists_[s.list].rows.size()),
                       n.shape, diagonal, first_);
    Sink sink(*this, id);
    if (tape_.profile_) tape_.profile_->mark();
    n.call(n.closure, gy, sink);
    settle();
    if (tape_.profile_) {
      synchronize(n.device);
      tape_.profile_->end(n.op.name, n.module, Profile::Phase::backward);
    }
    if (tape_.watch_) {
      const auto inputs = tape_.inputs(n);
      for (std::size_t k = 0; k < inputs.size(); ++k)
        check_finite(id, static_cast<int>(k), inputs[k]);
    }
  }
  s.cotangent = Tensor();
}

void Sweep::complete(SliceId id) {
  if (g_->complete(id)) {
    if (options_->grams && !g_->in_heads(id) && options_->grams->covers(id)) {
      filled_.clear();
      for (int r = 0; r < g_->tasks(); ++r) {
        if (g_->written(id, r)) filled_.push_back(r);
      }
      spend_time_on(id);
      options_->grams->add_rows(*g_, id, filled_);
      spend_time_on(-1);
    }
    if (options_->on_complete) options_->on_complete(id);
  }
  g_->release(id);
}

void Sweep::finish() {
  for (SliceId id = 0; id < g_->store().slices(); ++id) {
    if (g_->has(id) && !g_->completed(id)) complete(id);
  }
}

void Sweep::collect(int id) {
  const Tape::Node& n = tape_.nodes_[id];
  State& s = state_[id];
  const Tensor& out = (*options_->gradients)[s.wanted];
  const index_t size = n.shape.numel();
  if (s.form == Form::diagonal) {
    const index_t sample = size / std::max<index_t>(n.shape[0], 1);
    for (const std::int32_t r : lists_[s.list].rows) {
      piece(out, r * size + r * sample, sample).copy_from(piece(s.cotangent, r * sample, sample));
    }
    return;
  }
  for (const std::int32_t r : lists_[s.list].rows) piece(out, r * size, size).copy_from(row(id, r));
}

void Sweep::check_finite(int id, int k, int input) {
  if (input < 0 || state_[input].list < 0) return;
  const Tape::Node& n = tape_.nodes_[id];
  const Tape::Node& t = tape_.nodes_[input];
  index_t bad = 0, total = 0;
  const auto count = [&](const Tensor& values) {
    const Tensor found = Tensor::empty({}, DType::i64, t.device);
    kernels::on(values, [&]<class T>(const kernels::Kernels<T>& k) {
      k.count_nonfinite(values.numel(), values.data<T>(), found.data<index_t>());
    });
    bad += static_cast<index_t>(found.item());
    total += values.numel();
  };
  if (parameter(input) || state_[input].form == Form::dense) {
    for (const std::int32_t r : lists_[state_[id].list].rows) {
      const int to = into(input, r).row;
      if (written(input, to)) count(row(input, to));
    }
  } else if (state_[input].form == Form::diagonal) {
    count(state_[input].cotangent);
  }
  if (bad == 0) return;
  NumericError error(
      fmt::format("{}: the gradient of input {} has {} of {} values that are not finite", n.op.name,
                  k, bad, total),
      {{"output", fmt::format("{}{}", name(n.dtype), to_string(n.shape))},
       {"input", fmt::format("{}{}", name(t.dtype), to_string(t.shape))}});
  if (n.module) error.in_module(*n.module, {});
  throw error;
}

}  // namespace concord
