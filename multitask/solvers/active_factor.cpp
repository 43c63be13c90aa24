#include <concord/multitask/solvers/active_factor.h>
#include <concord/multitask/solvers/dot.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

void ActiveFactor::reset(const Gram& gram, double shift) {
  gram_ = &gram;
  shift_ = shift;
  capacity_ = static_cast<std::size_t>(gram.tasks());
  set_.clear();
  set_.reserve(capacity_);
  factor_.resize(capacity_ * capacity_);
  update_.resize(capacity_);
}

double ActiveFactor::factor_row(int k) {
  double* l = row(k);
  const int task = set_[static_cast<std::size_t>(k)];
  double pivot = (*gram_)(task, task) + shift_;
  for (int j = 0; j < k; ++j) {
    const double* other = row(j);
    const double entry = (*gram_)(task, set_[static_cast<std::size_t>(j)]) + shift_;
    l[j] = (entry - dot(l, other, static_cast<std::size_t>(j))) / other[j];
    pivot -= l[j] * l[j];
  }
  return pivot;
}

bool ActiveFactor::append(int task) {
  const int k = size();
  set_.push_back(task);
  const double pivot = factor_row(k);
  const double whole = (*gram_)(task, task) + shift_;
  if (!(pivot > 8 * (k + 1) * std::numeric_limits<double>::epsilon() * whole)) {
    set_.pop_back();
    return false;
  }
  row(k)[k] = std::sqrt(pivot);
  return true;
}

void ActiveFactor::remove(int position) {
  const int k = size();
  set_.erase(set_.begin() + position);
  // Without row and column p, the block below is L33 L33^T + l l^T with l the rest of column p: a
  // rank-one update of L33 (Golub and Van Loan, section 6.5.4), which never loses positive pivots.
  for (int i = position + 1; i < k; ++i) {
    update_[static_cast<std::size_t>(i - 1)] = row(i)[position];
    std::copy(row(i), row(i) + position, row(i - 1));
    std::copy(row(i) + position + 1, row(i) + i + 1, row(i - 1) + position);
  }
  for (int j = position; j < k - 1; ++j) {
    double& diagonal = row(j)[j];
    const double v = update_[static_cast<std::size_t>(j)];
    const double length = std::hypot(diagonal, v), c = length / diagonal, s = v / diagonal;
    diagonal = length;
    for (int i = j + 1; i < k - 1; ++i) {
      double& entry = row(i)[j];
      double& below = update_[static_cast<std::size_t>(i)];
      entry = (entry + s * below) / c;
      below = c * below - s * entry;
    }
  }
}

bool ActiveFactor::contains(int task) const {
  return std::find(set_.begin(), set_.end(), task) != set_.end();
}

void ActiveFactor::solve(std::span<double> x) const {
  for (int k = 0; k < size(); ++k) {
    const double* l = row(k);
    double& value = x[static_cast<std::size_t>(k)];
    value = (value - dot(l, x.data(), static_cast<std::size_t>(k))) / l[k];
  }
  for (int k = size() - 1; k >= 0; --k) {
    double& value = x[static_cast<std::size_t>(k)];
    value /= row(k)[k];
    for (int j = 0; j < k; ++j) x[static_cast<std::size_t>(j)] -= row(k)[j] * value;
  }
}

}  // namespace concord::multitask
