// Gram: the T x T matrix of inner products of the task gradients. Nearly every multitask method is
// a function of it alone, which is why no method has to touch the P columns of the gradient matrix.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace concord {
class GradientMatrix;
}

namespace concord::multitask {

struct Block;

/// G = J J^T in double, row-major and symmetric, for T task gradients (rows of J). Storage is kept
/// when the matrix is resized, so a training loop allocates nothing after its first step.
class Gram {
 public:
  Gram() = default;
  explicit Gram(int tasks) { resize(tasks); }

  /// The Gram matrix of a row-major `tasks` x `columns` matrix. Throws ShapeError when the sizes do
  /// not fit. For gradients in a GradientMatrix there is a kernel; this is for matrices from
  /// elsewhere.
  static Gram of(std::span<const double> jacobian, int tasks, std::int64_t columns);

  void resize(int tasks);
  int tasks() const { return tasks_; }

  double operator()(int i, int j) const { return values_[at(i, j)]; }
  /// Sets both halves.
  void set(int i, int j, double value) { values_[at(i, j)] = values_[at(j, i)] = value; }
  std::span<const double> row(int i) const {
    return {&values_[at(i, 0)], static_cast<std::size_t>(tasks_)};
  }
  /// G + other: the Gram matrix of rows that are continued by other's. Throws ShapeError for
  /// another size.
  void add(const Gram& other);
  /// All T * T values, for kernels that fill both halves.
  std::span<double> values() { return values_; }
  std::span<const double> values() const { return values_; }

  double norm(int i) const { return std::sqrt((*this)(i, i)); }
  /// <g_i, g_j> / (|g_i| |g_j|), clamped to [-1, 1]; 0 when a norm is 0.
  double cosine(int i, int j) const;

  /// out = G w, i.e. out_t = <g_t, d> for d = J^T w.
  void times(std::span<const double> w, std::span<double> out) const;
  /// |J^T w|^2 = w^T G w, never below 0.
  double squared_norm(std::span<const double> w) const;

  /// Throws NumericError that names the first task with a NaN or infinite entry. `task_of_row`
  /// gives the ids of the rows' tasks; empty means row r is task r.
  void check_finite(std::string_view method, std::span<const int> task_of_row = {}) const;

 private:
  std::size_t at(int i, int j) const {
    return static_cast<std::size_t>(i) * static_cast<std::size_t>(tasks_) +
           static_cast<std::size_t>(j);
  }

  int tasks_ = 0;
  std::vector<double> values_;
};

/// Fills `gram` with the inner products of the rows of the given tasks (all rows when `tasks` is
/// empty), over the shared columns, in one blocked pass of the kernel `gram`. Waits for a device.
void gram_of(const GradientMatrix& gradients, std::span<const int> tasks, Gram& gram);
/// The same over the columns of one block (blocks.h).
void gram_of(const GradientMatrix& gradients, std::span<const int> tasks, const Block& block,
             Gram& gram);

}  // namespace concord::multitask
