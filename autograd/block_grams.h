// BlockGrams: the Gram matrices of a gradient matrix, formed slice by slice while a sweep runs.
#pragma once

#include <concord/autograd/gradient_matrix.h>

#include <span>
#include <string>
#include <vector>

namespace concord {

/// What the inner products of R gradients of one parameter cost, as an op knows it that can have
/// them without the gradients (Sink::products).
struct GramCosts {
  double gradient = 0;  ///< FLOP of one gradient
  double once = 0;      ///< FLOP without the gradients that do not depend on R,
  double each = 0;      ///< those per row,
  double columns = 0;   ///< and the length of the vectors whose products are taken then
};

/// G is cut into blocks, sets of slices: a layer, a part of the network, the whole trunk. Each gets
/// the T x T inner products of its rows, in double. A slice's share is formed as soon as its rows
/// are complete, while they are in cache; shares are added in the order in which a sweep completes
/// them, which the tape alone decides.
///
/// Where rows are not kept (RowStorage::streamed) and nobody else asks for them, an op may have a
/// shorter way: a linear layer's products follow from its inputs and cotangents. The cost model
/// below picks; a parameter that is used more than once has cross terms and always goes through its
/// rows. What follows with the weights is one combined sweep (SweepOptions::combine).
class BlockGrams {
 public:
  /// block_of_slice[id] is the block of slice `id`, or -1 for none; empty: one block with every
  /// slice that has T rows. Throws ShapeError when there is not one entry per slice.
  BlockGrams(const ParameterStore& store, int tasks, std::vector<int> block_of_slice = {});

  int tasks() const { return tasks_; }
  int blocks() const { return blocks_; }
  /// [T, T], of the last sweep; rows of tasks that took no part are zero. Of a sweep on a device
  /// known after download(), a synchronize(device) and add_up(); on the CPU these do nothing.
  std::span<const double> operator[](int block) const;
  /// Queues the way of the shares to the host, in one piece.
  void download();
  void add_up();

  /// The way to a slice's share. `rows` and `products` are for tests and comparisons: always, or
  /// wherever it can be done.
  enum class Way { cheaper, rows, products };
  Way way = Way::cheaper;

  /// How the last sweep went about a slice, and the seconds that the model predicts either way.
  struct Choice {
    SliceId slice;
    bool by_products;
    double rows_seconds;
    double products_seconds;  ///< infinite where there is no such way
    /// As measured, the way it went (on a device, the queueing). An op that writes several
    /// parameters' gradients together spends its time on the last of them.
    double seconds;
  };
  std::span<const Choice> choices() const { return choices_; }
  /// The choices as a table, a line each.
  std::string describe() const;

  /// What a step costs beyond what both ways have in common, in predicted seconds: keeping G (form
  /// its rows, read them for the Gram matrix and again for the direction), or going without it (the
  /// cheaper way for each slice, then a combined sweep). Known after a sweep of either kind.
  struct Estimate {
    double with_g, without_g;
  };
  Estimate estimate() const { return estimate_; }

  // For the sweep: begin() with the FLOP of one combined sweep; then for each slice choose(), if an
  // op offers products, and add() of the R x R products found at partial(R), on the device.
  void begin(DType dtype, Device device, double sweep_flops);
  bool covers(SliceId id) const { return block_of_slice_[static_cast<std::size_t>(id)] >= 0; }
  // `alone`: this is the slice's only use; `rows_wanted`: its rows are to be formed in any case.
  bool choose(SliceId id, const GramCosts& costs, int rows, bool alone, bool rows_wanted);
  double* partial(int rows);
  void add(SliceId id, std::span<const std::int32_t> rows);
  void spend(SliceId id, double seconds) { choice(id).seconds += seconds; }
  /// The share of a slice whose rows are complete.
  void add_rows(const GradientMatrix& g, SliceId id, std::span<const std::int32_t> rows);

 private:
  /// A slice's share: the products of `rows` rows, noted in share_rows_ from first_row on.
  struct Share {
    std::size_t block, first_row, rows;
  };

  Choice& choice(SliceId id);
  void settle(Choice& c, std::size_t rows);

  const ParameterStore& store_;
  int tasks_, blocks_ = 0;
  std::vector<int> block_of_slice_;
  std::vector<double> grams_;  // [blocks, T, T]
  std::vector<Share> shares_;  // not added up yet
  std::vector<std::int32_t> share_rows_;
  Tensor partials_, downloaded_;  // f64: their R x R products, one behind the other
  index_t used_ = 0;              // of partials_
  std::vector<Choice> choices_;
  std::vector<int> choice_of_slice_;
  double flop_rate_ = 1, element_bytes_ = 4;
  Estimate estimate_{};
};

}  // namespace concord
