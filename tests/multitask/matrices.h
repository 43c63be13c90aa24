// Matrices of task gradients for tests, and a few vector operations that owe nothing to multitask/.
#pragma once

#include <concord/tensor/random.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace concord::multitask {

/// T x P, row-major.
struct Matrix {
  int tasks = 0;
  std::int64_t columns = 0;
  std::vector<double> values;

  double& at(int t, std::int64_t k) { return values[static_cast<std::size_t>(t * columns + k)]; }
  double at(int t, std::int64_t k) const {
    return values[static_cast<std::size_t>(t * columns + k)];
  }
};

inline Matrix zeros(int tasks, std::int64_t columns) {
  return {tasks, columns, std::vector<double>(static_cast<std::size_t>(tasks * columns), 0.0)};
}

inline Matrix gaussian(int tasks, std::int64_t columns, Rng rng) {
  Matrix m = zeros(tasks, columns);
  for (std::size_t i = 0; i < m.values.size(); ++i) m.values[i] = rng.normal(i);
  return m;
}

/// A product of two Gaussian matrices: rank `rank`.
inline Matrix of_rank(int tasks, std::int64_t columns, int rank, Rng rng) {
  const Matrix a = gaussian(tasks, rank, rng.fork("a")), b = gaussian(rank, columns, rng.fork("b"));
  Matrix m = zeros(tasks, columns);
  for (int t = 0; t < tasks; ++t) {
    for (int r = 0; r < rank; ++r) {
      for (std::int64_t k = 0; k < columns; ++k) m.at(t, k) += a.at(t, r) * b.at(r, k);
    }
  }
  return m;
}

inline Matrix scaled(Matrix m, double factor) {
  for (double& v : m.values) v *= factor;
  return m;
}

/// <row t, d>
inline double progress(const Matrix& m, int t, const std::vector<double>& d) {
  double sum = 0;
  for (std::int64_t k = 0; k < m.columns; ++k) sum += m.at(t, k) * d[static_cast<std::size_t>(k)];
  return sum;
}

inline double length(const std::vector<double>& d) {
  double sum = 0;
  for (const double v : d) sum += v * v;
  return std::sqrt(sum);
}

inline double row_length(const Matrix& m, int t) {
  double sum = 0;
  for (std::int64_t k = 0; k < m.columns; ++k) sum += m.at(t, k) * m.at(t, k);
  return std::sqrt(sum);
}

inline double longest_row(const Matrix& m) {
  double most = 0;
  for (int t = 0; t < m.tasks; ++t) most = std::max(most, row_length(m, t));
  return most;
}

/// J^T w
inline std::vector<double> combine(const Matrix& m, const std::vector<double>& w) {
  std::vector<double> d(static_cast<std::size_t>(m.columns), 0.0);
  for (int t = 0; t < m.tasks; ++t) {
    for (std::int64_t k = 0; k < m.columns; ++k)
      d[static_cast<std::size_t>(k)] += w[static_cast<std::size_t>(t)] * m.at(t, k);
  }
  return d;
}

/// |a - b| <= tolerance * scale, element by element in the Euclidean norm.
inline double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

struct Named {
  std::string name;
  Matrix matrix;
};

/// The shapes and ranks of TorchJD's tests and the degenerate cases by name.
inline std::vector<Named> typical_matrices() {
  const Rng rng(11);
  std::vector<Named> all;
  const auto add = [&](int m, int n, int rank) {
    const std::string name =
        std::to_string(m) + "x" + std::to_string(n) + " rank " + std::to_string(rank);
    all.push_back({name, of_rank(m, n, rank, rng.fork(name))});
  };
  add(1, 1, 1);
  for (int rank : {1, 2, 3}) add(4, 3, rank);
  add(9, 11, 5);
  add(9, 11, 9);
  add(20, 10, 10);
  add(20, 101, 19);
  Matrix zero_row = gaussian(4, 7, rng.fork("zero row"));
  for (int k = 0; k < 7; ++k) zero_row.at(2, k) = 0;
  all.push_back({"a zero row", zero_row});
  Matrix twins = gaussian(5, 7, rng.fork("twins"));
  for (int k = 0; k < 7; ++k) twins.at(3, k) = twins.at(1, k);
  all.push_back({"identical rows", twins});
  Matrix opposite = gaussian(5, 7, rng.fork("opposite"));
  for (int k = 0; k < 7; ++k) opposite.at(3, k) = -2 * opposite.at(1, k);
  all.push_back({"opposite rows", opposite});
  all.push_back({"two opposite rows", {2, 2, {1, 0, -2, 0}}});
  all.push_back({"two identical rows", {2, 3, {1, 2, 3, 1, 2, 3}}});
  all.push_back({"unequal lengths", {3, 4, {1e-5, 0, 2e-5, 0, 0, 1e5, -1e5, 3e4, 1, -2, 3, 0.5}}});
  return all;
}

}  // namespace concord::multitask
