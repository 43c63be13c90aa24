#include "sides.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

// Sizes without and with a rest after the last pack of four or two.
constexpr index_t kSizes[] = {0, 1, 37, 1024, 1027};

/// Three steps with a direction of three weighted rows, one of weight 0, from rows and theta at
/// addresses that packs can be loaded from and that they cannot. step(kernels, size, scalars,
/// direction, theta, s1, s2, s3): the states lie after theta, each `room` elements long.
template <class T, class Step>
void check_steps(const StepScalars& s, Step step) {
  for (const index_t size : kSizes) {
    for (const index_t shift : {0, 1}) {
      for (const bool bf16 : {false, true}) {
        CAPTURE(size);
        CAPTURE(shift);
        CAPTURE(bf16);
        const index_t stride = size + 4 - size % 4 + shift, room = stride;
        const double weight[] = {0.7, 0, -1.3};
        const std::vector<T> values = normals<T>("row", 3 * stride + shift);
        std::vector<BFloat16> halves;
        for (const T v : values) halves.push_back(BFloat16(static_cast<float>(v)));
        const Operand<T> rows(values);
        const Operand<BFloat16> narrow(halves);
        // Without a gap before it, theta starts where the memory does, at a multiple of 256 bytes.
        std::vector<T> start = normals<T>("theta", 4 * room + shift);
        std::fill(start.begin() + room + shift, start.end(), T(0));
        std::vector<T> host = start;
        const OnDevice<T> device(start);
        for (const Side side : {Side::cpu, Side::cuda}) {
          T* theta = (side == Side::cpu ? host.data() : device.data()) + shift;
          WeightedRows<T> d{rows.on(side) + shift, stride, 3, weight};
          if (bf16) d = {nullptr, stride, 3, weight, narrow.on(side) + shift};
          for (int t = 1; t <= 3; ++t) {
            StepScalars now = s;
            now.first = t == 1;
            now.bias1 = 1 - std::pow(s.beta1, t);
            now.bias2 = 1 - std::pow(s.beta2, t);
            step(table_of<T>(side), size, now, d, theta, theta + room, theta + 2 * room,
                 theta + 3 * room);
          }
        }
        const std::vector<T> got = device.values();
        CHECK(difference(got, host) <= device_tolerance<T>());
        // What lies behind theta and the states is untouched, bit for bit.
        for (index_t i = 0; i < 4; ++i) {
          const index_t end = shift + i * room + size, next = shift + (i + 1) * room;
          for (index_t j = end; j < next && j < static_cast<index_t>(got.size()); ++j)
            CHECK(got[j] == start[j]);
        }
      }
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: sgd", T, float, double) {
  for (const StepScalars& s :
       {StepScalars{.rate = 0.1}, StepScalars{.rate = 0.1, .decay = 0.02, .momentum = 0.9},
        StepScalars{.rate = 0.1, .momentum = 0.9, .dampening = 0.3},
        StepScalars{.rate = 0.1, .momentum = 0.9, .nesterov = true},
        StepScalars{.rate = 0.1, .clip = 0.25, .clip_value = 0.4}}) {
    check_steps<T>(s, [](const Kernels<T>& k, index_t size, const StepScalars& now,
                         const WeightedRows<T>& d, T* theta, T* m, T*,
                         T*) { k.sgd_step(size, now, d, theta, now.momentum != 0 ? m : nullptr); });
  }
}

TEST_CASE_TEMPLATE("cuda: adam and adamw", T, float, double) {
  for (const StepScalars& s :
       {StepScalars{.rate = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-4},
        StepScalars{
            .rate = 0.01, .decay = 0.1, .clip = 0.5, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-4}}) {
    check_steps<T>(
        s, [](const Kernels<T>& k, index_t size, const StepScalars& now, const WeightedRows<T>& d,
              T* theta, T* m, T* v, T*) { k.adam_step(size, now, d, theta, m, v); });
    check_steps<T>(
        s, [](const Kernels<T>& k, index_t size, const StepScalars& now, const WeightedRows<T>& d,
              T* theta, T* m, T* v, T*) { k.adamw_step(size, now, d, theta, m, v); });
  }
}

TEST_CASE_TEMPLATE("cuda: rmsprop", T, float, double) {
  for (const StepScalars& s :
       {StepScalars{.rate = 0.01, .beta2 = 0.9, .eps = 1e-3},
        StepScalars{.rate = 0.01, .decay = 0.1, .momentum = 0.9, .beta2 = 0.9, .eps = 1e-3},
        StepScalars{.rate = 0.01, .momentum = 0.5, .beta2 = 0.9, .eps = 1e-3, .centered = true}}) {
    check_steps<T>(s, [](const Kernels<T>& k, index_t size, const StepScalars& now,
                         const WeightedRows<T>& d, T* theta, T* v, T* m, T* mean) {
      k.rmsprop_step(size, now, d, theta, v, now.momentum != 0 ? m : nullptr,
                     now.centered ? mean : nullptr);
    });
  }
}

TEST_CASE_TEMPLATE("cuda: combine takes up to 512 rows of any weight, reads none of weight 0", T,
                   float, double) {
  for (const index_t n : {1, 33, 256}) {
    for (const int count : {0, 1, 9, 512}) {
      CAPTURE(n);
      CAPTURE(count);
      std::vector<T> values = normals<T>("row", n * (count + 1));
      std::vector<double> weight = normals<double>("weight", count + 1);
      weight[0] = 0;
      values[0] = std::numeric_limits<T>::quiet_NaN();
      const Operand<T> rows(values);
      const auto run = [&](bool ones, int first) {
        return [&, ones, first](Side side, const Kernels<T>& k, T* out) {
          k.combine(n,
                    {rows.on(side) + first * n, n, count, ones ? nullptr : weight.data() + first},
                    out);
        };
      };
      check_sides_plain<T>(n, run(false, 0));
      check_sides_plain<T>(n, run(false, 1));
      check_sides_plain<T>(n, run(true, 1));
    }
  }
  const Operand<T> rows(std::vector<T>(513));
  const OnDevice<T> out(std::vector<T>(1));
  CHECK_THROWS_AS(
      table_of<T>(Side::cuda).combine(1, {rows.on(Side::cuda), 1, 513, nullptr}, out.data()),
      ValueError);
}

TEST_CASE_TEMPLATE("cuda: rows of bfloat16 are combined as their values are", T, float, double) {
  constexpr index_t kLength = 1031;
  const Operand<T> values(normals<T>("row", 9 * kLength));
  const std::vector<double> weight = normals<double>("weight", 9);
  const OnDevice<BFloat16> narrow(std::vector<BFloat16>(9 * kLength));
  const OnDevice<T> wide(std::vector<T>(9 * kLength));
  const OnDevice<T> same{std::vector<T>(kLength)}, got{std::vector<T>(kLength)};
  const Kernels<T>& k = table_of<T>(Side::cuda);
  k.round_rows(9 * kLength, one_row(values.on(Side::cuda)), one_row(narrow.data()));
  k.widen_rows(9 * kLength, one_row<const BFloat16>(narrow.data()), one_row(wide.data()));
  k.combine(kLength, {nullptr, kLength, 9, weight.data(), narrow.data()}, got.data());
  k.combine(kLength, {wide.data(), kLength, 9, weight.data()}, same.data());
  CHECK(got.values() == same.values());
}

TEST_CASE_TEMPLATE("cuda: lerp", T, float, double) {
  for (const index_t n : kSizes) {
    const Operand<T> x(normals<T>("x", n));
    check_sides_plain<T>(
        n, [&](Side side, const Kernels<T>& k, T* y) { k.lerp(n, 0.25, x.on(side), y); });
  }
}
