#include "sides.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

// One slice of a channel and several, one channel and many, tables, small and large samples.
const BatchNormGeometry kShapes[] = {{3, 5, 7},    {11, 70, 1}, {1, 2, 4099}, {259, 33, 1},
                                     {31, 2, 150}, {70, 3, 2},  {1, 2, 31}};

template <class T>
struct Inputs {
  Operand<T> x, weight, bias, mean, inv_std;
  explicit Inputs(const BatchNormGeometry& g)
      : x(around_three(g.n * g.c * g.inner)),
        weight(normals<T>("weight", g.c)),
        bias(normals<T>("bias", g.c)),
        mean(std::vector<T>(static_cast<std::size_t>(g.c), T(2.9))),
        inv_std(positive("inv_std", g.c)) {}

  static std::vector<T> around_three(index_t n) {
    std::vector<T> v = normals<T>("x", n);
    for (T& value : v) value = value * T(0.5) + T(3);
    return v;
  }
  static std::vector<T> positive(std::string_view name, index_t n) {
    std::vector<T> v = normals<T>(name, n);
    for (T& value : v) value = value * value + T(0.1);
    return v;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: batch norm, training: output, statistics, running statistics", T, float,
                   double) {
  for (const BatchNormGeometry& g : kShapes) {
    CAPTURE(g.n);
    CAPTURE(g.inner);
    const Inputs<T> s(g);
    for (const bool affine : {false, true}) {
      // One output block: y, mean, inv_std, running mean, running variance in a row.
      check_sides_plain<T>(
          g.n * g.c * g.inner + 4 * g.c, [&](Side side, const Kernels<T>& k, T* out) {
            T* mean = out + g.n * g.c * g.inner;
            T* running = affine ? mean + 2 * g.c : nullptr;
            k.batch_norm_train(g, s.x.on(side), affine ? s.weight.on(side) : nullptr,
                               affine ? s.bias.on(side) : nullptr, 1e-5, 0.3, running,
                               affine ? running + g.c : nullptr, out, mean, mean + g.c);
          });
    }
  }
}

TEST_CASE_TEMPLATE("cuda: batch norm's variance far from zero, and of one value", T, float,
                   double) {
  const BatchNormGeometry far{5, 2, 1033}, single{1, 3, 1};
  std::vector<T> values = normals<T>("x", 5 * 2 * 1033);
  for (T& v : values) v = T(1000) + v;
  values[0] = T(-5000);  // not where the others are
  const Operand<T> x(values);
  check_sides_plain<T>(2 * 5 * 1033 + 4, [&](Side side, const Kernels<T>& k, T* out) {
    k.batch_norm_train(far, x.on(side), nullptr, nullptr, 1e-5, 0.1, nullptr, nullptr, out + 4, out,
                       out + 2);
  });
  check_sides_plain<T>(3 + 12, [&](Side side, const Kernels<T>& k, T* out) {
    k.batch_norm_train(single, x.on(side), nullptr, nullptr, 1e-5, 0.1, out, out + 3, out + 6,
                       out + 9, out + 12);
  });
}

TEST_CASE_TEMPLATE("cuda: batch norm, training: gradients of rows", T, float, double) {
  for (const BatchNormGeometry& g : kShapes) {
    CAPTURE(g.n);
    CAPTURE(g.inner);
    const Inputs<T> s(g);
    const index_t n = g.n * g.c * g.inner;
    for (const bool affine : {false, true}) {
      // A row of the result: gx, gw, gb.
      check_sides<T>(n, n + 2 * g.c, [&](Side side, const Kernels<T>& k, In<T> gy, Out<T> out) {
        Out<T> gw = out, gb = out;
        gw.base += n;
        gb.base += n + g.c;
        k.batch_norm_train_backward(g, s.x.on(side), s.mean.on(side), s.inv_std.on(side),
                                    affine ? s.weight.on(side) : nullptr, gy, out, gw, gb);
      });
    }
  }
}

TEST_CASE_TEMPLATE("cuda: batch norm: any of the outputs may be absent", T, float, double) {
  const BatchNormGeometry g{3, 5, 7};
  const Inputs<T> s(g);
  for (int present = 0; present < 8; ++present) {
    check_sides<T>(105, 115, [&](Side side, const Kernels<T>& k, In<T> gy, Out<T> out) {
      const auto part = [&](int bit, index_t at) {
        Out<T> rows = out;
        rows.base += at;
        return present & bit ? rows : Out<T>{};
      };
      k.batch_norm_train_backward(g, s.x.on(side), s.mean.on(side), s.inv_std.on(side), nullptr, gy,
                                  part(1, 0), part(2, 105), part(4, 110));
    });
  }
}

TEST_CASE_TEMPLATE("cuda: batch norm, evaluation", T, float, double) {
  for (const BatchNormGeometry& g : kShapes) {
    CAPTURE(g.n);
    CAPTURE(g.inner);
    const Inputs<T> s(g);
    const index_t n = g.n * g.c * g.inner;
    check_sides_plain<T>(n, [&](Side side, const Kernels<T>& k, T* y) {
      k.batch_norm_eval(g, s.x.on(side), s.weight.on(side), s.bias.on(side), s.mean.on(side),
                        s.inv_std.on(side), 1e-5, y);
    });
    check_sides<T>(n, n, [&](Side side, const Kernels<T>& k, In<T> gy, Out<T> gx) {
      k.batch_norm_eval_grad_input(g, s.inv_std.on(side), s.weight.on(side), gy, gx);
    });
    check_sides<T>(n, 2 * g.c, [&](Side side, const Kernels<T>& k, In<T> gy, Out<T> out) {
      Out<T> gb = out;
      gb.base += g.c;
      k.batch_norm_eval_grad_affine(g, {s.x.on(side), 0, nullptr, gy.count}, s.mean.on(side),
                                    s.inv_std.on(side), gy, out, gb);
    });
    // One x for each row: here the cotangents themselves.
    check_sides<T>(n, 2 * g.c, [&](Side side, const Kernels<T>& k, In<T> gy, Out<T> out) {
      Out<T> gb = out;
      gb.base += g.c;
      k.batch_norm_eval_grad_affine(g, gy, s.mean.on(side), s.inv_std.on(side), gy, out, gb);
    });
  }
}

TEST_CASE_TEMPLATE("cuda: layer norm", T, float, double) {
  const index_t shapes[][2] = {{3, 7}, {5, 1031}, {70, 65}, {1, 1}, {261, 33}};
  for (const auto& [outer, length] : shapes) {
    CAPTURE(length);
    const index_t o = outer, l = length, n = outer * length;
    const Operand<T> x(Inputs<T>::around_three(n)), weight(normals<T>("weight", l)),
        bias(normals<T>("bias", l)), mean(normals<T>("mean", o)),
        inv_std(Inputs<T>::positive("inv_std", o));
    for (const bool affine : {false, true}) {
      const auto w = [&](Side side) { return affine ? weight.on(side) : nullptr; };
      check_sides_plain<T>(n + 2 * o, [&](Side side, const Kernels<T>& k, T* out) {
        k.layer_norm_forward(o, l, x.on(side), w(side), affine ? bias.on(side) : nullptr, 1e-5, out,
                             out + n, out + n + o);
      });
      check_sides<T>(n, n, [&](Side side, const Kernels<T>& k, In<T> gy, Out<T> gx) {
        k.layer_norm_grad_input(o, l, x.on(side), mean.on(side), inv_std.on(side), w(side), gy, gx);
      });
    }
    const auto affine = [&](bool per_row) {
      return [&, per_row](Side side, const Kernels<T>& k, In<T> gy, Out<T> out) {
        Out<T> gb = out;
        gb.base += l;
        const auto shared = [&](const Operand<T>& v) {
          return In<T>{v.on(side), 0, nullptr, gy.count};
        };
        // Per row: the cotangents and their first values stand in for x and its statistics.
        k.layer_norm_grad_affine(o, l, per_row ? gy : shared(x), per_row ? gy : shared(mean),
                                 per_row ? gy : shared(inv_std), gy, out, gb);
      };
    };
    check_sides<T>(n, 2 * l, affine(false));
    check_sides<T>(n, 2 * l, affine(true));
  }
}

TEST_CASE("cuda: more rows of normalisation than one launch takes") {
  const BatchNormGeometry g{5, 3, 4};
  const Inputs<float> s(g);
  check_sides<float>(60, 66,
                     [&](Side side, const Kernels<float>& k, In<float> gy, Out<float> out) {
                       Out<float> gw = out, gb = out;
                       gw.base += 60;
                       gb.base += 63;
                       k.batch_norm_train_backward(g, s.x.on(side), s.mean.on(side),
                                                   s.inv_std.on(side), nullptr, gy, out, gw, gb);
                     },
                     {67});
  check_sides<float>(60, 60,
                     [&](Side side, const Kernels<float>& k, In<float> gy, Out<float> gx) {
                       k.layer_norm_grad_input(12, 5, s.x.on(side), s.x.on(side), s.x.on(side),
                                               nullptr, gy, gx);
                     },
                     {67});
}
