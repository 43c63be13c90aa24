#include <concord/autograd/profile.h>
#include <concord/autograd/sweep.h>
#include <concord/autograd/tape.h>
#include <concord/tensor/device.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace concord {

Tape::Tape() = default;
Tape::~Tape() { reset(); }

void Tape::reset() {
  for (auto n = nodes_.rbegin(); n != nodes_.rend(); ++n) {
    if (n->destroy) n->destroy(n->closure);
  }
  nodes_.clear();
  inputs_.clear();
  std::fill(parameter_node_.begin(), parameter_node_.end(), -1);
  theta_ = nullptr;
  arena_block_ = arena_used_ = 0;
  ++generation_;
  if (profile_) profile_->mark();
}

void* Tape::arena(std::size_t bytes, std::size_t alignment) {
  constexpr std::size_t kBlock = 64 * 1024;
  for (;; ++arena_block_, arena_used_ = 0) {
    if (arena_block_ == arena_blocks_.size()) {
      arena_blocks_.push_back(
          Tensor::empty({static_cast<index_t>(std::max(kBlock, bytes + alignment))}, DType::u8));
    }
    const Tensor& block = arena_blocks_[arena_block_];
    const std::size_t at = (arena_used_ + alignment - 1) / alignment * alignment;
    if (at + bytes > block.bytes()) continue;
    arena_used_ = at + bytes;
    return block.raw() + at;
  }
}

void Tape::check(const Var& v, const char* op) const {
  if (v.tape_ != this)
    throw UsageError(fmt::format("{}: its inputs were recorded on different tapes", op));
  if (v.generation_ != generation_) {
    throw UsageError(fmt::format("{}: an input was recorded before its tape was reset", op),
                     {{"input", describe(v.value_)}});
  }
}

int Tape::append(const Op& op, std::span<const Var> inputs, const Tensor& y) {
  const int id = static_cast<int>(nodes_.size());
  Node n{.op = op, .module = module_, .shape = y.shape(), .dtype = y.dtype(), .device = y.device()};
  n.first_input = static_cast<int>(inputs_.size());
  n.inputs = static_cast<int>(inputs.size());
  for (const Var& v : inputs) {
    if (v.tape()) check(v, op.name);
    inputs_.push_back(v.tape() ? v.id() : -1);
  }
  nodes_.push_back(n);
  if (profile_ && n.inputs > 0) {
    synchronize(n.device);
    profile_->end(op.name, module_, Profile::Phase::forward);
  }
  if (watch_) {
    const Tensor found = Tensor::empty({}, DType::i64, n.device);
    kernels::on(y, [&]<class T>(const kernels::Kernels<T>& k) {
      k.count_nonfinite(y.numel(), y.data<T>(), found.data<index_t>());
    });
    const auto bad = static_cast<index_t>(found.item());
    if (bad > 0) {
      NumericError error(fmt::format("{}: the output has {} of {} values that are not finite",
                                     op.name, bad, y.numel()),
                         {{"output", describe(y)}});
      if (module_) error.in_module(*module_, {});
      throw error;
    }
  }
  return id;
}

Var Tape::leaf(const Tensor& value) {
  return Var(value, this, append({"leaf"}, {}, value), generation_);
}

Var Tape::parameter(const Theta& theta, SliceId id) {
  const Slice& slice = theta.store().slice(id);
  Tensor value = theta[id];
  if (slice.frozen) return Var(std::move(value));
  if (theta_ && theta_ != &theta)
    throw UsageError(fmt::format(
        "parameter: '{}' comes from another Theta than the others on this tape", slice.name));
  theta_ = &theta;
  if (static_cast<int>(parameter_node_.size()) <= id)
    parameter_node_.resize(theta.store().slices(), -1);
  int& node = parameter_node_[id];
  if (node < 0) {
    node = append({"parameter"}, {}, value);
    nodes_[node].parameter = id;
  }
  return Var(std::move(value), this, node, generation_);
}

void Tape::backward(std::span<const Var> losses, GradientMatrix& g, const SweepOptions& options) {
  std::vector<Seed>& seeds = seeds_;
  seeds.clear();
  for (std::size_t t = 0; t < losses.size(); ++t)
    seeds.push_back({losses[t], static_cast<int>(t), 1, {}});
  backward(seeds, g.tasks(), &g, options);
  seeds.clear();
}

void Tape::backward_per_sample(const Var& losses, GradientMatrix& g, const SweepOptions& options) {
  check(losses, "backward");
  if (losses.rank() != 1 || losses.dim(0) != g.tasks()) {
    throw ShapeError(
        fmt::format("backward: per-sample losses need shape [{}], one per row", g.tasks()),
        {{"losses", describe(losses.value())}});
  }
  sweep({}, &losses, g.tasks(), &g, options);
}

void Tape::backward(std::span<const Seed> seeds, int rows, GradientMatrix* g,
                    const SweepOptions& options) {
  for (const Seed& s : seeds) {
    if (!s.var.recorded())
      throw UsageError("backward: a loss does not depend on anything on a tape",
                       {{"loss", describe(s.var.value())}});
    check(s.var, "backward");
    if (s.row < 0 || s.row >= rows)
      throw ValueError(fmt::format("backward: row {} of a sweep with {} rows", s.row, rows));
    if (s.cotangent.defined()) {
      check_same_kind("backward", "cotangent", s.cotangent, "var", s.var.value());
      check_shape("backward", "cotangent", s.cotangent, s.var.shape());
    } else if (s.var.value().numel() != 1) {
      throw ShapeError("backward: a loss must be a scalar, or be given a cotangent",
                       {{"loss", describe(s.var.value())}});
    }
  }
  sweep(seeds, nullptr, rows, g, options);
}

void Tape::sweep(std::span<const Seed> seeds, const Var* per_sample, int rows, GradientMatrix* g,
                 const SweepOptions& options) {
  if (g && theta_ && &g->store() != &theta_->store()) {
    throw UsageError("backward: the gradient matrix belongs to another parameter store");
  }
  const bool combine = !options.combine.empty();
  if (combine &&
      (per_sample || !options.wanted.empty() || static_cast<int>(options.combine.size()) != rows)) {
    throw UsageError(
        fmt::format("backward: `combine` takes {} weights (given: {}), scalar losses and no wanted "
                    "Vars",
                    rows, options.combine.size()));
  }
  if (g && !options.heads_only && g->tasks() != (combine ? 1 : rows)) {
    throw ValueError(fmt::format("backward: {} rows into a gradient matrix of {}",
                                 combine ? 1 : rows, g->tasks()));
  }
  if (options.grams && (!g || combine || options.grams->tasks() != rows)) {
    throw UsageError(
        fmt::format("backward: Gram matrices of {} tasks need a gradient matrix of as many rows",
                    options.grams->tasks()));
  }
  if (!options.wanted.empty()) {
    options.gradients->clear();
    for (const Var& v : options.wanted) {
      check(v, "backward");
      options.gradients->push_back(
          Tensor::zeros(v.shape().insert(0, rows), v.dtype(), v.value().device()));
    }
  }
  if (!sweep_) sweep_ = std::make_unique<Sweep>(*this);
  const int step = options.max_rows > 0 && !combine ? options.max_rows : rows;
  if (g && g->storage() != RowStorage::full && step < rows) {
    throw UsageError(fmt::format(
        "backward: {} rows in parts of {}, rows that are not kept need one part", rows, step));
  }
  if (g) g->begin_sweep(options.add);
  for (int first = 0; first < rows; first += step) {
    sweep_->run(seeds, per_sample, rows, first, std::min(rows, first + step), g, options);
  }
  if (g) sweep_->finish();
}

void Tape::profile(Profile* profile) {
  profile_ = profile;
  if (profile_) profile_->mark();
}

Sink::Place Sink::place(int k) { return sweep_.place(node_, k); }
double* Sink::products(int k, const GramCosts& costs) { return sweep_.products(node_, k, costs); }

std::string Tape::dot() const {
  std::string out =
      "digraph tape {\n  rankdir=BT; node [shape=box, fontname=\"sans-serif\", fontsize=10];\n";
  std::map<std::string, std::string> clusters;
  for (std::size_t id = 0; id < nodes_.size(); ++id) {
    const Node& n = nodes_[id];
    const std::string label =
        n.parameter >= 0 && theta_ ? theta_->store().slice(n.parameter).name : n.op.name;
    clusters[n.module ? *n.module : ""] +=
        fmt::format("    n{} [label=\"{}\\n{}\"{}];\n", id, label, to_string(n.shape),
                    n.call ? "" : ", style=filled, fillcolor=\"#eeeeee\"");
  }
  int number = 0;
  for (const auto& [module, boxes] : clusters) {
    if (module.empty())
      out += boxes;
    else
      out += fmt::format("  subgraph cluster_{} {{\n    label=\"{}\"; color=\"#bbbbbb\";\n{}  }}\n",
                         number++, module, boxes);
  }
  for (std::size_t id = 0; id < nodes_.size(); ++id) {
    for (const int input : inputs(nodes_[id])) {
      if (input >= 0) out += fmt::format("  n{} -> n{};\n", input, id);
    }
  }
  return out + "}\n";
}

}  // namespace concord
