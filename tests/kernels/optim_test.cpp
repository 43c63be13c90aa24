#include "rows.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

/// Some steps of a kernel and of its twin over theta and up to three state vectors that lie one
/// after the other; the direction is made of three weighted rows, one of weight 0.
template <class T, class Kernel, class Naive>
void check_steps(StepScalars s, Kernel kernel, Naive naive) {
  for (const index_t size : {0, 1, 37, 20'011}) {
    CAPTURE(size);
    Block<T> rows = Block<T>::normal("row", size, 3);
    const double weight[] = {0.7, 0, -1.3};
    const WeightedRows<T> direction{rows.place(0), size + Block<T>::kGap, 3, weight};
    const auto run = [&](auto step) {
      return [&, step](T* memory) {
        std::fill(memory + size, memory + 4 * size, T(0));
        for (int t = 1; t <= 3; ++t) {
          StepScalars now = s;
          now.first = t == 1;
          now.bias1 = 1 - std::pow(s.beta1, t);
          now.bias2 = 1 - std::pow(s.beta2, t);
          step(size, now, direction, memory, memory + size, memory + 2 * size, memory + 3 * size);
        }
      };
    };
    check_plain<T>(4 * size, run(kernel), run(naive), 4);
  }
}

template <class T>
auto two_state(void (*f)(index_t, const StepScalars&, WeightedRows<T>, T*, T*, T*)) {
  return [f](index_t n, const StepScalars& s, WeightedRows<T> d, T* theta, T* a, T* b, T*) {
    f(n, s, d, theta, a, b);
  };
}

}  // namespace

TEST_CASE_TEMPLATE("sgd: plain, decay, momentum, dampening, Nesterov, clipping", T, float, double) {
  const auto adapt = [](auto f) {
    return [f](index_t n, const StepScalars& s, WeightedRows<T> d, T* theta, T* m, T*, T*) {
      f(n, s, d, theta, s.momentum != 0 ? m : nullptr);
    };
  };
  for (const StepScalars& s : {StepScalars{.rate = 0.1}, StepScalars{.rate = 0.1, .decay = 0.02},
                               StepScalars{.rate = 0.1, .decay = 0.02, .momentum = 0.9},
                               StepScalars{.rate = 0.1, .momentum = 0.9, .dampening = 0.3},
                               StepScalars{.rate = 0.1, .momentum = 0.9, .nesterov = true},
                               StepScalars{.rate = 0.1, .clip = 0.25, .clip_value = 0.4}}) {
    check_steps<T>(s, adapt(cpu::sgd_step<T>), adapt(cpu::sgd_step_naive<T>));
  }
}

TEST_CASE_TEMPLATE("adam and adamw", T, float, double) {
  for (const StepScalars& s :
       {StepScalars{.rate = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-4},
        StepScalars{
            .rate = 0.01, .decay = 0.1, .clip = 0.5, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-4}}) {
    check_steps<T>(s, two_state<T>(cpu::adam_step<T>), two_state<T>(cpu::adam_step_naive<T>));
    check_steps<T>(s, two_state<T>(cpu::adamw_step<T>), two_state<T>(cpu::adamw_step_naive<T>));
  }
}

TEST_CASE_TEMPLATE("rmsprop: plain, momentum, centred", T, float, double) {
  const auto adapt = [](auto f) {
    return [f](index_t n, const StepScalars& s, WeightedRows<T> d, T* theta, T* v, T* m, T* mean) {
      f(n, s, d, theta, v, s.momentum != 0 ? m : nullptr, s.centered ? mean : nullptr);
    };
  };
  for (const StepScalars& s :
       {StepScalars{.rate = 0.01, .beta2 = 0.9, .eps = 1e-3},
        StepScalars{.rate = 0.01, .decay = 0.1, .momentum = 0.9, .beta2 = 0.9, .eps = 1e-3},
        StepScalars{.rate = 0.01, .momentum = 0.5, .beta2 = 0.9, .eps = 1e-3, .centered = true}}) {
    check_steps<T>(s, adapt(cpu::rmsprop_step<T>), adapt(cpu::rmsprop_step_naive<T>));
  }
}

TEST_CASE("adamw leaves decay out of the moments, adam puts it in") {
  const StepScalars s{.rate = 0.1,
                      .decay = 0.5,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .eps = 1e-8,
                      .bias1 = 0.1,
                      .bias2 = 0.01};
  const double zero = 0;
  double theta = 2, m = 0, v = 0;
  cpu::adamw_step<double>(1, s, {&zero, 0, 1, nullptr}, &theta, &m, &v);
  CHECK(theta == doctest::Approx(1.9));
  CHECK(m == 0);
  theta = 2;
  cpu::adam_step<double>(1, s, {&zero, 0, 1, nullptr}, &theta, &m, &v);
  CHECK(m == doctest::Approx(0.1));
  CHECK(theta == doctest::Approx(1.9));  // the first step of Adam has length `rate`
}

TEST_CASE_TEMPLATE("combine: weighted rows, no rows, a row of weight 0 is not read", T, float,
                   double) {
  for (const index_t n : {0, 1, 33, 40'003}) {
    Block<T> rows = Block<T>::normal("row", n, 4);
    const double weight[] = {0.5, -1.25, 0, 3};
    if (n > 0) rows.place(2)[0] = std::numeric_limits<T>::quiet_NaN();
    const index_t stride = n + Block<T>::kGap;
    const auto run = [&](auto kernel, int count) {
      return [&, kernel, count](T* out) {
        kernel(n, WeightedRows<T>{rows.place(0), stride, count, weight}, out);
      };
    };
    check_plain<T>(n, run(cpu::combine<T>, 2), run(cpu::combine_naive<T>, 2));
    check_plain<T>(n, run(cpu::combine<T>, 0), run(cpu::combine_naive<T>, 0));
    std::vector<T> out(n);
    run(cpu::combine<T>, 4)(out.data());
    if (n > 0) {
      CHECK(out[0] == doctest::Approx(0.5 * rows.place(0)[0] - 1.25 * rows.place(1)[0] +
                                      3 * rows.place(3)[0]));
    }
  }
}

TEST_CASE_TEMPLATE("lerp moves y towards x", T, float, double) {
  const auto x = normals<T>("x", 1031);
  check_plain<T>(
      1031, [&](T* y) { cpu::lerp<T>(1031, 0.25, x.data(), y); },
      [&](T* y) {
        for (int i = 0; i < 1031; ++i) y[i] = T(0.75 * y[i] + 0.25 * x[i]);
      });
}

TEST_CASE_TEMPLATE("rows of bfloat16 are combined as their values are, many at a time", T, float,
                   double) {
  for (const index_t n : {1, 33, 5003}) {
    for (const int count : {1, 8, 9, 20}) {
      CAPTURE(n);
      CAPTURE(count);
      const std::vector<T> values = normals<T>("row", n * count);
      std::vector<double> weight = normals<double>("weight", count);
      weight[static_cast<std::size_t>(count / 2)] = 0;
      std::vector<BFloat16> rows(values.size());
      std::vector<T> rounded(values.size());
      cpu::round_rows<T>(n * count, one_row(values.data()), one_row(rows.data()));
      cpu::widen_rows<T>(n * count, one_row<const BFloat16>(rows.data()), one_row(rounded.data()));
      std::vector<T> got(static_cast<std::size_t>(n)), same(got), naive(got);
      const WeightedRows<T> narrow{
          .stride = n, .count = count, .weight = weight.data(), .bf16 = rows.data()};
      cpu::combine<T>(n, narrow, got.data());
      cpu::combine<T>(n, {rounded.data(), n, count, weight.data()}, same.data());
      cpu::combine_naive<T>(n, narrow, naive.data());
      CHECK(got == same);
      CHECK(difference(got, naive) <= tolerance<T>());
    }
  }
}
