// ActiveFactor: the Cholesky factor of a Gram matrix restricted to a changing set of tasks. The
// heart of the active-set solvers: adding or removing a task costs O(k^2), and nothing is allocated
// after the first use.
#pragma once

#include <concord/multitask/gram.h>

#include <span>
#include <vector>

namespace concord::multitask {

/// The factor U^T U = G_SS + shift * 1 1^T for an ordered set S of tasks, U upper triangular and
/// stored by rows, so that every inner loop runs along a row. With shift 0 the set must
/// be linearly independent; with shift > 0 affine independence is enough (Wolfe, "Finding the
/// nearest point in a polytope", Mathematical Programming 11, 1976, section 4).
class ActiveFactor {
 public:
  /// Empties the set. `gram` must outlive the next calls.
  void reset(const Gram& gram, double shift);

  /// Adds a task at the end. False, and the set unchanged, when its row depends on the others
  /// within rounding.
  bool append(int task);
  /// Makes `tasks` the set, in one factorisation. False, and the set empty, when a row depends on
  /// the others within rounding.
  bool assign(std::span<const int> tasks);
  /// Takes out the task at a position of the set.
  void remove(int position);

  int size() const { return static_cast<int>(set_.size()); }
  int operator[](int position) const { return set_[static_cast<std::size_t>(position)]; }
  bool contains(int task) const;

  /// x = (G_SS + shift 1 1^T)^-1 x, in the order of the set.
  void solve(std::span<double> x) const;

 private:
  double* row(int k) { return &factor_[static_cast<std::size_t>(k) * capacity_]; }
  const double* row(int k) const { return &factor_[static_cast<std::size_t>(k) * capacity_]; }
  double entry(int a, int b) const { return (*gram_)(a, b) + shift_; }
  /// Whether a squared diagonal entry is more than rounding.
  bool independent(double pivot, int position) const;

  const Gram* gram_ = nullptr;
  double shift_ = 0;
  std::size_t capacity_ = 0;
  std::vector<int> set_;
  std::vector<double> factor_, column_;
};

}  // namespace concord::multitask
