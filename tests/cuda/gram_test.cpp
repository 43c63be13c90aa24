#include "sides.h"

#include <limits>

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

/// The Gram matrix of some rows on the device, by the member `gram` or `gram_bf16`.
template <class Row, class T>
std::vector<double> gram_of(void (*gram)(index_t, In<Row>, double*), index_t n, In<Row> rows) {
  const OnDevice<double> out(std::vector<double>(std::size_t(rows.count * rows.count), -1.0));
  gram(n, rows, out.data());
  return out.values();
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: gram of every number of rows, beyond a chunk, beyond a launch", T, float,
                   double) {
  const auto check = [](index_t n, std::int32_t count) {
    CAPTURE(n);
    CAPTURE(count);
    for (const bool mapped : {false, true}) {
      Rowed<T> rows(Block<T>::normal("row", n, count), mapped);
      check_sides_plain<double, T>(count * count, [&](Side side, const Kernels<T>& k, double* out) {
        k.gram(n, rows.on(side), out);
      });
    }
  };
  for (std::int32_t count = 1; count <= 14; ++count) check(513, count);
  check(0, 3);
  check(1, 2);
  check(1, 9);
  check(5003, 2);
  check(4099, 7);
  check(37, 70);
}

TEST_CASE_TEMPLATE("cuda: an entry of the gram does not depend on the other rows", T, float,
                   double) {
  constexpr index_t kLength = 3001;
  constexpr std::int32_t kMost = 23;
  Rowed<T> rows(Block<T>::normal("row", kLength, kMost), false);
  const Kernels<T>& k = table_of<T>(Side::cuda);
  const std::vector<double> all = gram_of<T, T>(k.gram, kLength, rows.on(Side::cuda));
  for (const std::int32_t count : {1, 2, 5, 8, 9, 13}) {
    CAPTURE(count);
    In<T> some = rows.on(Side::cuda);
    some.count = count;
    const std::vector<double> part = gram_of<T, T>(k.gram, kLength, some);
    int different = 0;
    for (int i = 0; i < count; ++i)
      for (int j = 0; j < count; ++j) different += part[i * count + j] != all[i * kMost + j];
    CHECK(different == 0);
  }
}

TEST_CASE("cuda: gram of constant float rows is summed to double accuracy") {
  constexpr index_t kLength = 30'007;
  const float a = 0.1f, b = -1.0f / 3;
  std::vector<float> values(2 * kLength, a);
  std::fill(values.begin() + kLength, values.end(), b);
  const Operand<float> rows(values);
  const auto gram = gram_of<float, float>(table_of<float>(Side::cuda).gram, kLength,
                                          {rows.on(Side::cuda), kLength, nullptr, 2});
  CHECK(gram[0] == doctest::Approx(double{a} * a * kLength).epsilon(1e-12));
  CHECK(gram[1] == doctest::Approx(double{a} * b * kLength).epsilon(1e-12));
  CHECK(gram[1] == gram[2]);
  CHECK(gram[3] == doctest::Approx(double{b} * b * kLength).epsilon(1e-12));
}

TEST_CASE("cuda: a NaN stays in the gram's entries of its row") {
  for (const int count : {3, 11}) {
    std::vector<float> values(static_cast<std::size_t>(count * 1000), 1.0f);
    values[1999] = std::nanf("");
    const Operand<float> rows(values);
    const auto gram = gram_of<float, float>(table_of<float>(Side::cuda).gram, 1000,
                                            {rows.on(Side::cuda), 1000, nullptr, count});
    for (int i = 0; i < count; ++i)
      for (int j = 0; j < count; ++j) CHECK(std::isnan(gram[count * i + j]) == (i == 1 || j == 1));
  }
}

TEST_CASE_TEMPLATE("cuda: rows of bfloat16: rounding, widening, products", T, float, double) {
  for (const index_t n : {1, 517, 2100}) {
    for (const std::int32_t count : {1, 6, 67}) {
      if (n * count > 20'000) continue;
      CAPTURE(n);
      CAPTURE(count);
      Rowed<T> values(Block<T>::normal("row", n, count), true);
      Block<T> start(n, count);
      Rowed<T> rounded(start, false);
      std::vector<BFloat16> host(static_cast<std::size_t>(n * count));
      const OnDevice<BFloat16> device(host);
      for (const Side side : {Side::cpu, Side::cuda}) {
        BFloat16* rows = side == Side::cpu ? host.data() : device.data();
        const Kernels<T>& k = table_of<T>(side);
        k.round_rows(n, values.on(side), {rows, n, nullptr, count});
        k.widen_rows(n, {rows, n, nullptr, count}, rounded.on(side));
      }
      const auto bits = [](const std::vector<BFloat16>& v) {
        std::vector<std::uint16_t> all;
        for (const BFloat16 b : v) all.push_back(b.bits);
        return all;
      };
      CHECK(bits(device.values()) == bits(host));
      CHECK(rounded.memory(Side::cuda) == rounded.memory(Side::cpu));
      const Kernels<T>& k = table_of<T>(Side::cuda);
      CHECK(gram_of<BFloat16, T>(k.gram_bf16, n, {device.data(), n, nullptr, count}) ==
            gram_of<T, T>(k.gram, n, rounded.on(Side::cuda)));
    }
  }
}

TEST_CASE("cuda: bfloat16 ties, infinities, NaN as on the CPU") {
  std::vector<float> values{1.0f,
                            1.0f + 0x1p-8f,
                            1.0f + 3 * 0x1p-8f,
                            1.0f + 0x1.01p-8f,
                            -1.0f - 0x1.ffp-9f,
                            0x1p-133f,
                            -0.0f,
                            std::numeric_limits<float>::max(),
                            -INFINITY,
                            std::nanf(""),
                            std::bit_cast<float>(0x7f800001u)};
  const auto n = static_cast<index_t>(values.size());
  const Operand<float> from(values);
  std::vector<BFloat16> host(values.size());
  const OnDevice<BFloat16> device(host);
  for (const Side side : {Side::cpu, Side::cuda}) {
    table_of<float>(side).round_rows(n, one_row(from.on(side)),
                                     one_row(side == Side::cpu ? host.data() : device.data()));
  }
  const auto got = device.values();
  for (index_t i = 0; i < n; ++i) CHECK(got[i].bits == host[i].bits);
}

TEST_CASE_TEMPLATE("cuda: linear_gram", T, float, double) {
  for (const LinearGeometry& g : {LinearGeometry{0, 3, 2}, LinearGeometry{1, 5, 7},
                                  LinearGeometry{6, 3, 17}, LinearGeometry{19, 65, 33}}) {
    for (const std::int32_t count : {1, 3, 8}) {
      CAPTURE(g.n);
      CAPTURE(count);
      const Operand<T> x(normals<T>("x", g.n * g.in));
      Rowed<T> gy(Block<T>::normal("gy", g.n * g.out, count), count == 3);
      check_sides_plain<double, T>(count * count, [&](Side side, const Kernels<T>& k, double* out) {
        k.linear_gram(g, x.on(side), gy.on(side), out);
      });
    }
  }
}
