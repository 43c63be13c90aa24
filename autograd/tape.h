// Tape: records operations in the order they happen, so that walking it backwards is the
// topological order. One sweep carries the gradients of T losses at once.
//
// Why the order matters (micrograd's issues 64, 91, 96): for b = a + a; c = b + b, a node's rule
// may run only after all its users have added to its cotangent. Users always stand later on the
// tape, so descending ids suffice: no sorting, no recursion, no reference cycles.
//
// There is no double backward: where a paper needs a Hessian-vector product, concord takes a finite
// difference of gradients and says so.
#pragma once

#include <concord/autograd/block_grams.h>
#include <concord/autograd/cotangent.h>
#include <concord/autograd/gradient_matrix.h>
#include <concord/autograd/parameters.h>
#include <concord/autograd/var.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace concord {

class Profile;

/// What an op says of itself when it is recorded.
struct Op {
  const char* name;
  /// Bit k is set when input k carries the batch in axis 0 as the output does, and sample i of the
  /// output depends on sample i of that input alone. Zero: samples mix, or the op does not say.
  std::uint32_t samples = 0;
  index_t flops = 0;  ///< multiplications and additions of the forward pass, for summaries
};

/// Where a sweep starts: this loss (or any Var, given its cotangent) belongs to row `row`.
struct Seed {
  Var var;
  int row = 0;
  double scale = 1;  ///< a scalar loss is seeded with this; a cotangent is multiplied by it
  Tensor cotangent;  ///< shape of var; may be undefined for a scalar
};

struct SweepOptions {
  /// Collect the cotangents of these Vars; gradients[i] becomes [rows, shape of wanted[i]].
  std::span<const Var> wanted;
  std::vector<Tensor>* gradients = nullptr;
  /// Do not go below the wanted Vars (first part of a sweep in two: to the features, then on).
  bool stop_at_wanted = false;
  /// At most so many rows at once; 0: all. More sweeps, less memory, the same bits.
  int max_rows = 0;
  /// Add to what the gradient matrix holds: further batches before one answer, or the second part
  /// of a sweep in two.
  bool add = false;
  /// Of the parameters, only heads get gradients; the matrix may have any number of rows, which are
  /// left as they are. Throws UsageError when a shared parameter is reached.
  bool heads_only = false;
  /// One weight per row, for a sweep whose answer is known: where the rows of several tasks meet,
  /// and in every shared parameter, they go on as one row, sum_t combine[t] row_t. The gradient
  /// matrix has one row then; each head gets its own task's gradient, unweighted, as ever. Not to
  /// be used with `wanted`.
  std::span<const double> combine;
  /// Filled with the Gram matrices of the rows' blocks on the way. Not to be used with `combine`.
  BlockGrams* grams = nullptr;
  /// Called when all rows of a parameter are complete, in the order in which that happens; not for
  /// parameters whose rows are all zero because no loss reached them. Rows are read by
  /// GradientMatrix::slice_rows().
  std::function<void(SliceId)> on_complete;
};

class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// A Var with respect to which gradients are wanted (SweepOptions::wanted).
  Var leaf(const Tensor& value);
  /// The Var of a parameter; one node per parameter, however often it is used. All parameters on a
  /// tape come from one Theta. Frozen parameters are constants.
  Var parameter(const Theta& theta, SliceId id);

  /// Losses as a list, one scalar per task: row t of `g` becomes the gradient of losses[t].
  /// (Surgery on an already summed loss cannot be written by mistake.) May be called again, with
  /// other losses.
  void backward(std::span<const Var> losses, GradientMatrix& g, const SweepOptions& options = {});
  void backward(std::initializer_list<Var> losses, GradientMatrix& g,
                const SweepOptions& options = {}) {
    backward(std::span<const Var>(losses.begin(), losses.size()), g, options);
  }
  /// Per-sample losses [n]: row i of `g` becomes the gradient of losses[i].
  void backward_per_sample(const Var& losses, GradientMatrix& g, const SweepOptions& options = {});
  /// The general form: any seeds, several in one row if wished (a weighted sum in one row),
  /// gradients into `g` (may be null) and / or to the wanted Vars.
  void backward(std::span<const Seed> seeds, int rows, GradientMatrix* g,
                const SweepOptions& options = {});

  /// Forgets all nodes and frees what they saved; memory is kept for the next recording.
  void reset();

  // --- Looking at a recording ---
  struct Node {
    Op op;
    const std::string* module = nullptr;  ///< path of the module that recorded it, or null
    Shape shape;
    DType dtype = DType::f32;
    Device device;
    SliceId parameter = -1;           ///< for a parameter's node
    int first_input = 0, inputs = 0;  ///< into the tape's list of input ids
    // The vector-Jacobian product: a closure in the tape's arena.
    void* closure = nullptr;
    void (*call)(void*, const Cotangent&, Sink&) = nullptr;
    void (*destroy)(void*) = nullptr;
  };
  std::span<const Node> nodes() const { return nodes_; }
  /// Ids of a node's inputs; -1 for constants.
  std::span<const int> inputs(const Node& n) const {
    return {inputs_.data() + n.first_input, static_cast<std::size_t>(n.inputs)};
  }
  /// The graph in Graphviz' DOT language: a box per op with its shape, clustered by module.
  std::string dot() const;

  /// Names the op and module where a NaN or infinity first appears, forward and backward, by
  /// throwing NumericError. Off by default: each value is read once more, and a device waited for.
  void watch_nonfinite(bool on) { watch_ = on; }
  /// Times every op into `profile` (null: off); on a device, until it is done.
  void profile(Profile* profile);

  /// Whether recording or sweeping waits for a device: when it watches or profiles.
  bool waits() const { return watch_ || profile_; }

  // --- For ops (record, below) and modules (ModuleScope, below) ---
  /// Throws UsageError when v's tape was reset since, or when v is not of this tape.
  void check(const Var& v, const char* op) const;
  template <class Vjp>
  Var push(const Op& op, std::span<const Var> inputs, Tensor y, Vjp&& vjp);
  const std::string* enter_module(const std::string* path) { return std::exchange(module_, path); }

 private:
  friend class Sweep;
  void* arena(std::size_t bytes, std::size_t alignment);
  int append(const Op& op, std::span<const Var> inputs, const Tensor& y);
  void sweep(std::span<const Seed> seeds, const Var* per_sample, int rows, GradientMatrix* g,
             const SweepOptions& options);

  std::vector<Node> nodes_;
  std::vector<int> inputs_;
  std::vector<int> parameter_node_;  // by slice id; -1: not on this tape yet
  const Theta* theta_ = nullptr;
  const std::string* module_ = nullptr;
  std::uint32_t generation_ = 1;
  bool watch_ = false;
  Profile* profile_ = nullptr;

  std::vector<Tensor> arena_blocks_;  // kept across resets
  std::size_t arena_block_ = 0, arena_used_ = 0;
  std::unique_ptr<Sweep> sweep_;  // its scratch is reused from step to step
  std::vector<Seed> seeds_;       // likewise
};

/// While it lives, what is recorded on `tape` (may be null) belongs to the module at `path`.
class ModuleScope {
 public:
  ModuleScope(Tape* tape, const std::string& path)
      : tape_(tape), outer_(tape ? tape->enter_module(&path) : nullptr) {}
  ~ModuleScope() {
    if (tape_) tape_->enter_module(outer_);
  }
  ModuleScope(const ModuleScope&) = delete;
  ModuleScope& operator=(const ModuleScope&) = delete;

 private:
  Tape* tape_;
  const std::string* outer_;
};

/// Ends every op: y is the value, vjp(cotangent, sink) its vector-Jacobian product. Constants in,
/// constant out. Throws UsageError when inputs are of different tapes.
///
///   Var square(const Var& x) {
///     Tensor y = ...;
///     return record({.name = "square", .samples = 1}, {x}, y, [xv = x.value()](const Cotangent&
///     gy, Sink& sink) {
///       kernels::on(xv, [&]<class T>(const kernels::Kernels<T>& k) {
///         if (auto gx = sink.slot<T>(0)) k.unary_backward(..., xv.data<T>(), ..., gy.rows<T>(),
///         gx);
///       });
///     });
///   }
///
/// Closures capture Tensors, never Vars.
template <class Vjp>
Var record(const Op& op, std::span<const Var> inputs, Tensor y, Vjp&& vjp) {
  for (const Var& v : inputs) {
    if (v.tape()) return v.tape()->push(op, inputs, std::move(y), std::forward<Vjp>(vjp));
  }
  return Var(std::move(y));
}
template <class Vjp>
Var record(const Op& op, std::initializer_list<Var> inputs, Tensor y, Vjp&& vjp) {
  return record(op, std::span<const Var>(inputs.begin(), inputs.size()), std::move(y),
                std::forward<Vjp>(vjp));
}

template <class Vjp>
Var Tape::push(const Op& op, std::span<const Var> inputs, Tensor y, Vjp&& vjp) {
  using Closure = std::decay_t<Vjp>;
  const int id = append(op, inputs, y);
  Node& n = nodes_[id];
  n.closure = new (arena(sizeof(Closure), alignof(Closure))) Closure(std::forward<Vjp>(vjp));
  n.call = [](void* c, const Cotangent& gy, Sink& sink) { (*static_cast<Closure*>(c))(gy, sink); };
  n.destroy = [](void* c) { static_cast<Closure*>(c)->~Closure(); };
  return Var(std::move(y), this, id, generation_);
}

}  // namespace concord
