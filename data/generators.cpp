#include <concord/data/generators.h>

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace concord::data {
namespace {

void check_items(std::string_view op, index_t items, index_t classes) {
  if (items < 1 || classes < 1) {
    throw ValueError(fmt::format("{}: {} items of {} classes or tasks, expected at least 1 and 1",
                                 op, items, classes));
  }
}

Tensor alternating_labels(index_t items, index_t classes) {
  const Tensor labels = Tensor::empty({items}, DType::i64);
  for (index_t i = 0; i < items; ++i) labels.data<std::int64_t>()[i] = i % classes;
  return labels;
}

/// Rows made orthonormal in order (Gram-Schmidt, twice for full accuracy).
void orthonormalise(const Tensor& rows) {
  const index_t n = rows.dim(0), dims = rows.dim(1);
  double* r = rows.data<double>();
  const auto dot = [&](index_t a, index_t b) {
    double sum = 0;
    for (index_t k = 0; k < dims; ++k) sum += r[a * dims + k] * r[b * dims + k];
    return sum;
  };
  for (index_t i = 0; i < n; ++i) {
    for (int pass = 0; pass < 2; ++pass) {
      for (index_t j = 0; j < i; ++j) {
        const double along = dot(i, j);
        for (index_t k = 0; k < dims; ++k) r[i * dims + k] -= along * r[j * dims + k];
      }
    }
    const double length = std::sqrt(dot(i, i));
    for (index_t k = 0; k < dims; ++k) r[i * dims + k] /= length;
  }
}

}  // namespace

TensorSetPtr gaussian_blobs(index_t items, int classes, index_t dims, double distance,
                            std::uint64_t seed) {
  check_items("gaussian_blobs", items, classes);
  const Rng rng = Rng(seed).fork("blobs");
  const Tensor centres = Tensor::empty({classes, dims}), inputs = Tensor::empty({items, dims});
  rng.fork("centres").fill_normal(centres, 0, distance);
  rng.fork("points").fill_normal(inputs);
  for (index_t i = 0; i < items; ++i) {
    for (index_t k = 0; k < dims; ++k) {
      inputs.data<float>()[i * dims + k] += centres.data<float>()[i % classes * dims + k];
    }
  }
  return std::make_shared<TensorSet>(inputs, std::vector{alternating_labels(items, classes)},
                                     std::vector<Target>{{"class", classes, {}}});
}

TensorSetPtr two_moons(index_t items, double noise, std::uint64_t seed) {
  check_items("two_moons", items, 2);
  const Rng rng = Rng(seed).fork("moons"), angles = rng.fork("angles");
  const Tensor inputs = Tensor::empty({items, 2});
  rng.fork("noise").fill_normal(inputs, 0, noise);
  for (index_t i = 0; i < items; ++i) {
    const double angle = std::numbers::pi * angles.uniform(static_cast<std::uint64_t>(i));
    const bool second = i % 2 == 1;
    float* point = inputs.data<float>() + 2 * i;
    point[0] += static_cast<float>(second ? 1 - std::cos(angle) : std::cos(angle));
    point[1] += static_cast<float>(second ? 0.5 - std::sin(angle) : std::sin(angle));
  }
  return std::make_shared<TensorSet>(inputs, std::vector{alternating_labels(items, 2)},
                                     std::vector<Target>{{"class", 2, {}}});
}

LinearTasks linear_tasks(index_t items, index_t dims, int tasks, double similarity, double noise,
                         std::uint64_t seed) {
  check_items("linear_tasks", items, tasks);
  const double lowest = tasks > 1 ? -1.0 / (tasks - 1) : -1.0;
  if (dims < tasks || similarity > 1 || similarity < lowest) {
    throw ValueError(fmt::format(
        "linear_tasks: {} tasks of similarity {} in {} dimensions, expected similarity in "
        "[{:.4g}, 1] and a dimension per task",
        tasks, similarity, dims, lowest));
  }
  const Rng rng = Rng(seed).fork("linear");
  const Tensor axes = Tensor::empty({tasks, dims}, DType::f64),
               weights = Tensor::zeros({tasks, dims}, DType::f64);
  rng.fork("axes").fill_normal(axes);
  orthonormalise(axes);
  // The Gram matrix of the weights is (1-s) I + s 11'. Its symmetric square root is a I + b 11'
  // with a = sqrt(1-s), a + T b = sqrt(1 + (T-1) s).
  const double a = std::sqrt(1 - similarity);
  const double b = (std::sqrt(std::max(0.0, 1 + (tasks - 1) * similarity)) - a) / tasks;
  for (index_t t = 0; t < tasks; ++t) {
    for (index_t u = 0; u < tasks; ++u) {
      const double share = b + (t == u ? a : 0);
      for (index_t k = 0; k < dims; ++k) {
        weights.data<double>()[t * dims + k] += share * axes.data<double>()[u * dims + k];
      }
    }
  }
  const Tensor inputs = Tensor::empty({items, dims});
  rng.fork("inputs").fill_normal(inputs);
  std::vector<Tensor> values;
  std::vector<Target> targets;
  for (index_t t = 0; t < tasks; ++t) {
    targets.push_back({fmt::format("task{}", t), 0, {}});
    values.push_back(Tensor::empty({items}));
    rng.fork("noise").fork(static_cast<std::uint64_t>(t)).fill_normal(values.back(), 0, noise);
    for (index_t i = 0; i < items; ++i) {
      double sum = 0;
      for (index_t k = 0; k < dims; ++k) {
        sum += weights.data<double>()[t * dims + k] *
               static_cast<double>(inputs.data<float>()[i * dims + k]);
      }
      values.back().data<float>()[i] += static_cast<float>(sum);
    }
  }
  return {std::make_shared<TensorSet>(inputs, std::move(values), std::move(targets)), weights};
}

}  // namespace concord::data
