// Elements: the gradient rows themselves, for the methods that a Gram matrix is not enough for.
#pragma once

#include <concord/multitask/aggregator.h>
#include <concord/tensor/kernels/rows.h>
#include <concord/tensor/tensor.h>

#include <omp.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace concord {
class GradientMatrix;
}

namespace concord::multitask {

/// The rows of the tasks present, in the order of StepInputs. Methods see them on the CPU (OnHost).
struct Elements {
  index_t columns = 0;
  std::variant<kernels::Rows<float>, kernels::Rows<double>> rows;
  Device device = kCpu;

  DType dtype() const { return rows.index() == 0 ? DType::f32 : DType::f64; }
};

/// The rows of the given tasks (all when `tasks` is empty) over the columns of a block. `tasks`
/// must outlive the result.
Elements elements_of(const GradientMatrix& gradients, std::span<const int> tasks,
                     const Block& block);

/// The cotangents of features, [T, ...], as rows of the given tasks, which must outlive the result.
Elements rows_of(const Tensor& cotangents, std::span<const int> tasks);
/// A tensor as a single row.
Elements elements_of(const Tensor& row);
/// Row r, flat; shares memory.
Tensor row_of(const Elements& e, std::int32_t r);

/// Rows where a method can loop over them: those of the CPU themselves; of rows on a device copies,
/// which put_back() brings to the device again. That is the price of a method without a kernel of
/// its own: T x P numbers down, and up when it rewrites them.
class OnHost {
 public:
  explicit OnHost(const Elements& rows);
  const Elements& elements() const { return host_; }
  void put_back() const;

 private:
  Elements rows_, host_;
  Tensor copies_;  // [rows, columns]
};

/// The Gram matrix of the rows, and |x|^2. Both wait for a device.
void gram_of(const Elements& rows, Gram& gram);
double squared_norm_of(const Tensor& x);

/// f(first, count, thread) for pieces of the columns, on several threads when there are many.
/// Columns must not depend on one another.
template <class F>
void for_columns(index_t columns, F f) {
  constexpr index_t kPiece = 1024;
  const index_t pieces = (columns + kPiece - 1) / kPiece;
#pragma omp parallel for schedule(static) if (pieces > 8)
  for (index_t i = 0; i < pieces; ++i) {
    f(i * kPiece, std::min(kPiece, columns - i * kPiece), omp_get_thread_num());
  }
}

/// One vector per task, as long as a row and of its type: what methods with a state of T x P keep.
class TaskVectors {
 public:
  /// The vector of a task, zeros at first. Throws ShapeError in the name of `owner` when the rows'
  /// length changes.
  const Tensor& at(int task, const Elements& like, std::string_view owner);

  /// As entries `name`.0, `name`.1, ...
  void save(State& state, const std::string& name) const;
  void load(const State& state, const std::string& name);

 private:
  std::vector<Tensor> by_task_;  // loaded ones are f64 until their first use
};

}  // namespace concord::multitask
