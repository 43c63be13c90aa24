// Optimiser steps over a slice of theta; the formulas stand in kernels/cpu/optim.cpp. A thread
// forms the direction of a few neighbouring elements in registers, from all weighted gradient rows,
// and steps them: every row, theta and the state cross the memory bus once. The loads of several
// rows are under way at once; 16 bytes each where pointers and stride are multiples of that.
#include <concord/tensor/kernels/cuda/launch.h>
#include <concord/tensor/kernels/cuda/table.h>

#include <cmath>

namespace concord::kernels::cuda {
namespace {

constexpr int kThreads = 256;
/// Weights go to the kernel by value.
constexpr int kMaxWeights = 512;
/// Elements in 16 bytes.
template <class T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

/// Neighbouring elements, loaded and stored as one.
template <class T, int kCount>
struct alignas(kCount * sizeof(T)) Pack {
  T at[kCount];
};

template <int kCount, class T>
__device__ Pack<T, kCount> load(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}
template <int kCount, class T>
__device__ void store(T* to, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

template <int kCount, class T>
bool aligned(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % (kCount * sizeof(T)) == 0;
}

/// WeightedRows without the rows of weight 0, and the clipping of the direction.
template <class T, class Row>
struct Direction {
  const Row* base;
  index_t stride;
  T clip, bound;
  std::int32_t count;
  std::int32_t row[kMaxWeights];
  T weight[kMaxWeights];

  /// clamp(clip sum_t weight_t row_t, -bound, bound) of the elements from `first` on, each sum in
  /// the order of the rows.
  template <int kCount>
  __device__ Pack<T, kCount> of(index_t first) const {
    Pack<T, kCount> d{};
#pragma unroll 4
    for (int t = 0; t < count; ++t) {
      const auto x = load<kCount>(base + row[t] * stride + first);
      for (int i = 0; i < kCount; ++i) d.at[i] += weight[t] * static_cast<T>(x.at[i]);
    }
    for (T& v : d.at) {
      v *= clip;
      v = v < -bound ? -bound : v > bound ? bound : v;
    }
    return d;
  }
};

template <class T, class Row>
Direction<T, Row> direction(const WeightedRows<T>& rows, const Row* base, const StepScalars& s) {
  Direction<T, Row> d{};
  d.base = base;
  d.stride = rows.stride;
  d.clip = static_cast<T>(s.clip);
  d.bound = s.clip_value > 0 ? static_cast<T>(s.clip_value) : std::numeric_limits<T>::infinity();
  for (int t = 0; t < rows.count; ++t) {
    const T weight = rows.weight ? static_cast<T>(rows.weight[t]) : T(1);
    if (weight == T(0)) continue;
    if (d.count == kMaxWeights) {
      throw ValueError(
          "cuda: more rows in one direction than a kernel's arguments hold",
          {{"rows", std::to_string(rows.count)},
           {"expected", "at most " + std::to_string(kMaxWeights) + " with a weight other than 0"}});
    }
    d.row[d.count] = t;
    d.weight[d.count++] = weight;
  }
  return d;
}

/// f(Direction), whatever the rows are kept as.
template <class T, class F>
void with_direction(const WeightedRows<T>& rows, const StepScalars& s, F&& f) {
  if (rows.bf16)
    f(direction(rows, rows.bf16, s));
  else
    f(direction(rows, rows.base, s));
}

/// f.at<kCount>(first) for all elements: a thread takes kWidth together, or one of those that are
/// left after the last whole pack.
template <int kWidth, class F>
__global__ void packs_kernel(index_t size, F f) {
  const index_t i = index_t{blockIdx.x} * kThreads + threadIdx.x, packs = size / kWidth;
  if (i < packs) {
    f.template at<kWidth>(i * kWidth);
  } else if (i - packs < size % kWidth) {
    f.template at<1>(packs * kWidth + i - packs);
  }
}

/// Queues f for all elements: in packs if its operands allow it.
template <class T, class F>
void launch_packs(const char* name, index_t size, const F& f) {
  constexpr int kWidth = kWide<T>;
  if (f.template allows<kWidth>()) {
    launch(name, packs_kernel<kWidth, F>, blocks_for(size / kWidth + size % kWidth, kThreads),
           kThreads, 0, size, f);
  } else {
    launch(name, packs_kernel<1, F>, blocks_for(size, kThreads), kThreads, 0, size, f);
  }
}

/// One step of a Rule: rule(d, theta, state) for each element, with up to kStates state values. A
/// null state is one that the rule does without.
template <class T, class Row, class Rule>
struct Step {
  static constexpr int kStates = Rule::kStates;
  Direction<T, Row> direction;
  Rule rule;
  T* theta;
  T* state[kStates];

  template <int kCount>
  __device__ void at(index_t first) const {
    const auto d = direction.template of<kCount>(first);
    auto p = load<kCount>(theta + first);
    Pack<T, kCount> s[kStates] = {};
    for (int k = 0; k < kStates; ++k)
      if (state[k]) s[k] = load<kCount>(state[k] + first);
    for (int i = 0; i < kCount; ++i) {
      T values[kStates];
      for (int k = 0; k < kStates; ++k) values[k] = s[k].at[i];
      rule(d.at[i], p.at[i], values);
      for (int k = 0; k < kStates; ++k) s[k].at[i] = values[k];
    }
    store(theta + first, p);
    for (int k = 0; k < kStates; ++k)
      if (state[k]) store(state[k] + first, s[k]);
  }

  template <int kCount>
  bool allows() const {
    bool all =
        aligned<kCount>(theta) && aligned<kCount>(direction.base) && direction.stride % kCount == 0;
    for (const T* s : state) all = all && aligned<kCount>(s);
    return all;
  }
};

template <class T, class Rule>
void step(const char* name, index_t size, const StepScalars& s, const WeightedRows<T>& rows,
          const Rule& rule, T* theta, T* const (&state)[Rule::kStates]) {
  with_direction(rows, s, [&]<class Row>(const Direction<T, Row>& d) {
    Step<T, Row, Rule> f{d, rule, theta, {}};
    std::copy(std::begin(state), std::end(state), f.state);
    launch_packs<T>(name, size, f);
  });
}

template <class T>
struct Sgd {
  static constexpr int kStates = 1;  // momentum
  T rate, decay, mu, fresh;
  bool first, nesterov;

  __device__ void operator()(T d, T& theta, T (&state)[kStates]) const {
    if (decay != T(0)) d += decay * theta;
    if (mu != T(0)) {
      T& m = state[0];
      m = first ? d : mu * m + fresh * d;
      d = nesterov ? d + mu * m : m;
    }
    theta -= rate * d;
  }
};

/// Adam with `coupled` decay, AdamW with `shrink`: theta *= shrink first.
template <class T>
struct Adam {
  static constexpr int kStates = 2;  // m, v
  T coupled, shrink, rate, beta2, fresh1, fresh2, root, eps;

  __device__ void operator()(T d, T& theta, T (&state)[kStates]) const {
    T &m = state[0], &v = state[1];
    if (coupled != T(0)) d += coupled * theta;
    theta *= shrink;
    m += fresh1 * (d - m);
    v = beta2 * v + fresh2 * d * d;
    theta -= rate * m / (std::sqrt(v) / root + eps);
  }
};

template <class T>
struct Rmsprop {
  static constexpr int kStates = 3;  // v, momentum, mean
  T rate, decay, alpha, fresh, mu, eps;
  bool centered;

  __device__ void operator()(T d, T& theta, T (&state)[kStates]) const {
    T &v = state[0], &b = state[1], &mean = state[2];
    if (decay != T(0)) d += decay * theta;
    v = alpha * v + fresh * d * d;
    T variance = v;
    if (centered) {
      mean += fresh * (d - mean);
      // Rounding can take the variance of a constant direction below zero.
      variance = v - mean * mean;
      variance = variance > T(0) ? variance : T(0);
    }
    d /= std::sqrt(variance) + eps;
    if (mu != T(0)) d = b = mu * b + d;
    theta -= rate * d;
  }
};

template <class T>
Adam<T> adam(const StepScalars& s, double coupled, double shrink) {
  return {static_cast<T>(coupled),
          static_cast<T>(shrink),
          static_cast<T>(s.rate / s.bias1),
          static_cast<T>(s.beta2),
          static_cast<T>(1 - s.beta1),
          static_cast<T>(1 - s.beta2),
          static_cast<T>(std::sqrt(s.bias2)),
          static_cast<T>(s.eps)};
}

template <class T>
struct Lerp {
  T weight;
  const T* x;
  T* y;

  template <int kCount>
  __device__ void at(index_t first) const {
    const auto from = load<kCount>(x + first);
    auto to = load<kCount>(y + first);
    for (int i = 0; i < kCount; ++i) to.at[i] += weight * (from.at[i] - to.at[i]);
    store(y + first, to);
  }
  template <int kCount>
  bool allows() const {
    return aligned<kCount>(x) && aligned<kCount>(y);
  }
};

template <class T, class Row>
struct Combine {
  Direction<T, Row> direction;
  T* out;

  template <int kCount>
  __device__ void at(index_t first) const {
    store(out + first, direction.template of<kCount>(first));
  }
  template <int kCount>
  bool allows() const {
    return aligned<kCount>(out) && aligned<kCount>(direction.base) &&
           direction.stride % kCount == 0;
  }
};

template <class T>
void sgd_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* momentum) {
  const Sgd<T> rule{static_cast<T>(s.rate),
                    static_cast<T>(s.decay),
                    static_cast<T>(s.momentum),
                    static_cast<T>(1 - s.dampening),
                    s.first,
                    s.nesterov};
  step("sgd_step", size, s, rows, rule, theta, {s.momentum != 0 ? momentum : nullptr});
}

template <class T>
void adam_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* m, T* v) {
  step("adam_step", size, s, rows, adam<T>(s, s.decay, 1), theta, {m, v});
}

template <class T>
void adamw_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* m, T* v) {
  step("adamw_step", size, s, rows, adam<T>(s, 0, 1 - s.rate * s.decay), theta, {m, v});
}

template <class T>
void rmsprop_step(index_t size, const StepScalars& s, WeightedRows<T> rows, T* theta, T* v,
                  T* momentum, T* mean) {
  const Rmsprop<T> rule{static_cast<T>(s.rate),
                        static_cast<T>(s.decay),
                        static_cast<T>(s.beta2),
                        static_cast<T>(1 - s.beta2),
                        static_cast<T>(s.momentum),
                        static_cast<T>(s.eps),
                        s.centered};
  step("rmsprop_step", size, s, rows, rule, theta,
       {v, s.momentum != 0 ? momentum : nullptr, s.centered ? mean : nullptr});
}

template <class T>
void lerp(index_t n, double weight, const T* x, T* y) {
  launch_packs<T>("lerp", n, Lerp<T>{static_cast<T>(weight), x, y});
}

template <class T>
void combine(index_t n, WeightedRows<T> rows, T* out) {
  with_direction(rows, StepScalars{}, [&]<class Row>(const Direction<T, Row>& d) {
    launch_packs<T>("combine", n, Combine<T, Row>{d, out});
  });
}

}  // namespace

template <class T>
void set_optim(Kernels<T>& k) {
  k.sgd_step = sgd_step<T>;
  k.adam_step = adam_step<T>;
  k.adamw_step = adamw_step<T>;
  k.rmsprop_step = rmsprop_step<T>;
  k.lerp = lerp<T>;
  k.combine = combine<T>;
}

}  // namespace concord::kernels::cuda

CONCORD_CUDA_PART(optim)
