#include <concord/tests/autograd/op_cases.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace concord::testing {

std::vector<Tensor> OpCase::inputs(DType dtype) const {
  std::vector<Tensor> values;
  for (std::size_t k = 0; k < operands.size(); ++k) {
    const Rng rng = Rng(11).fork(name).fork(k);
    const Tensor t = Tensor::empty(operands[k].shape, DType::f64);
    switch (operands[k].domain) {
      case Domain::normal:
        rng.fill_normal(t);
        break;
      case Domain::positive:
        rng.fill_uniform(t, 0.5, 2);
        break;
      case Domain::grid: {
        std::vector<index_t> order(t.numel());
        rng.permutation(order);
        for (index_t i = 0; i < t.numel(); ++i) {
          t.data<double>()[i] = 0.05 * static_cast<double>(order[i] - t.numel() / 2) +
                                0.025 / static_cast<double>(k + 1);
        }
      }
    }
    values.push_back(t.to(dtype));
  }
  return values;
}

namespace {

using Index = std::array<index_t, kMaxRank>;

/// A tensor whose element at index i is f(i).
template <class F>
Tensor fill(const Shape& shape, F&& f) {
  const Tensor t = Tensor::empty(shape, DType::f64);
  for (index_t flat = 0; flat < t.numel(); ++flat) {
    Index i{};
    index_t rest = flat;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      i[axis] = rest % shape[axis];
      rest /= shape[axis];
    }
    t.data<double>()[flat] = f(i);
  }
  return t;
}

/// The element at i, where axes of extent 1 repeat and missing leading axes are ignored.
double broadcast_at(const Tensor& t, const Index& i, int rank) {
  index_t flat = 0;
  for (int axis = 0; axis < t.rank(); ++axis) {
    const index_t place = t.dim(axis) == 1 ? 0 : i[axis + rank - t.rank()];
    flat = flat * t.dim(axis) + place;
  }
  return t.data<double>()[flat];
}

double at(const Tensor& t, const Index& i) { return broadcast_at(t, i, t.rank()); }

/// Calls f for each place of a window; the sum of what it returns.
template <class F>
double sum_over(index_t n, F&& f) {
  double s = 0;
  for (index_t i = 0; i < n; ++i) s += f(i);
  return s;
}

Tensor indices(std::initializer_list<std::int64_t> values, const Shape& shape) {
  return Tensor::from<std::int64_t>(values, shape);
}

/// A constant where the operands are.
Tensor beside(const Var& v, const Tensor& t) { return t.to(v.value().device()); }

// --- Element by element ------------------------------------------------------------------------

struct Parameters {
  double p = 0, q = 0;
};

Parameters parameters_of(const std::string& op) {
  if (op == "leaky_relu") return {0.1};
  if (op == "elu") return {1.3};
  if (op == "add_scalar") return {0.7};
  if (op == "mul_scalar") return {-1.7};
  if (op == "pow_scalar") return {2.5};
  if (op == "clamp") return {-0.4, 0.6};
  return {};
}

bool needs_positive(const std::string& op) {
  return op == "sqrt" || op == "log" || op == "pow_scalar";
}

void add_unary(std::vector<OpCase>& cases, const std::string& op,
               const std::function<Var(const Var&, double, double)>& apply,
               double (*f)(double, double, double)) {
  const auto [p, q] = parameters_of(op);
  const auto add = [&, p = p, q = q](const std::string& name, const Shape& shape) {
    cases.push_back({name,
                     {{shape, needs_positive(op) ? Domain::positive : Domain::grid}},
                     shape.rank() > 0 ? 1u : 0u,
                     [=](Vars v) { return apply(v[0], p, q); },
                     [=](Tensors v) {
                       return fill(v[0].shape(),
                                   [&](const Index& i) { return f(at(v[0], i), p, q); });
                     }});
  };
  add(op, {5, 7});
  add(op + "/scalar", {});
}

void add_binary(std::vector<OpCase>& cases, const std::string& op,
                Var (*apply)(const Var&, const Var&, Loc), double (*f)(double, double)) {
  struct Variant {
    const char* name;
    Shape a, b, out;
    std::uint32_t samples;
  };
  const Variant variants[] = {{"same", {5, 3, 7}, {5, 3, 7}, {5, 3, 7}, 3},
                              {"bias", {5, 3, 7}, {7}, {5, 3, 7}, 1},
                              {"channel", {5, 3, 7}, {3, 1}, {5, 3, 7}, 1},
                              {"left", {3, 1}, {5, 3, 7}, {5, 3, 7}, 2},
                              {"column", {5, 1}, {5, 7}, {5, 7}, 3},
                              {"both", {5, 1, 7}, {1, 3, 1}, {5, 3, 7}, 1},
                              {"scalar", {}, {5, 3}, {5, 3}, 2},
                              {"scalars", {}, {}, {}, 0}};
  const Domain divisor = op == "div" ? Domain::positive : Domain::grid;
  for (const Variant& v : variants) {
    cases.push_back({op + "/" + v.name,
                     {{v.a, Domain::grid}, {v.b, divisor}},
                     v.samples,
                     [=](Vars x) { return apply(x[0], x[1], Loc::current()); },
                     [=, out = v.out](Tensors x) {
                       return fill(out, [&](const Index& i) {
                         return f(broadcast_at(x[0], i, out.rank()),
                                  broadcast_at(x[1], i, out.rank()));
                       });
                     }});
  }
}

void add_elementwise(std::vector<OpCase>& cases) {
#define CONCORD_APPLY_0(f) concord::f(x)
#define CONCORD_APPLY_1(f) concord::f(x, p)
#define CONCORD_APPLY_2(f) concord::f(x, p, q)
#define CONCORD_CASE(f, parameters, value, df)                                                  \
  add_unary(                                                                                    \
      cases, #f,                                                                                \
      []([[maybe_unused]] const Var& x, [[maybe_unused]] double p, [[maybe_unused]] double q) { \
        return CONCORD_APPLY_##parameters(f);                                                   \
      },                                                                                        \
      [](double x, [[maybe_unused]] double p, [[maybe_unused]] double q) {                      \
        using T = double;                                                                       \
        using namespace kernels;                                                                \
        return T(value);                                                                        \
      });
  CONCORD_UNARY_OPS(CONCORD_CASE)
#undef CONCORD_CASE
#undef CONCORD_APPLY_2
#undef CONCORD_APPLY_1
#undef CONCORD_APPLY_0
#define CONCORD_CASE(f, value, da, db) \
  add_binary(cases, #f, concord::f, [](double a, double b) { return double(value); });
  CONCORD_BINARY_OPS(CONCORD_CASE)
#undef CONCORD_CASE
  cases.push_back({"mul/twice",  // one Var on both sides
                   {{{5, 7}}},
                   3,
                   [](Vars v) { return v[0] * v[0]; },
                   [](Tensors v) {
                     return fill({5, 7}, [&](const Index& i) { return at(v[0], i) * at(v[0], i); });
                   }});
  cases.push_back({"dropout",
                   {{{5, 7}}},
                   1,
                   [](Vars v) { return dropout(v[0], 0.3, Rng(5)); },
                   [](Tensors v) {
                     return fill({5, 7}, [&](const Index& i) {
                       return Rng(5).uniform(7 * i[0] + i[1]) >= 0.3 ? at(v[0], i) / 0.7 : 0;
                     });
                   }});
}

// --- Matrices and convolutions -----------------------------------------------------------------

Tensor linear_naive(Tensors v) {
  const index_t features = v[1].dim(1);
  const Shape out = v[0].shape().with(-1, v[1].dim(0));
  return fill(out, [&](Index i) {
    const index_t o = i[out.rank() - 1];
    return (v.size() > 2 ? at(v[2], {o}) : 0) + sum_over(features, [&](index_t f) {
             i[out.rank() - 1] = f;
             return at(v[0], i) * at(v[1], {o, f});
           });
  });
}

Tensor conv2d_naive(Tensors v, const Conv2dOptions& o) {
  const Tensor &x = v[0], &w = v[1];
  const index_t h = x.dim(2), width = x.dim(3), r = w.dim(2), s = w.dim(3);
  const auto places = [&](int a, index_t size, index_t kernel) {
    return (size + 2 * o.padding[a] - o.dilation[a] * (kernel - 1) - 1) / o.stride[a] + 1;
  };
  const index_t per_group = w.dim(1), outputs = w.dim(0) / o.groups;
  return fill({x.dim(0), w.dim(0), places(0, h, r), places(1, width, s)}, [&](const Index& i) {
    return (v.size() > 2 ? at(v[2], {i[1]}) : 0) + sum_over(per_group, [&](index_t c) {
             return sum_over(r, [&](index_t dy) {
               return sum_over(s, [&](index_t dx) {
                 const index_t y = i[2] * o.stride[0] + dy * o.dilation[0] - o.padding[0];
                 const index_t z = i[3] * o.stride[1] + dx * o.dilation[1] - o.padding[1];
                 if (y < 0 || y >= h || z < 0 || z >= width) return 0.0;
                 return at(x, {i[0], i[1] / outputs * per_group + c, y, z}) *
                        at(w, {i[1], c, dy, dx});
               });
             });
           });
  });
}

void add_matrices(std::vector<OpCase>& cases) {
  const auto with_bias = [](Vars v) { return linear(v[0], v[1], v[2]); };
  cases.push_back({"linear", {{{5, 7}}, {{3, 7}}, {{3}}}, 1, with_bias, linear_naive});
  cases.push_back({"linear/rank3", {{{5, 2, 7}}, {{3, 7}}, {{3}}}, 1, with_bias, linear_naive});
  cases.push_back({"linear/rank1", {{{7}}, {{3, 7}}, {{3}}}, 0, with_bias, linear_naive});
  cases.push_back({"linear/no_bias",
                   {{{5, 7}}, {{3, 7}}},
                   1,
                   [](Vars v) { return linear(v[0], v[1]); },
                   linear_naive});
  cases.push_back(
      {"matmul",
       {{{5, 7}}, {{7, 3}}},
       1,
       [](Vars v) { return matmul(v[0], v[1]); },
       [](Tensors v) {
         return fill({5, 3}, [&](const Index& i) {
           return sum_over(7, [&](index_t k) { return at(v[0], {i[0], k}) * at(v[1], {k, i[1]}); });
         });
       }});

  const auto conv = [&](const char* name, const Shape& x, const Shape& w, bool bias,
                        const Conv2dOptions& o) {
    std::vector<Operand> operands{{x}, {w}};
    if (bias) operands.push_back({{w[0]}});
    cases.push_back({name, operands, 1,
                     [=](Vars v) { return conv2d(v[0], v[1], bias ? v[2] : Var(), o); },
                     [=](Tensors v) { return conv2d_naive(v, o); }});
  };
  conv("conv2d", {3, 2, 7, 6}, {5, 2, 3, 4}, true, {});
  conv("conv2d/no_bias", {3, 2, 7, 6}, {5, 2, 3, 4}, false, {});
  conv("conv2d/stride_padding", {3, 2, 7, 9}, {5, 2, 3, 3}, true, {{2, 2}, {1, 1}});
  conv("conv2d/uneven", {3, 2, 7, 9}, {5, 2, 3, 2}, true, {{1, 2}, {2, 0}, {2, 3}});
  conv("conv2d/groups", {3, 4, 5, 6}, {6, 2, 3, 2}, true, {{1, 1}, {0, 1}, {1, 1}, 2});
  conv("conv2d/depthwise", {2, 3, 5, 6}, {3, 1, 3, 3}, true, {{1, 1}, {1, 1}, {1, 1}, 3});
  conv("conv2d/pointwise", {3, 4, 5, 2}, {7, 4, 1, 1}, false, {});
  conv("conv2d/pointwise_stride", {3, 4, 5, 7}, {2, 4, 1, 1}, true, {{2, 2}});
}

// --- Pooling -----------------------------------------------------------------------------------

Tensor pool_naive(const Tensor& x, const Pool2dOptions& o, bool maximum) {
  const int rank = x.rank();
  const index_t h = x.dim(-2), w = x.dim(-1);
  const auto stride = [&](int a) { return o.stride[a] ? o.stride[a] : o.kernel[a]; };
  const Shape out = x.shape()
                        .with(-2, (h + 2 * o.padding[0] - o.kernel[0]) / stride(0) + 1)
                        .with(-1, (w + 2 * o.padding[1] - o.kernel[1]) / stride(1) + 1);
  return fill(out, [&](const Index& i) {
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    index_t inside = 0;
    for (index_t dy = 0; dy < o.kernel[0]; ++dy) {
      for (index_t dx = 0; dx < o.kernel[1]; ++dx) {
        Index j = i;
        j[rank - 2] = i[rank - 2] * stride(0) + dy - o.padding[0];
        j[rank - 1] = i[rank - 1] * stride(1) + dx - o.padding[1];
        if (j[rank - 2] < 0 || j[rank - 2] >= h || j[rank - 1] < 0 || j[rank - 1] >= w) continue;
        most = std::max(most, at(x, j));
        sum += at(x, j);
        ++inside;
      }
    }
    if (maximum) return most;
    return sum / static_cast<double>(o.count_include_pad ? o.kernel[0] * o.kernel[1] : inside);
  });
}

void add_pools(std::vector<OpCase>& cases) {
  const auto pool = [&](const char* name, const Shape& x, const Pool2dOptions& o) {
    const bool maximum = std::string(name).starts_with("max");
    cases.push_back({name,
                     {{x, maximum ? Domain::grid : Domain::normal}},
                     1,
                     [=](Vars v) { return maximum ? max_pool2d(v[0], o) : avg_pool2d(v[0], o); },
                     [=](Tensors v) { return pool_naive(v[0], o, maximum); }});
  };
  pool("max_pool2d", {3, 2, 6, 5}, {});
  pool("max_pool2d/overlap", {3, 2, 7, 5}, {{3, 2}, {2, 1}, {1, 1}});
  pool("max_pool2d/rank3", {3, 7, 5}, {{3, 3}, {2, 2}});
  pool("avg_pool2d", {3, 2, 6, 5}, {});
  pool("avg_pool2d/overlap", {3, 2, 7, 5}, {{3, 2}, {2, 1}, {1, 1}});
  pool("avg_pool2d/inside", {3, 2, 7, 5}, {{3, 2}, {2, 1}, {1, 1}, false});
  const auto adaptive = [&](const char* name, const Shape& x, index_t p, index_t q) {
    cases.push_back({name,
                     {{x}},
                     1,
                     [=](Vars v) { return adaptive_avg_pool2d(v[0], p, q); },
                     [=](Tensors v) {
                       return fill({x[0], x[1], p, q}, [&](const Index& i) {
                         const index_t top = i[2] * x[2] / p,
                                       bottom = ((i[2] + 1) * x[2] + p - 1) / p;
                         const index_t left = i[3] * x[3] / q,
                                       right = ((i[3] + 1) * x[3] + q - 1) / q;
                         return sum_over(bottom - top,
                                         [&](index_t dy) {
                                           return sum_over(right - left, [&](index_t dx) {
                                             return at(v[0], {i[0], i[1], top + dy, left + dx});
                                           });
                                         }) /
                                static_cast<double>((bottom - top) * (right - left));
                       });
                     }});
  };
  adaptive("adaptive_avg_pool2d", {3, 2, 7, 5}, 3, 4);
  adaptive("adaptive_avg_pool2d/global", {3, 2, 7, 5}, 1, 1);
}

// --- Normalisation -----------------------------------------------------------------------------

/// (x - mean) / sqrt(var + eps) over those elements whose index agrees with i where `same` says so.
Tensor normalise_naive(Tensors v, const std::function<bool(const Index&, const Index&)>& same,
                       const std::function<Index(const Index&)>& affine, double eps) {
  const Tensor& x = v[0];
  return fill(x.shape(), [&](const Index& i) {
    double sum = 0, squares = 0, count = 0;
    fill(x.shape(), [&](const Index& j) {
      if (same(i, j)) sum += at(x, j), squares += at(x, j) * at(x, j), ++count;
      return 0.0;
    });
    const double mean = sum / count, var = squares / count - mean * mean;
    const double y = (at(x, i) - mean) / std::sqrt(var + eps);
    return v.size() > 2 ? y * at(v[1], affine(i)) + at(v[2], affine(i)) : y;
  });
}

void add_norms(std::vector<OpCase>& cases) {
  const auto same_channel = [](const Index& i, const Index& j) { return i[1] == j[1]; };
  const auto channel = [](const Index& i) { return Index{i[1]}; };
  const auto train = [](Vars v) {
    return batch_norm(v[0], v.size() > 1 ? v[1] : Var(), v.size() > 2 ? v[2] : Var(),
                      beside(v[0], Tensor::zeros({v[0].dim(1)}, v[0].dtype())),
                      beside(v[0], Tensor::full({v[0].dim(1)}, 1, v[0].dtype())), true);
  };
  const auto train_naive = [=](Tensors v) {
    return normalise_naive(v, same_channel, channel, 1e-5);
  };
  cases.push_back({"batch_norm", {{{4, 3, 5, 2}}, {{3}}, {{3}}}, 0, train, train_naive});
  cases.push_back({"batch_norm/rank2", {{{7, 3}}, {{3}}, {{3}}}, 0, train, train_naive});
  cases.push_back({"batch_norm/no_affine", {{{4, 3, 2, 2}}}, 0, train, train_naive});

  const auto evaluate = [](Vars v) {
    const DType t = v[0].dtype();
    return batch_norm(v[0], v.size() > 1 ? v[1] : Var(), v.size() > 2 ? v[2] : Var(),
                      beside(v[0], Tensor::from<double>({0.3, -0.2, 0.9}, {3}).to(t)),
                      beside(v[0], Tensor::from<double>({0.7, 1.6, 2.5}, {3}).to(t)), false);
  };
  const auto evaluate_naive = [](Tensors v) {
    constexpr double mean[] = {0.3, -0.2, 0.9}, var[] = {0.7, 1.6, 2.5};
    return fill(v[0].shape(), [&](const Index& i) {
      const double y = (at(v[0], i) - mean[i[1]]) / std::sqrt(var[i[1]] + 1e-5);
      return v.size() > 2 ? y * at(v[1], {i[1]}) + at(v[2], {i[1]}) : y;
    });
  };
  cases.push_back(
      {"batch_norm/evaluation", {{{4, 3, 5, 2}}, {{3}}, {{3}}}, 1, evaluate, evaluate_naive});
  cases.push_back(
      {"batch_norm/evaluation_rank2", {{{5, 3}}, {{3}}, {{3}}}, 1, evaluate, evaluate_naive});
  cases.push_back(
      {"batch_norm/evaluation_no_affine", {{{4, 3, 2, 2}}}, 1, evaluate, evaluate_naive});

  const auto layer = [&](const char* name, const Shape& x, int axes, bool affine,
                         std::uint32_t samples) {
    const int leading = x.rank() - axes;
    const Shape normalised(std::span<const index_t>(x.begin() + leading, axes));
    std::vector<Operand> operands{{x}};
    if (affine) operands.insert(operands.end(), 2, Operand{normalised});
    cases.push_back({name, operands, samples,
                     [=](Vars v) {
                       return affine ? layer_norm(v[0], v[1], v[2])
                                     : layer_norm(v[0], {}, {}, axes, 1e-3);
                     },
                     [=](Tensors v) {
                       return normalise_naive(
                           v,
                           [=](const Index& i, const Index& j) {
                             return std::equal(i.begin(), i.begin() + leading, j.begin());
                           },
                           [=](const Index& i) {
                             Index tail{};
                             std::copy(i.begin() + leading, i.begin() + x.rank(), tail.begin());
                             return tail;
                           },
                           affine ? 1e-5 : 1e-3);
                     }});
  };
  layer("layer_norm", {5, 7}, 1, true, 1);
  layer("layer_norm/rank3", {4, 2, 5}, 1, true, 1);
  layer("layer_norm/two_axes", {4, 2, 5}, 2, true, 1);
  layer("layer_norm/all_axes", {3, 5}, 2, true, 0);
  layer("layer_norm/no_affine", {4, 2, 5}, 1, false, 1);
}

// --- Reductions --------------------------------------------------------------------------------

void add_reductions(std::vector<OpCase>& cases) {
  const auto total = [](const Tensor& x) {
    return sum_over(x.numel(), [&](index_t i) { return x.data<double>()[i]; });
  };
  cases.push_back({"sum",
                   {{{5, 3, 7}}},
                   0,
                   [](Vars v) { return sum(v[0]); },
                   [=](Tensors v) { return fill({}, [&](const Index&) { return total(v[0]); }); }});
  cases.push_back(
      {"mean",
       {{{5, 3, 7}}},
       0,
       [](Vars v) { return mean(v[0]); },
       [=](Tensors v) { return fill({}, [&](const Index&) { return total(v[0]) / 105; }); }});

  enum class Kind { sum, mean, max };
  const auto along = [&](const char* name, Kind kind, const Shape& x, int axis, bool keep,
                         std::uint32_t samples) {
    cases.push_back({name,
                     {{x, kind == Kind::max ? Domain::grid : Domain::normal}},
                     samples,
                     [=](Vars v) {
                       return kind == Kind::sum    ? sum(v[0], axis, keep)
                              : kind == Kind::mean ? mean(v[0], axis, keep)
                                                   : max(v[0], axis, keep);
                     },
                     [=](Tensors v) {
                       const int a = x.normalize(axis);
                       const Tensor kept = fill(x.with(a, 1), [&](Index i) {
                         double s = 0, most = -std::numeric_limits<double>::infinity();
                         for (i[a] = 0; i[a] < x[a]; ++i[a]) {
                           s += at(v[0], i);
                           most = std::max(most, at(v[0], i));
                         }
                         return kind == Kind::max    ? most
                                : kind == Kind::mean ? s / static_cast<double>(x[a])
                                                     : s;
                       });
                       return keep ? kept : kept.view(x.without(a));
                     }});
  };
  along("sum/axis0", Kind::sum, {5, 3, 7}, 0, false, 0);
  along("sum/axis1", Kind::sum, {5, 3, 7}, 1, false, 1);
  along("sum/last_kept", Kind::sum, {5, 3, 7}, -1, true, 1);
  along("sum/rank1", Kind::sum, {7}, 0, false, 0);
  along("mean/axis0", Kind::mean, {5, 3, 7}, 0, true, 0);
  along("mean/axis1", Kind::mean, {5, 3, 7}, 1, false, 1);
  along("max/axis0", Kind::max, {5, 3, 7}, 0, false, 0);
  along("max/axis1", Kind::max, {5, 3, 7}, 1, false, 1);
  along("max/last_kept", Kind::max, {5, 3, 7}, -1, true, 1);
}

// --- Softmax and classification ----------------------------------------------------------------

Tensor log_softmax_naive(const Tensor& x, int axis) {
  const int a = x.shape().normalize(axis);
  return fill(x.shape(), [&](Index i) {
    const double value = at(x, i);
    double sum = 0;
    for (i[a] = 0; i[a] < x.dim(a); ++i[a]) sum += std::exp(at(x, i));
    return value - std::log(sum);
  });
}

void add_softmax(std::vector<OpCase>& cases) {
  const auto pair = [&](const std::string& variant, int axis, std::uint32_t samples) {
    cases.push_back({"log_softmax" + variant,
                     {{{5, 3, 7}}},
                     samples,
                     [=](Vars v) { return log_softmax(v[0], axis); },
                     [=](Tensors v) { return log_softmax_naive(v[0], axis); }});
    cases.push_back({"softmax" + variant,
                     {{{5, 3, 7}}},
                     samples,
                     [=](Vars v) { return softmax(v[0], axis); },
                     [=](Tensors v) {
                       const Tensor log_p = log_softmax_naive(v[0], axis);
                       return fill(log_p.shape(),
                                   [&](const Index& i) { return std::exp(at(log_p, i)); });
                     }});
  };
  pair("", -1, 1);
  pair("/axis1", 1, 1);
  pair("/axis0", 0, 0);

  const auto classify = [&](const char* name, const Shape& x, const Tensor& target,
                            const CrossEntropyOptions& o) {
    cases.push_back({name,
                     {{x}},
                     o.reduction == Reduction::none ? 1u : 0u,
                     [=](Vars v) { return cross_entropy(v[0], beside(v[0], target), o); },
                     [=](Tensors v) {
                       const Tensor log_p = log_softmax_naive(v[0], 1);
                       double total = 0, count = 0;
                       const Tensor each = fill(target.shape(), [&](const Index& i) {
                         index_t flat = 0;
                         for (int axis = 0; axis < target.rank(); ++axis)
                           flat = flat * target.dim(axis) + i[axis];
                         const std::int64_t t = target.data<std::int64_t>()[flat];
                         if (t == o.ignore_index) return 0.0;
                         Index j{};
                         j[0] = i[0];
                         std::copy(i.begin() + 1, i.begin() + target.rank(), j.begin() + 2);
                         j[1] = t;
                         double loss = -(1 - o.label_smoothing) * at(log_p, j);
                         for (j[1] = 0; j[1] < x[1]; ++j[1]) {
                           loss -= o.label_smoothing / static_cast<double>(x[1]) * at(log_p, j);
                         }
                         total += loss;
                         ++count;
                         return loss;
                       });
                       if (o.reduction == Reduction::none) return each;
                       return Tensor::full(
                           {}, o.reduction == Reduction::mean ? total / count : total, DType::f64);
                     }});
  };
  const Tensor five = indices({2, 0, 6, 3, 2}, {5}), ignoring = indices({2, -100, 6, -100, 1}, {5});
  const Tensor spatial = indices({2, 0, 4, 3, 2, 9, 1, 1, 0, 9, 3, 4}, {2, 3, 2});
  classify("cross_entropy", {5, 7}, five, {});
  classify("cross_entropy/sum", {5, 7}, five, {0.1, -100, Reduction::sum});
  classify("cross_entropy/none", {5, 7}, five, {0, -100, Reduction::none});
  classify("cross_entropy/smooth_ignore", {5, 7}, ignoring, {0.2});
  classify("cross_entropy/none_ignore", {5, 7}, ignoring, {0.2, -100, Reduction::none});
  classify("cross_entropy/spatial", {2, 5, 3, 2}, spatial, {0.1, 9});
  classify("cross_entropy/spatial_none", {2, 5, 3, 2}, spatial, {0, 9, Reduction::none});
}

// --- Shape -------------------------------------------------------------------------------------

void add_shapes(std::vector<OpCase>& cases) {
  const auto same_values = [](const Shape& out) {
    return [=](Tensors v) { return v[0].view(out); };
  };
  cases.push_back({"view",
                   {{{5, 6, 7}}},
                   1,
                   [](Vars v) {
                     return view(v[0], {5, -1});
                   },
                   same_values({5, 42})});
  cases.push_back({"view/mixed",
                   {{{5, 6, 7}}},
                   0,
                   [](Vars v) {
                     return view(v[0], Shape{6, 5, 7});
                   },
                   same_values({6, 5, 7})});
  cases.push_back(
      {"view/scalar", {{{1}}}, 0, [](Vars v) { return view(v[0], Shape{}); }, same_values({})});
  cases.push_back(
      {"flatten", {{{5, 2, 3}}}, 1, [](Vars v) { return flatten(v[0]); }, same_values({5, 6})});
  cases.push_back({"flatten/all",
                   {{{5, 2, 3}}},
                   0,
                   [](Vars v) { return flatten(v[0], 0); },
                   same_values({30})});

  const auto reorder = [&](const char* name, const Shape& x, const std::array<int, 4>& axes,
                           std::uint32_t samples, const std::function<Var(Vars)>& apply) {
    std::array<index_t, 4> extent{};
    for (int i = 0; i < x.rank(); ++i) extent[i] = x[axes[i]];
    const Shape out(std::span<const index_t>(extent.data(), x.rank()));
    cases.push_back({name, {{x}}, samples, apply, [=](Tensors v) {
                       return fill(out, [&](const Index& i) {
                         Index j{};
                         for (int k = 0; k < x.rank(); ++k) j[axes[k]] = i[k];
                         return at(v[0], j);
                       });
                     }});
  };
  reorder("transpose", {5, 3}, {1, 0}, 0, [](Vars v) { return transpose(v[0], 0, 1); });
  reorder("transpose/inner", {5, 2, 3, 4}, {0, 3, 2, 1}, 1,
          [](Vars v) { return transpose(v[0], 1, -1); });
  reorder("permute", {5, 2, 3, 4}, {0, 2, 3, 1}, 1, [](Vars v) {
    return permute(v[0], {0, 2, 3, 1});
  });
  reorder("permute/all", {5, 2, 3, 4}, {3, 0, 2, 1}, 0, [](Vars v) {
    return permute(v[0], {3, 0, 2, 1});
  });

  const auto cut = [&](const char* name, int axis, index_t first, index_t last,
                       std::uint32_t samples) {
    const Shape x{5, 7, 3};
    cases.push_back({name,
                     {{x}},
                     samples,
                     [=](Vars v) { return slice(v[0], axis, first, last); },
                     [=](Tensors v) {
                       return fill(x.with(axis, last - first), [&](Index i) {
                         i[axis] += first;
                         return at(v[0], i);
                       });
                     }});
  };
  cut("slice", 1, 2, 6, 1);
  cut("slice/axis0", 0, 1, 4, 0);
  cut("slice/whole", 2, 0, 3, 1);

  const auto join = [&](const char* name, int axis, const std::vector<index_t>& lengths,
                        std::uint32_t samples) {
    const Shape head{5, 2, 3};
    std::vector<Operand> parts;
    index_t whole = 0;
    for (const index_t length : lengths)
      parts.push_back({head.with(axis, length)}), whole += length;
    cases.push_back({name, parts, samples, [=](Vars v) { return concat(v, axis); },
                     [=](Tensors v) {
                       return fill(head.with(axis, whole), [&](Index i) {
                         std::size_t part = 0;
                         while (i[axis] >= lengths[part]) i[axis] -= lengths[part++];
                         return at(v[part], i);
                       });
                     }});
  };
  join("concat", 1, {2, 4}, 3);
  join("concat/three", 2, {3, 1, 2}, 7);
  join("concat/axis0", 0, {5, 3}, 0);

  const auto surround = [&](const char* name, const std::array<index_t, 3>& before,
                            const std::array<index_t, 3>& after, double value,
                            std::uint32_t samples) {
    const Shape x{5, 2, 3};
    cases.push_back({name,
                     {{x}},
                     samples,
                     [=](Vars v) { return pad(v[0], before, after, value); },
                     [=](Tensors v) {
                       Shape out = x;
                       for (int a = 0; a < 3; ++a) out = out.with(a, before[a] + x[a] + after[a]);
                       return fill(out, [&](Index i) {
                         for (int a = 0; a < 3; ++a) {
                           i[a] -= before[a];
                           if (i[a] < 0 || i[a] >= x[a]) return value;
                         }
                         return at(v[0], i);
                       });
                     }});
  };
  surround("pad", {0, 1, 0}, {0, 2, 3}, 0, 1);
  surround("pad/axis0", {2, 0, 1}, {1, 0, 0}, 1.5, 0);

  const auto repeat = [&](const char* name, const Shape& x, const Shape& out,
                          std::uint32_t samples) {
    cases.push_back({name,
                     {{x}},
                     samples,
                     [=](Vars v) { return broadcast_to(v[0], out); },
                     [=](Tensors v) {
                       return fill(
                           out, [&](const Index& i) { return broadcast_at(v[0], i, out.rank()); });
                     }});
  };
  repeat("broadcast_to", {5, 1, 3}, {5, 7, 3}, 1);
  repeat("broadcast_to/leading", {3, 1}, {5, 3, 7}, 0);
}

// --- Indexing ----------------------------------------------------------------------------------

void add_indexing(std::vector<OpCase>& cases) {
  const auto look_up = [&](const char* name, const Tensor& index, std::uint32_t samples) {
    cases.push_back({name,
                     {{{7, 3}}},
                     samples,
                     [=](Vars v) { return embedding(v[0], beside(v[0], index)); },
                     [=](Tensors v) {
                       const Tensor y =
                           Tensor::empty(index.shape().insert(index.rank(), 3), DType::f64);
                       for (index_t i = 0; i < y.numel(); ++i) {
                         y.data<double>()[i] = at(v[0], {index.data<std::int64_t>()[i / 3], i % 3});
                       }
                       return y;
                     }});
  };
  look_up("embedding", indices({6, 0, 2, 6, 6}, {5}), 2);
  look_up("embedding/rank2", indices({6, 0, 2, 6, 6, 1, 1, 4, 0, 2}, {5, 2}), 2);
  look_up("embedding/one", indices({4}, {}), 0);

  const auto pick = [&](const char* name, int axis, const Tensor& index, std::uint32_t samples) {
    cases.push_back({name,
                     {{{5, 3}}},
                     samples,
                     [=](Vars v) { return gather(v[0], axis, beside(v[0], index)); },
                     [=](Tensors v) {
                       return fill(index.shape(), [&](Index i) {
                         i[axis] = index.data<std::int64_t>()[i[0] * index.dim(1) + i[1]];
                         return at(v[0], i);
                       });
                     }});
  };
  pick("gather", 1, indices({0, 2, 2, 1, 0, 0, 1, 1, 2, 0}, {5, 2}), 1);
  pick("gather/axis0", 0, indices({4, 0, 2, 4, 1, 2}, {2, 3}), 0);
}

}  // namespace

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> cases = [] {
    std::vector<OpCase> all;
    add_elementwise(all);
    add_matrices(all);
    add_pools(all);
    add_norms(all);
    add_reductions(all);
    add_softmax(all);
    add_shapes(all);
    add_indexing(all);
    return all;
  }();
  return cases;
}

}  // namespace concord::testing
