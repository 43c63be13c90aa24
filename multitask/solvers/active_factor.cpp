#include <concord/multitask/solvers/active_factor.h>

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
}

double ActiveFactor::factor_row(int k) {
  double* l = row(k);
  const int task = set_[static_cast<std::size_t>(k)];
  double pivot = (*gram_)(task, task) + shift_;
  for (int j = 0; j < k; ++j) {
    const double* other = row(j);
    double sum = (*gram_)(task, set_[static_cast<std::size_t>(j)]) + shift_;
    for (int m = 0; m < j; ++m) sum -= l[m] * other[m];
    l[j] = sum / other[j];
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
  set_.erase(set_.begin() + position);
  for (int k = position; k < size(); ++k) {
    // Fewer rows above can only enlarge a pivot; the floor stands for what rounding takes away.
    const int task = set_[static_cast<std::size_t>(k)];
    const double floor = std::numeric_limits<double>::epsilon() * ((*gram_)(task, task) + shift_);
    row(k)[k] = std::sqrt(std::max(factor_row(k), floor));
  }
}

bool ActiveFactor::contains(int task) const {
  return std::find(set_.begin(), set_.end(), task) != set_.end();
}

void ActiveFactor::solve(std::span<double> x) const {
  for (int k = 0; k < size(); ++k) {
    const double* l = row(k);
    double sum = x[static_cast<std::size_t>(k)];
    for (int j = 0; j < k; ++j) sum -= l[j] * x[static_cast<std::size_t>(j)];
    x[static_cast<std::size_t>(k)] = sum / l[k];
  }
  for (int k = size() - 1; k >= 0; --k) {
    double& value = x[static_cast<std::size_t>(k)];
    value /= row(k)[k];
    for (int j = 0; j < k; ++j) x[static_cast<std::size_t>(j)] -= row(k)[j] * value;
  }
}

}  // namespace concord::multitask
