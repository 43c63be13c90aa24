#include <limits>
#include <string>

#include "sides.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

constexpr const char* kUnaryNames[] = {
#define CONCORD_NAME(name, parameters, f, df) #name,
    CONCORD_UNARY_OPS(CONCORD_NAME)
#undef CONCORD_NAME
};

}  // namespace

TEST_CASE_TEMPLATE("device: unary ops, every one", T, float, double) {
  for (int o = 0; o < static_cast<int>(UnaryOp::count_); ++o) {
    const UnaryOp op{o};
    CAPTURE(std::string(kUnaryNames[o]));
    for (const index_t n : {0, 1, 37, 2051}) {
      CAPTURE(n);
      auto x = normals<T>("x", n);
      const bool positive = op == UnaryOp::sqrt || op == UnaryOp::log || op == UnaryOp::pow_scalar;
      for (T& v : x) v = positive ? std::abs(v) + T(0.1) : v;
      const Scalars s{op == UnaryOp::pow_scalar ? 1.7 : op == UnaryOp::clamp ? -0.5 : 0.3, 0.75};
      std::vector<T> y(n);
      cpu_table<T>().unary_forward(op, s, n, x.data(), y.data());
      const Operand<T> xs(x), ys(y);
      check_sides_plain<T>(n, [&](Side at, const Kernels<T>& k, T* out) {
        k.unary_forward(op, s, n, xs.on(at), out);
      });
      const auto backward = [&](Side at, const Kernels<T>& k, In<T> gy, Out<T> gx) {
        k.unary_backward(op, s, n, xs.on(at), ys.on(at), gy, gx);
      };
      if (op == UnaryOp::tanh && n == 37) {
        check_sides<T>(n, n, backward, {67});
      } else {
        check_sides<T>(n, n, backward);
      }
    }
    const T nan = std::numeric_limits<T>::quiet_NaN();
    const Operand<T> x({nan, nan, nan, nan, nan});
    const OnDevice<T> y(5, T(0));
    table_of<T>(Side::cuda).unary_forward(op, {}, 5, x.on(Side::cuda), y);
    if (op != UnaryOp::pow_scalar) {  // x^0 = 1 for every x
      for (const T v : y.values()) CHECK(std::isnan(v));
    }
  }
}

TEST_CASE_TEMPLATE("device: a vector on an aligned address, in packs of 16 bytes", T, float,
                   double) {
  for (const index_t n : {1024, 1027}) {
    const Operand<T> x(normals<T>("x", n));
    const OnDevice<T> y(static_cast<std::size_t>(n), T(0));
    std::vector<T> expected(static_cast<std::size_t>(n));
    cpu_table<T>().unary_forward(UnaryOp::silu, {}, n, x.on(Side::cpu), expected.data());
    table_of<T>(Side::cuda).unary_forward(UnaryOp::silu, {}, n, x.on(Side::cuda), y);
    CHECK(difference(y.values(), expected) <= device_tolerance<T>());
    Rows<T> rows{y.data(), 0, nullptr, 1, true};
    table_of<T>(Side::cuda)
        .multiply_rows(n, In<T>{x.on(Side::cuda), 0, nullptr, 1}, x.on(Side::cuda), rows);
    for (index_t i = 0; i < n; ++i) expected[i] += x.on(Side::cpu)[i] * x.on(Side::cpu)[i];
    CHECK(difference(y.values(), expected) <= device_tolerance<T>());
  }
}

TEST_CASE_TEMPLATE("device: binary ops under broadcasting", T, float, double) {
  const std::pair<Shape, Shape> shapes[] = {{{3, 5, 7}, {3, 5, 7}},
                                            {{3, 5, 7}, {5, 1}},
                                            {{11, 5}, {5}},
                                            {{}, {3, 7}},
                                            {{3, 7}, {1, 1}},
                                            {{4, 1}, {1, 5}},
                                            {{2, 1, 3, 1}, {5, 1, 7}},
                                            {{3, 1063}, {1063}},
                                            {{2, 1063}, {2, 1}},
                                            {{701, 3}, {3}},
                                            {{1}, {1}},
                                            {{2, 1, 2, 603}, {7, 1, 1}},
                                            {{0, 3}, {3}},
                                            {{0, 3}, {0, 1}}};
  for (const auto& [sa, sb] : shapes) {
    CAPTURE(to_string(sa));
    CAPTURE(to_string(sb));
    auto a = normals<T>("a", sa.numel()), b = normals<T>("b", sb.numel());
    for (T& v : a) v = std::round(v * 4) / 4;  // ties for minimum and maximum
    for (T& v : b) v = std::round(v * 4) / 4 + (v > 0 ? T(0.25) : T(-0.25));
    const BroadcastGeometry g = BroadcastGeometry::make("op", Tensor::empty(sa, dtype_of<T>),
                                                        Tensor::empty(sb, dtype_of<T>));
    const index_t n = g.out.numel();
    const Operand<T> as(a), bs(b);
    for (int o = 0; o < static_cast<int>(BinaryOp::count_); ++o) {
      const BinaryOp op{o};
      CAPTURE(o);
      check_sides_plain<T>(n, [&](Side at, const Kernels<T>& k, T* y) {
        k.binary_forward(op, g, as.on(at), bs.on(at), y);
      });
      std::vector<T> y(n);
      cpu_table<T>().binary_forward(op, g, a.data(), b.data(), y.data());
      const Operand<T> ys(y);
      for (const int side : {0, 1}) {
        CAPTURE(side);
        const auto backward = [&](Side at, const Kernels<T>& k, In<T> gy, Out<T> out) {
          const auto shared = [&](const Operand<T>& v) {
            return In<T>{v.on(at), 0, nullptr, gy.count};
          };
          k.binary_backward(op, side, g, shared(as), shared(bs), shared(ys), gy, out);
        };
        check_sides<T>(n, side == 0 ? g.a_numel : g.b_numel, backward, {2});
      }
    }
  }
}

TEST_CASE_TEMPLATE("device: binary gradients with operands of their own for each row, 67 rows", T,
                   float, double) {
  const BroadcastGeometry g =
      BroadcastGeometry::make("mul", Tensor::empty({7, 5}), Tensor::empty({5}));
  constexpr std::int32_t kRows = 67;
  Block<T> a = Block<T>::normal("a", 35, kRows), b = Block<T>::normal("b", 5, kRows);
  Block<T> gy = Block<T>::normal("gy", 35, kRows), y(35, kRows);
  for (int r = 0; r < kRows; ++r)
    cpu_table<T>().binary_forward(BinaryOp::div, g, a.place(r), b.place(r), y.place(r));
  Rowed<T> as(a, true), bs(b, true), ys(y, true), seeds(gy, true);
  for (const int side : {0, 1}) {
    const auto start = Block<T>::normal("start", side == 0 ? 35 : 5, kRows);
    Rowed<T> got(start, true);
    for (const Side at : {Side::cpu, Side::cuda}) {
      table_of<T>(at).binary_backward(BinaryOp::div, side, g, as.on(at), bs.on(at), ys.on(at),
                                      seeds.on(at), got.on(at));
    }
    const std::vector<T> result = got.memory(Side::cuda);
    CHECK(difference(result, got.memory(Side::cpu)) <= device_tolerance<T>());
    CHECK(canaries_alive(result, start.memory()));
  }
}

TEST_CASE_TEMPLATE("device: a dropout mask has the bits of the CPU's", T, float, double) {
  const Rng rng = Rng(3).fork("dropout/1");
  for (const double p : {0.0, 0.3, 0.5}) {
    for (const index_t n : {0, 1, 6, 2051}) {
      check_sides_plain<T>(
          n, [&](Side, const Kernels<T>& k, T* mask) { k.dropout_mask(n, p, rng, mask); }, 0);
    }
  }
}

TEST_CASE_TEMPLATE("device: multiply_rows", T, float, double) {
  for (const index_t n : {0, 1, 37, 2051}) {
    const Operand<T> b(normals<T>("b", n));
    check_sides<T>(n, n, [&](Side at, const Kernels<T>& k, In<T> a, Out<T> out) {
      k.multiply_rows(n, a, b.on(at), out);
    });
  }
}

TEST_CASE_TEMPLATE("device: copy_box, slices, transpositions, flips, scalars", T, float, double) {
  const auto check = [](const CopyGeometry& g, index_t from, index_t to) {
    for (const bool reversed : {false, true}) {
      const CopyGeometry way = reversed ? g.reversed() : g;
      check_sides<T>(
          reversed ? to : from, reversed ? from : to,
          [&](Side, const Kernels<T>& k, In<T> x, Out<T> y) { k.copy_box(way, x, y); }, {1, 3}, 0);
    }
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
  check({.rank = 1, .extent = {3001}, .from_stride = {1}, .to_stride = {1}}, 3001, 3001);
  check({.rank = 3, .extent = {3, 41, 35}, .from_stride = {35, 105, 1}, .to_stride = {1435, 35, 1}},
        4305, 4305);
  // More tiles than blocks run at once: a block moves its tile of one row after the other.
  check({.rank = 3, .extent = {1100, 7, 5}, .from_stride = {35, 1, 7}, .to_stride = {35, 5, 1}},
        38500, 38500);
  check({.rank = 0}, 1, 1);
  check({.rank = 2, .extent = {3, 0}, .from_stride = {1, 1}, .to_stride = {1, 1}}, 3, 3);
}
