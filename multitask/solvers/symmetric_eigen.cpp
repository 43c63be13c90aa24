#include <concord/multitask/solvers/dot.h>
#include <concord/multitask/solvers/symmetric_eigen.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

/// (x, y) <- (c x - s y, s x + c y), element by element.
void rotate(double* x, double* y, std::size_t n, double c, double s) {
  for (std::size_t i = 0; i < n; ++i) {
    const double a = x[i], b = y[i];
    x[i] = c * a - s * b;
    y[i] = s * a + c * b;
  }
}

}  // namespace

/// Rows u_k with sum_k u_k u_k^T = A, longest remaining diagonal entry first, until only rounding
/// is left; returns their number.
std::size_t SymmetricEigen::factor(const Gram& a) {
  const auto n = static_cast<std::size_t>(a.tasks());
  double largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    values_[i] = a(static_cast<int>(i), static_cast<int>(i));  // what is left of the diagonal
    largest = std::max(largest, values_[i]);
  }
  const double rounding = static_cast<double>(n) * kEps * largest;
  for (std::size_t k = 0; k < n; ++k) {
    const auto pivot = static_cast<std::size_t>(std::max_element(values_.begin(), values_.end()) -
                                                values_.begin());
    if (!(values_[pivot] > rounding)) return k;
    double* u = &vectors_[k * n];
    const auto row = a.row(static_cast<int>(pivot));
    std::copy(row.begin(), row.end(), u);
    for (std::size_t i = 0; i < k; ++i) {
      const double* above = &vectors_[i * n];
      const double weight = above[pivot];
      for (std::size_t j = 0; j < n; ++j) u[j] -= weight * above[j];
    }
    const double inverse = 1 / std::sqrt(values_[pivot]);
    for (std::size_t j = 0; j < n; ++j) {
      u[j] *= inverse;
      values_[j] -= u[j] * u[j];
    }
    values_[pivot] = 0;
  }
  return n;
}

void SymmetricEigen::decompose(const Gram& a) {
  const auto n = static_cast<std::size_t>(a.tasks());
  vectors_.assign(n * n, 0.0);
  values_.assign(n, 0.0);
  const std::size_t rank = factor(a);
  std::fill(values_.begin(), values_.end(), 0.0);

  const double orthogonal = (4 + static_cast<double>(n) / 16) * kEps;
  constexpr int kSweeps = 60;  // quadratic convergence: about 6 in practice
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (std::size_t k = 0; k < rank; ++k) values_[k] = dot(&vectors_[k * n], &vectors_[k * n], n);
    bool rotated = false;
    for (std::size_t p = 0; p + 1 < rank; ++p) {
      for (std::size_t q = p + 1; q < rank; ++q) {
        double *x = &vectors_[p * n], *y = &vectors_[q * n];
        const double product = dot(x, y, n);
        if (std::abs(product) <= orthogonal * std::sqrt(values_[p] * values_[q])) continue;
        rotated = true;
        const double theta = (values_[q] - values_[p]) / (2 * product);
        const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::hypot(theta, 1.0));
        const double c = 1 / std::sqrt(t * t + 1);
        rotate(x, y, n, c, t * c);
        values_[p] -= t * product;
        values_[q] += t * product;
      }
    }
    if (!rotated) break;
  }
  double largest = 0;
  for (std::size_t k = 0; k < rank; ++k) {
    if (!(values_[k] > 0)) continue;
    largest = std::max(largest, values_[k]);
    const double inverse = 1 / std::sqrt(values_[k]);
    for (std::size_t i = 0; i < n; ++i) vectors_[k * n + i] *= inverse;
  }
  tolerance_ = static_cast<double>(n) * kEps * largest;
}

std::span<const double> SymmetricEigen::vector(int k) const {
  return std::span(vectors_).subspan(static_cast<std::size_t>(k) * values_.size(), values_.size());
}

}  // namespace concord::multitask
