#include <concord/multitask/gram.h>
#include <concord/multitask/solvers/dot.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::multitask {

Gram Gram::of(std::span<const double> jacobian, int tasks, std::int64_t columns) {
  if (tasks < 1 || columns < 0 ||
      jacobian.size() != static_cast<std::size_t>(tasks) * static_cast<std::size_t>(columns)) {
    throw ShapeError(fmt::format("gram: {} values, expected {} tasks x {} columns", jacobian.size(),
                                 tasks, columns));
  }
  Gram gram(tasks);
  const auto p = static_cast<std::size_t>(columns);
  for (int i = 0; i < tasks; ++i) {
    for (int j = 0; j <= i; ++j) {
      const double* a = jacobian.data() + static_cast<std::size_t>(i) * p;
      const double* b = jacobian.data() + static_cast<std::size_t>(j) * p;
      gram.set(i, j, dot(a, b, p));
    }
  }
  return gram;
}

void Gram::resize(int tasks) {
  tasks_ = tasks;
  values_.assign(static_cast<std::size_t>(tasks) * static_cast<std::size_t>(tasks), 0.0);
}

void Gram::add(const Gram& other) {
  if (other.tasks_ != tasks_)
    throw ShapeError(fmt::format("gram: {} tasks added to {}", other.tasks_, tasks_));
  for (std::size_t i = 0; i < values_.size(); ++i) values_[i] += other.values_[i];
}

double Gram::cosine(int i, int j) const {
  const double norms = norm(i) * norm(j);
  return norms > 0 ? std::clamp((*this)(i, j) / norms, -1.0, 1.0) : 0.0;
}

void Gram::times(std::span<const double> w, std::span<double> out) const {
  for (int i = 0; i < tasks_; ++i) {
    out[static_cast<std::size_t>(i)] = dot(row(i).data(), w.data(), w.size());
  }
}

double Gram::squared_norm(std::span<const double> w) const {
  double total = 0;
  for (int i = 0; i < tasks_; ++i) {
    const double weight = w[static_cast<std::size_t>(i)];
    if (weight != 0) total += weight * dot(row(i).data(), w.data(), w.size());
  }
  return std::max(total, 0.0);
}

void Gram::check_finite(std::string_view method, std::span<const int> task_of_row) const {
  const auto id = [&](int row) {
    return task_of_row.empty() ? row : task_of_row[static_cast<std::size_t>(row)];
  };
  // A non-finite row spoils its column in all other rows, so its own diagonal entry is looked at
  // first.
  for (int i = 0; i < tasks_; ++i) {
    if (!std::isfinite((*this)(i, i))) {
      throw NumericError(
          fmt::format("{}: gradient of task {} has squared norm {}, expected a finite value",
                      method, id(i), (*this)(i, i)));
    }
  }
  for (int i = 0; i < tasks_; ++i) {
    for (int j = 0; j < i; ++j) {
      if (!std::isfinite((*this)(i, j))) {
        throw NumericError(fmt::format(
            "{}: inner product of the gradients of tasks {} and {} is {}, expected a finite value",
            method, id(j), id(i), (*this)(i, j)));
      }
    }
  }
}

}  // namespace concord::multitask
