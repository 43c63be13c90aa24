// Sweep: the backward pass over a tape, for all rows at once. Internal to autograd.
//
// Pass 1 walks down from the seeds and gives every node the set of rows (tasks) that reach it:
// heads get their own task, the trunk all. Pass 2 walks down again; a node's cotangent rows are
// complete when it is visited, its vector-Jacobian product hands them on, and they are freed at
// once.
//
// With weights to combine by (SweepOptions::combine), nodes that several rows reach have one row of
// their own, the combined one; what comes from above is weighted on its way there.
//
// A parameter's rows lie in the GradientMatrix, for good or until they are complete. Rows are never
// summed into zeros: the first writer of a row writes, later ones add, so that T rows have the bits
// of T separate sweeps.
#pragma once

#include <concord/autograd/tape.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

namespace concord {

class Sweep {
 public:
  explicit Sweep(Tape& tape) : tape_(tape) {}

  /// Seeds with a row in [first, last); `diagonal`: per-sample losses, whose rows are their
  /// samples.
  void run(std::span<const Seed> seeds, const Var* diagonal, int rows, int first, int last,
           GradientMatrix* g, const SweepOptions& options);
  /// After the last run: completes the slices that it did not reach (rows of an earlier run, or
  /// zeros).
  void finish();

  Sink::Place place(int node, int k);
  double* products(int node, int k, const GramCosts& costs);

 private:
  using Clock = std::chrono::steady_clock;
  enum class Form : std::uint8_t { none, dense, diagonal };

  /// A set of rows in increasing order; most nodes share one of a few.
  struct RowList {
    std::vector<std::uint64_t> mask;
    std::vector<std::int32_t> rows;
  };
  /// Place in list `to` of each row of list `from`.
  struct RowMap {
    int from = 0, to = 0;
    std::vector<std::int32_t> position;
  };
  struct State {
    Tensor cotangent;  // dense: [rows of the list, numel]; diagonal: the node's shape
    Form form = Form::none;
    int list = -1;    // -1: no row reaches this node
    int wanted = -1;  // index into SweepOptions::wanted
  };
  /// Gradients that could not be written in place: added to the target after the op's vjp.
  struct Pending {
    int target;
    int list;
    Form form;
    Tensor values;
  };

  bool parameter(int id) const {
    const SliceId slice = tape_.nodes_[id].parameter;
    return g_ && slice >= 0 && g_->has(slice);
  }
  bool shared(int id) const { return parameter(id) && !g_->in_heads(tape_.nodes_[id].parameter); }
  /// Where a row that comes from above goes in node `id`, and times what.
  struct Into {
    int row;
    double scale;
  };
  Into into(int id, int row) const {
    if (combine_.empty() || row == combined_ || lists_[state_[id].list].rows[0] != combined_)
      return {row, 1};
    return {combined_, combine_[static_cast<std::size_t>(row)]};
  }
  /// Row of the gradient matrix.
  int matrix_row(int row) const { return combine_.empty() ? row : 0; }
  void prepare(std::span<const Seed> seeds, const Var* diagonal);
  int list_of(const std::uint64_t* mask);
  const std::int32_t* map(int from, int to);
  bool written(int id, int row) const;
  void set_written(int id, int row);
  /// Row `row` of a node's or parameter's gradient, flat; shares memory.
  Tensor row(int id, int row) const;
  void add_row(int id, int row, const Tensor& values, double scale);
  /// A head is reached by its own task only, or this throws UsageError.
  void check_head(int id) const;
  void allocate(int id);
  void densify(int id);
  void settle();
  void visit(int id);
  void complete(SliceId id);
  /// With Gram matrices: time from now on is spent on this slice (-1: on none of them).
  void spend_time_on(SliceId id);
  void collect(int id);
  void check_finite(int id, int k, int input);

  Tape& tape_;
  GradientMatrix* g_ = nullptr;
  const SweepOptions* options_ = nullptr;  // of the caller, while a sweep runs
  int rows_ = 0, first_ = 0, last_ = 0, words_ = 0;
  std::span<const double> combine_;
  int combined_ = -1;  // index of the combined row, after all others
  std::vector<State> state_;
  std::vector<std::uint64_t> masks_, written_;
  std::deque<RowList> lists_;  // deques: places stay put while kernels hold them
  std::deque<RowMap> maps_;
  std::size_t lists_used_ = 0, maps_used_ = 0;
  std::deque<Pending> pending_;
  std::vector<int> uses_;             // of each parameter's node in this sweep, for its products
  std::vector<std::int32_t> filled_;  // rows of the slice being completed
  int products_of_ = -1, products_list_ = -1;  // parameter's node whose products an op was given
  SliceId timed_ = -1;                         // slice that time is being spent on
  Clock::time_point since_;
};

}  // namespace concord
