// Eigenvalues and eigenvectors of small symmetric matrices.
#pragma once

#include <concord/multitask/gram.h>

#include <span>
#include <vector>

namespace concord::multitask {

/// A = V diag(lambda) V^T of a Gram matrix: A = U^T U by Cholesky's method with pivots, then
/// rotations that make the rows of U orthogonal, so that they become sqrt(lambda_k) v_k^T (Veselic
/// and Hari, "A note on a one-sided Jacobi algorithm", Numerische Mathematik 56, 1989). Every loop
/// runs along rows, small eigenvalues keep their digits, the bits do not depend on a BLAS, and
/// nothing is allocated after the first use of a size.
class SymmetricEigen {
 public:
  void decompose(const Gram& a);

  /// In no particular order.
  std::span<const double> values() const { return values_; }
  /// The unit eigenvector of values()[k]; zero where A has no such direction within rounding.
  std::span<const double> vector(int k) const;
  /// Eigenvalues up to this size are rounding: T * eps * the largest.
  double tolerance() const { return tolerance_; }

  /// x = V diag(f(lambda)) V^T x over the eigenvalues above the tolerance; the others count as
  /// zero.
  template <class F>
  void apply(F f, std::span<double> x) {
    const std::size_t n = values_.size();
    scratch_.assign(n, 0.0);
    for (std::size_t k = 0; k < n; ++k) {
      if (!(values_[k] > tolerance_)) continue;
      const auto v = vector(static_cast<int>(k));
      double dot = 0;
      for (std::size_t i = 0; i < n; ++i) dot += v[i] * x[i];
      dot *= f(values_[k]);
      for (std::size_t i = 0; i < n; ++i) scratch_[i] += dot * v[i];
    }
    for (std::size_t i = 0; i < n; ++i) x[i] = scratch_[i];
  }

 private:
  std::size_t factor(const Gram& a);

  double tolerance_ = 0;
  std::vector<double> vectors_, values_, scratch_;
};

}  // namespace concord::multitask
