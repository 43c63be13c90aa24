// Made-up data for examples and tests: small, exact, seeded.
#pragma once

#include <concord/data/dataset.h>

namespace concord::data {

using TensorSetPtr = std::shared_ptr<const TensorSet>;

/// Item i belongs to class i mod classes: a point of [dims] about that class's centre, with
/// deviation 1 per axis; centres are normal with deviation `distance`. Task "class".
TensorSetPtr gaussian_blobs(index_t items, int classes, index_t dims, double distance,
                            std::uint64_t seed);

/// Two interleaved half circles of radius 1, centres (0, 0) and (1, 1/2), classes alternating, with
/// normal noise. Task "class".
TensorSetPtr two_moons(index_t items, double noise, std::uint64_t seed);

/// Linear regression tasks y_t = <w_t, x> + noise, x standard normal, whose weight vectors have
/// unit length and pairwise cosine `similarity`: from conflict, above -1/(T-1), over 0 to
/// agreement, 1.
struct LinearTasks {
  TensorSetPtr set;  ///< inputs f32 [N,dims]; tasks "task0", ... with one value each
  Tensor weights;    ///< f64 [T,dims]
};
/// Throws ValueError for fewer dims than tasks or a similarity that T vectors cannot have.
LinearTasks linear_tasks(index_t items, index_t dims, int tasks, double similarity, double noise,
                         std::uint64_t seed);

}  // namespace concord::data
