#include <bit>
#include <limits>
#include <string>

#include "rows.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

constexpr const char* kUnaryNames[] = {
#define CONCORD_NAME(name, parameters, f, df) #name,
    CONCORD_UNARY_OPS(CONCORD_NAME)
#undef CONCORD_NAME
};

template <class T>
Tensor tensor_of(const std::vector<T>& v, const Shape& shape) {
  return Tensor::from(std::span<const T>(v), shape);
}

}  // namespace

TEST_CASE_TEMPLATE("unary: values of libm, gradients of rows, every op", T, float, double) {
  for (int o = 0; o < static_cast<int>(UnaryOp::count_); ++o) {
    const UnaryOp op{o};
    CAPTURE(std::string(kUnaryNames[o]));
    for (const index_t n : {0, 1, 37, 40'003}) {
      CAPTURE(n);
      auto x = normals<T>("x", n);
      const bool positive = op == UnaryOp::sqrt || op == UnaryOp::log || op == UnaryOp::pow_scalar;
      for (T& v : x) v = positive ? std::abs(v) + T(0.1) : v;
      const Scalars s{op == UnaryOp::pow_scalar ? 1.7 : op == UnaryOp::clamp ? -0.5 : 0.3, 0.75};
      std::vector<T> y(n), whole(n);
      with_threads(1, [&] { cpu::unary_forward<T>(op, s, n, x.data(), whole.data()); });
      with_threads(2, [&] { cpu::unary_forward<T>(op, s, n, x.data(), y.data()); });
      CHECK(y == whole);
      const auto run = [&](auto kernel) {
        return [&, kernel](In<T> gy, Out<T> gx) { kernel(op, s, n, x.data(), y.data(), gy, gx); };
      };
      check_rows<T>(n, n, run(cpu::unary_backward<T>), run(cpu::unary_backward_naive<T>));
    }
  }
}

TEST_CASE_TEMPLATE("unary: some values by hand", T, float, double) {
  const auto value = [](UnaryOp op, double x, Scalars s = {}) {
    const T in = static_cast<T>(x);
    T out = 0;
    cpu::unary_forward<T>(op, s, 1, &in, &out);
    return double{out};
  };
  CHECK(value(UnaryOp::relu, -2) == 0);
  CHECK(value(UnaryOp::relu, 3) == 3);
  CHECK(value(UnaryOp::leaky_relu, -2, {0.25, 0}) == -0.5);
  CHECK(value(UnaryOp::clamp, 5, {-1, 2}) == 2);
  CHECK(value(UnaryOp::pow_scalar, 3, {2, 0}) == doctest::Approx(9));
  CHECK(value(UnaryOp::sigmoid, 0) == 0.5);
  CHECK(value(UnaryOp::sigmoid, -800) == 0);
  CHECK(value(UnaryOp::softplus, 800) == 800);
  CHECK(value(UnaryOp::tanh, 0.5) == doctest::Approx(std::tanh(0.5)));
  CHECK(value(UnaryOp::exp, 1) == doctest::Approx(std::exp(1.0)));
  CHECK(value(UnaryOp::gelu, 1) == doctest::Approx(0.8413447460685429));
}

TEST_CASE("unary: exp, tanh and sigmoid of floats are near libm's in double, wherever they stand") {
  struct Case {
    UnaryOp op;
    double (*exact)(double);
    double ulps;
    float at_minus_infinity, at_minus_zero, at_infinity;
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Case cases[] = {
      {UnaryOp::exp, [](double x) { return std::exp(x); }, 2, 0, 1, kInfinity},
      {UnaryOp::tanh, [](double x) { return std::tanh(x); }, 2, -1, -0.0f, 1},
      {UnaryOp::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 3, 0, 0.5f, 1}};
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits < 0x7F800000u; bits += 9973)  // all exponents, both signs
    for (const float sign : {1.0f, -1.0f}) x.push_back(sign * std::bit_cast<float>(bits));
  const auto n = static_cast<index_t>(x.size());
  const auto bits_equal = [](float a, float b) {
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
  };
  for (const Case& c : cases) {
    CAPTURE(std::string(kUnaryNames[static_cast<int>(c.op)]));
    std::vector<float> y(x.size());
    cpu::unary_forward<float>(c.op, {}, n, x.data(), y.data());
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = c.exact(x[i]), e = std::abs(exact);
      if (e > std::numeric_limits<float>::max()) {
        CHECK(y[i] == kInfinity);
      } else {
        const double ulp = std::ldexp(1.0, e > 0 ? std::max(std::ilogb(e), -126) - 23 : -149);
        worst = std::max(worst, std::abs(y[i] - exact) / ulp);
      }
    }
    CHECK(worst <= c.ulps);
    // In a register of the vectorised loop, in its remainder, alone: the same bits.
    for (const index_t shift : {1, 3, 7, 31}) {
      std::vector<float> shifted(x.size());
      cpu::unary_forward<float>(c.op, {}, n - shift, x.data() + shift, shifted.data());
      CHECK(std::equal(shifted.begin(), shifted.end() - shift, y.begin() + shift, bits_equal));
    }
    const auto value = [&](float at) {
      float out = 0;
      cpu::unary_forward<float>(c.op, {}, 1, &at, &out);
      return out;
    };
    for (std::size_t i = 0; i < x.size(); i += 97) CHECK(bits_equal(value(x[i]), y[i]));
    CHECK(value(-kInfinity) == c.at_minus_infinity);
    CHECK(bits_equal(value(-0.0f), c.at_minus_zero));
    CHECK(value(kInfinity) == c.at_infinity);
    CHECK(std::isnan(value(std::numeric_limits<float>::quiet_NaN())));
  }
}

TEST_CASE_TEMPLATE("binary: every op under broadcasting", T, float, double) {
  const std::pair<Shape, Shape> shapes[] = {{{3, 5, 7}, {3, 5, 7}},
                                            {{3, 5, 7}, {5, 1}},
                                            {{11, 5}, {5}},
                                            {{}, {3, 7}},
                                            {{3, 7}, {1, 1}},
                                            {{4, 1}, {1, 5}},
                                            {{2, 1, 3, 1}, {5, 1, 7}},
                                            {{3, 2063}, {2063}},
                                            {{5, 2063}, {5, 1}},
                                            {{1}, {1}},
                                            {{3, 1, 2, 1031}, {7, 1, 1}},
                                            {{0, 3}, {3}},
                                            {{40'003}, {40'003}}};
  for (const auto& [sa, sb] : shapes) {
    CAPTURE(to_string(sa));
    CAPTURE(to_string(sb));
    auto a = normals<T>("a", sa.numel()), b = normals<T>("b", sb.numel());
    for (T& v : a) v = std::round(v * 4) / 4;  // ties for minimum and maximum
    for (T& v : b) v = std::round(v * 4) / 4 + (v > 0 ? T(0.25) : T(-0.25));
    const BroadcastGeometry g = BroadcastGeometry::make("op", tensor_of(a, sa), tensor_of(b, sb));
    const index_t n = g.out.numel();
    for (int o = 0; o < static_cast<int>(BinaryOp::count_); ++o) {
      const BinaryOp op{o};
      CAPTURE(o);
      const auto forward = [&](auto kernel) {
        return [&, kernel](T* y) { kernel(op, g, a.data(), b.data(), y); };
      };
      check_plain<T>(n, forward(cpu::binary_forward<T>), forward(cpu::binary_forward_naive<T>));
      std::vector<T> y(n);
      forward(cpu::binary_forward_naive<T>)(y.data());
      for (const int side : {0, 1}) {
        CAPTURE(side);
        const index_t own = side == 0 ? g.a_numel : g.b_numel;
        const auto backward = [&](auto kernel) {
          return [&, kernel](In<T> gy, Out<T> out) {
            const auto shared = [&](const std::vector<T>& v) {
              return In<T>{v.data(), 0, nullptr, gy.count};
            };
            kernel(op, side, g, shared(a), shared(b), shared(y), gy, out);
          };
        };
        check_rows<T>(n, own, backward(cpu::binary_backward<T>),
                      backward(cpu::binary_backward_naive<T>), 10);
      }
    }
  }
}

TEST_CASE_TEMPLATE("binary: gradients with operands of their own for each row", T, float, double) {
  const BroadcastGeometry g =
      BroadcastGeometry::make("mul", Tensor::empty({7, 5}), Tensor::empty({5}));
  Block<T> a = Block<T>::normal("a", 35, 3), b = Block<T>::normal("b", 5, 3);
  Block<T> gy = Block<T>::normal("gy", 35, 3), y(35, 3);
  for (int r = 0; r < 3; ++r)
    cpu::binary_forward_naive<T>(BinaryOp::div, g, a.place(r), b.place(r), y.place(r));
  Block<T> got(5, 3), expected(5, 3);
  cpu::binary_backward<T>(BinaryOp::div, 1, g, a.in(), b.in(), y.in(), gy.in(), got.rows());
  cpu::binary_backward_naive<T>(BinaryOp::div, 1, g, a.in(), b.in(), y.in(), gy.in(),
                                expected.rows());
  CHECK(difference(got.memory(), expected.memory()) <= 10 * tolerance<T>());
  CHECK(got.canaries_alive());
}

TEST_CASE_TEMPLATE("a dropout mask is Rng's uniform numbers, element by element", T, float,
                   double) {
  const Rng rng = Rng(3).fork("dropout/1");
  for (const double p : {0.0, 0.3, 0.5}) {
    for (const index_t n : {0, 1, 6, 4099, 40'001}) {
      const auto run = [&](auto kernel) {
        return [&, kernel](T* mask) { kernel(n, p, rng, mask); };
      };
      Block<T> got(n, 1), expected(n, 1);
      run(cpu::dropout_mask<T>)(got.place(0));
      run(cpu::dropout_mask_naive<T>)(expected.place(0));
      CHECK(got == expected);
    }
  }
}

TEST_CASE_TEMPLATE("multiply_rows", T, float, double) {
  for (const index_t n : {0, 1, 37, 20'011}) {
    const auto b = normals<T>("b", n);
    const auto naive = [&](In<T> a, Out<T> out) {
      for (std::int32_t r = 0; r < a.count; ++r)
        for (index_t i = 0; i < n; ++i)
          out[r][i] = (out.accumulate ? out[r][i] : T(0)) + a[r][i] * b[i];
    };
    check_rows<T>(
        n, n, [&](In<T> a, Out<T> out) { cpu::multiply_rows<T>(n, a, b.data(), out); }, naive);
  }
}

TEST_CASE_TEMPLATE("copy_box: slices, transpositions, flips, scalars", T, float, double) {
  const auto check = [](const CopyGeometry& g, index_t from, index_t to) {
    const auto run = [&](auto kernel) {
      return [&, kernel](In<T> x, Out<T> y) { kernel(g, x, y); };
    };
    check_rows<T>(from, to, run(cpu::copy_box<T>), run(cpu::copy_box_naive<T>));
    const CopyGeometry back = g.reversed();
    const auto vjp = [&](auto kernel) {
      return [&, kernel](In<T> y, Out<T> x) { kernel(back, y, x); };
    };
    check_rows<T>(to, from, vjp(cpu::copy_box<T>), vjp(cpu::copy_box_naive<T>));
  };
  // [5, 7] -> rows 1..3, columns 2..6
  check({.rank = 2, .extent = {3, 4}, .from_stride = {7, 1}, .to_stride = {4, 1}, .from_offset = 9},
        35, 12);
  // [37, 53] transposed
  check({.rank = 2, .extent = {53, 37}, .from_stride = {1, 53}, .to_stride = {37, 1}}, 37 * 53,
        37 * 53);
  // [2, 3, 5, 7] -> [2, 5, 7, 3]
  check({.rank = 4,
         .extent = {2, 5, 7, 3},
         .from_stride = {105, 7, 1, 35},
         .to_stride = {105, 21, 3, 1}},
        210, 210);
  // [3, 11] flipped along the last axis
  check({.rank = 2,
         .extent = {3, 11},
         .from_stride = {11, -1},
         .to_stride = {11, 1},
         .from_offset = 10},
        33, 33);
  // [2, 3] into the middle of a padded [4, 7]
  check({.rank = 2, .extent = {2, 3}, .from_stride = {3, 1}, .to_stride = {7, 1}, .to_offset = 9},
        6, 28);
  check({.rank = 1, .extent = {33'001}, .from_stride = {1}, .to_stride = {1}}, 33'001, 33'001);
  check({.rank = 3, .extent = {9, 61, 83}, .from_stride = {83, 747, 1}, .to_stride = {5063, 83, 1}},
        45567, 45567);
  check({.rank = 0}, 1, 1);
  check({.rank = 2, .extent = {3, 0}, .from_stride = {1, 1}, .to_stride = {1, 1}}, 3, 3);
}
