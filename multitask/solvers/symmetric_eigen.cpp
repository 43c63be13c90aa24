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

void SymmetricEigen::decompose(const Gram& a) {
  const auto n = static_cast<std::size_t>(a.tasks());
  a_.assign(a.values().begin(), a.values().end());
  vectors_.assign(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) vectors_[i * n + i] = 1;
  values_.resize(n);

  double floor = 0;
  for (std::size_t i = 0; i < n; ++i)
    floor = std::max(floor, 1e-3 * kEps * std::abs(a_[i * n + i]));
  constexpr int kSweeps = 60;  // quadratic convergence: about 6 in practice
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool rotated = false;
    for (std::size_t p = 0; p + 1 < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) {
        const double app = a_[p * n + p], aqq = a_[q * n + q], apq = a_[p * n + q];
        // Judged against its two diagonal entries, so that small eigenvalues keep their digits; the
        // floor ends the search among eigenvalues that are rounding altogether.
        if (std::abs(apq) <= std::max(floor, 0.5 * kEps * std::sqrt(std::abs(app * aqq)))) continue;
        rotated = true;
        const double theta = (aqq - app) / (2 * apq);
        const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::hypot(theta, 1.0));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        rotate(&a_[p * n], &a_[q * n], n, c, s);
        for (std::size_t i = 0; i < n;
             ++i) {  // the columns are the rows: symmetry, but for the 2 x 2 block
          a_[i * n + p] = a_[p * n + i];
          a_[i * n + q] = a_[q * n + i];
        }
        a_[p * n + p] = app - t * apq;
        a_[q * n + q] = aqq + t * apq;
        a_[p * n + q] = a_[q * n + p] = 0;
        rotate(&vectors_[p * n], &vectors_[q * n], n, c, s);
      }
    }
    if (!rotated) break;
  }
  double largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    values_[i] = a_[i * n + i];
    largest = std::max(largest, values_[i]);
  }
  tolerance_ = static_cast<double>(n) * kEps * largest;
}

std::span<const double> SymmetricEigen::vector(int k) const {
  return std::span(vectors_).subspan(static_cast<std::size_t>(k) * values_.size(), values_.size());
}

}  // namespace concord::multitask
