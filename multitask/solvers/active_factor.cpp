#include <concord/multitask/solvers/active_factor.h>
#include <concord/multitask/solvers/dot.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

/// y -= a x
void subtract(double a, const double* x, double* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] -= a * x[i];
}

}  // namespace

void ActiveFactor::reset(const Gram& gram, double shift) {
  gram_ = &gram;
  shift_ = shift;
  capacity_ = static_cast<std::size_t>(gram.tasks());
  set_.clear();
  set_.reserve(capacity_);
  factor_.resize(capacity_ * capacity_);
  column_.resize(capacity_);
}

bool ActiveFactor::independent(double pivot, int position) const {
  const int task = set_[static_cast<std::size_t>(position)];
  return pivot > 8 * (position + 1) * std::numeric_limits<double>::epsilon() * entry(task, task);
}

/// The new column c of U solves U^T c = (entries of the task).
bool ActiveFactor::append(int task) {
  const auto k = static_cast<std::size_t>(size());
  double pivot = entry(task, task);
  for (std::size_t j = 0; j < k; ++j) column_[j] = entry(task, set_[j]);
  for (std::size_t j = 0; j < k; ++j) {
    const double* u = row(static_cast<int>(j));
    column_[j] /= u[j];
    subtract(column_[j], u + j + 1, &column_[j] + 1, k - j - 1);
    pivot -= column_[j] * column_[j];
  }
  set_.push_back(task);
  if (!independent(pivot, static_cast<int>(k))) {
    set_.pop_back();
    return false;
  }
  for (std::size_t j = 0; j < k; ++j) row(static_cast<int>(j))[k] = column_[j];
  row(static_cast<int>(k))[k] = std::sqrt(pivot);
  return true;
}

bool ActiveFactor::assign(std::span<const int> tasks) {
  set_.assign(tasks.begin(), tasks.end());
  const auto k = tasks.size();
  for (std::size_t i = 0; i < k; ++i) {
    const auto g = gram_->row(set_[i]);
    double* u = row(static_cast<int>(i));
    for (std::size_t j = i; j < k; ++j) u[j] = g[static_cast<std::size_t>(set_[j])] + shift_;
  }
  // Rows are finished four at a time and then taken from all rows below in one pass.
  constexpr std::size_t kPanel = 4;
  for (std::size_t first = 0; first < k; first += kPanel) {
    const std::size_t end = std::min(first + kPanel, k);
    for (std::size_t j = first; j < end; ++j) {
      double* u = row(static_cast<int>(j));
      for (std::size_t i = first; i < j; ++i) {
        const double* above = row(static_cast<int>(i));
        subtract(above[j], above + j, u + j, k - j);
      }
      if (!independent(u[j], static_cast<int>(j))) {
        set_.clear();
        return false;
      }
      const double inverse = 1 / std::sqrt(u[j]);
      for (std::size_t i = j; i < k; ++i) u[i] *= inverse;
    }
    for (std::size_t i = end; i < k; ++i) {
      const double *a = row(static_cast<int>(first)), *b = a + capacity_, *c = b + capacity_,
                   *d = c + capacity_;
      double* u = row(static_cast<int>(i));
      const double wa = a[i], wb = b[i], wc = c[i], wd = d[i];
      for (std::size_t j = i; j < k; ++j) u[j] -= (wa * a[j] + wb * b[j]) + (wc * c[j] + wd * d[j]);
    }
  }
  return true;
}

void ActiveFactor::remove(int position) {
  const auto k = static_cast<std::size_t>(size()), p = static_cast<std::size_t>(position);
  set_.erase(set_.begin() + position);
  // Without row and column p, the block below is U33^T U33 + c c^T with c the rest of row p: a
  // rank-one update of U33 (Golub and Van Loan, section 6.5.4), which never loses positive pivots.
  std::copy(row(position) + p + 1, row(position) + k, column_.begin() + position);
  for (std::size_t i = 0; i < p; ++i) {
    double* u = row(static_cast<int>(i));
    std::copy(u + p + 1, u + k, u + p);
  }
  for (std::size_t i = p + 1; i < k; ++i) {
    const double* from = row(static_cast<int>(i));
    std::copy(from + i, from + k, row(static_cast<int>(i - 1)) + i - 1);
  }
  for (std::size_t j = p; j + 1 < k; ++j) {
    double* u = row(static_cast<int>(j));
    const double length = std::hypot(u[j], column_[j]), c = u[j] / length, s = column_[j] / length;
    u[j] = length;
    for (std::size_t i = j + 1; i + 1 < k; ++i) {
      const double above = u[i], below = column_[i];
      u[i] = c * above + s * below;
      column_[i] = c * below - s * above;
    }
  }
}

bool ActiveFactor::contains(int task) const {
  return std::find(set_.begin(), set_.end(), task) != set_.end();
}

void ActiveFactor::solve(std::span<double> x) const {
  const auto k = static_cast<std::size_t>(size());
  for (std::size_t j = 0; j < k; ++j) {
    const double* u = row(static_cast<int>(j));
    x[j] /= u[j];
    subtract(x[j], u + j + 1, &x[j] + 1, k - j - 1);
  }
  for (std::size_t j = k; j-- > 0;) {
    const double* u = row(static_cast<int>(j));
    x[j] = (x[j] - dot(u + j + 1, &x[j] + 1, k - j - 1)) / u[j];
  }
}

}  // namespace concord::multitask
