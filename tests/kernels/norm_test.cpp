#include "rows.h"

using namespace concord;
using namespace concord::kernels;
using namespace concord::kernels::test;

namespace {

const BatchNormGeometry kShapes[] = {
    {3, 5, 7}, {11, 70, 1}, {2, 3, 4099}, {513, 67, 1}, {1, 2, 31}};

template <class T>
struct Statistics {
  std::vector<T> x, weight, bias, mean, inv_std;
  explicit Statistics(const BatchNormGeometry& g)
      : x(normals<T>("x", g.n * g.c * g.inner)),
        weight(normals<T>("weight", g.c)),
        bias(normals<T>("bias", g.c)),
        mean(g.c),
        inv_std(g.c) {
    for (T& v : x) v = v * T(0.5) + T(3);
    std::vector<T> y(x.size());
    cpu::batch_norm_train_naive<T>(g, x.data(), nullptr, nullptr, 1e-5, 0.1, nullptr, nullptr,
                                   y.data(), mean.data(), inv_std.data());
  }
};

}  // namespace

TEST_CASE_TEMPLATE("batch norm, training: output, statistics, running statistics", T, float,
                   double) {
  for (const BatchNormGeometry& g : kShapes) {
    CAPTURE(g.inner);
    const Statistics<T> s(g);
    for (const bool affine : {false, true}) {
      const T* w = affine ? s.weight.data() : nullptr;
      const T* b = affine ? s.bias.data() : nullptr;
      // One output block: y, mean, inv_std, running mean, running variance in a row.
      const auto run = [&](auto kernel) {
        return [&, kernel](T* out) {
          T* mean = out + g.n * g.c * g.inner;
          T* running = mean + 2 * g.c;
          for (index_t c = 0; c < 2 * g.c; ++c) running[c] = std::abs(running[c]);
          kernel(g, s.x.data(), w, b, 1e-5, 0.3, running, running + g.c, out, mean, mean + g.c);
        };
      };
      check_plain<T>(g.n * g.c * g.inner + 4 * g.c, run(cpu::batch_norm_train<T>),
                     run(cpu::batch_norm_train_naive<T>), 10);
    }
  }
}

TEST_CASE_TEMPLATE("batch norm, training: gradients of rows", T, float, double) {
  for (const BatchNormGeometry& g : kShapes) {
    CAPTURE(g.inner);
    const Statistics<T> s(g);
    const index_t n = g.n * g.c * g.inner;
    for (const bool affine : {false, true}) {
      // A row of the result: gx, gw, gb.
      const auto run = [&](auto kernel) {
        return [&, kernel](In<T> gy, Out<T> out) {
          Out<T> gw = out, gb = out;
          gw.base += n;
          gb.base += n + g.c;
          kernel(g, s.x.data(), s.mean.data(), s.inv_std.data(), affine ? s.weight.data() : nullptr,
                 gy, out, gw, gb);
        };
      };
      check_rows<T>(n, n + 2 * g.c, run(cpu::batch_norm_train_backward<T>),
                    run(cpu::batch_norm_train_backward_naive<T>), 10);
    }
  }
}

TEST_CASE_TEMPLATE("batch norm: absent outputs are left out, the others stay the same", T, float,
                   double) {
  const BatchNormGeometry g{3, 5, 7};
  const Statistics<T> s(g);
  const auto gy = normals<T>("gy", 105);
  std::vector<T> gx(105), gw(5), gb(5), gx_alone(105), gw_alone(5), gb_alone(5);
  const auto run = [&](Out<T> a, Out<T> b, Out<T> c) {
    cpu::batch_norm_train_backward<T>(g, s.x.data(), s.mean.data(), s.inv_std.data(), nullptr,
                                      one_row<const T>(gy.data()), a, b, c);
  };
  run(one_row(gx.data()), one_row(gw.data()), one_row(gb.data()));
  run(one_row(gx_alone.data()), {}, {});
  run({}, one_row(gw_alone.data()), {});
  run({}, {}, one_row(gb_alone.data()));
  CHECK(gx == gx_alone);
  CHECK(gw == gw_alone);
  CHECK(gb == gb_alone);
}

TEST_CASE_TEMPLATE("batch norm, evaluation", T, float, double) {
  for (const BatchNormGeometry& g : kShapes) {
    CAPTURE(g.inner);
    const Statistics<T> s(g);
    const index_t n = g.n * g.c * g.inner;
    std::vector<T> variance = normals<T>("variance", g.c);
    for (T& v : variance) v = v * v + T(0.1);
    const auto forward = [&](auto kernel) {
      return [&, kernel](T* y) {
        kernel(g, s.x.data(), s.weight.data(), s.bias.data(), s.mean.data(), variance.data(), 1e-5,
               y);
      };
    };
    check_plain<T>(n, forward(cpu::batch_norm_eval<T>), forward(cpu::batch_norm_eval_naive<T>), 10);
    const auto input = [&](auto kernel) {
      return [&, kernel](In<T> gy, Out<T> gx) {
        kernel(g, s.inv_std.data(), s.weight.data(), gy, gx);
      };
    };
    check_rows<T>(n, n, input(cpu::batch_norm_eval_grad_input<T>),
                  input(cpu::batch_norm_eval_grad_input_naive<T>));
    // x shared by all rows, and one x per row (through gy's map: rows are looked up by gy's count).
    const auto affine = [&](auto kernel) {
      return [&, kernel](In<T> gy, Out<T> out) {
        Out<T> gb = out;
        gb.base += g.c;
        kernel(g, In<T>{s.x.data(), 0, nullptr, gy.count}, s.mean.data(), s.inv_std.data(), gy, out,
               gb);
      };
    };
    check_rows<T>(n, 2 * g.c, affine(cpu::batch_norm_eval_grad_affine<T>),
                  affine(cpu::batch_norm_eval_grad_affine_naive<T>), 10);
    Block<T> x = Block<T>::normal("x", n, 3), gy = Block<T>::normal("gy", n, 3);
    Block<T> got(2 * g.c, 3), expected(2 * g.c, 3);
    const auto per_row = [&](auto kernel, Block<T>& out) {
      Out<T> gb = out.rows();
      gb.base += g.c;
      kernel(g, x.in(), s.mean.data(), s.inv_std.data(), gy.in(), out.rows(), gb);
    };
    per_row(cpu::batch_norm_eval_grad_affine<T>, got);
    per_row(cpu::batch_norm_eval_grad_affine_naive<T>, expected);
    CHECK(difference(got.memory(), expected.memory()) <= 10 * tolerance<T>());
  }
}

TEST_CASE_TEMPLATE("layer norm: output and gradients", T, float, double) {
  const index_t shapes[][2] = {{3, 7}, {5, 1031}, {70, 513}, {1, 1}};
  for (const auto& [outer, length] : shapes) {
    CAPTURE(length);
    const index_t o = outer, l = length, n = outer * length;
    const auto x = normals<T>("x", n), weight = normals<T>("weight", l),
               bias = normals<T>("bias", l);
    for (const bool affine : {false, true}) {
      const T* w = affine ? weight.data() : nullptr;
      const auto forward = [&](auto kernel) {
        return [&, kernel](T* out) {
          kernel(o, l, x.data(), w, affine ? bias.data() : nullptr, 1e-5, out, out + n,
                 out + n + o);
        };
      };
      check_plain<T>(n + 2 * o, forward(cpu::layer_norm_forward<T>),
                     forward(cpu::layer_norm_forward_naive<T>), 10);
      std::vector<T> out(n + 2 * o);
      forward(cpu::layer_norm_forward_naive<T>)(out.data());
      const T* mean = out.data() + n;
      const T* inv_std = mean + o;
      const auto input = [&](auto kernel) {
        return
            [&, kernel](In<T> gy, Out<T> gx) { kernel(o, l, x.data(), mean, inv_std, w, gy, gx); };
      };
      check_rows<T>(n, n, input(cpu::layer_norm_grad_input<T>),
                    input(cpu::layer_norm_grad_input_naive<T>), 10);
      const auto parameters = [&](auto kernel) {
        return [&, kernel](In<T> gy, Out<T> gw) {
          Out<T> gb = gw;
          gb.base += l;
          const auto shared = [&](const T* data) { return In<T>{data, 0, nullptr, gy.count}; };
          kernel(o, l, shared(x.data()), shared(mean), shared(inv_std), gy, gw, gb);
        };
      };
      check_rows<T>(n, 2 * l, parameters(cpu::layer_norm_grad_affine<T>),
                    parameters(cpu::layer_norm_grad_affine_naive<T>), 10);
    }
  }
}

TEST_CASE("batch norm: a large mean costs no accuracy") {
  const BatchNormGeometry g{4, 1, 1024};
  std::vector<float> x = normals<float>("x", 4096), y(4096);
  for (float& v : x) v = 10000 + v;
  float mean = 0, inv_std = 0;
  cpu::batch_norm_train<float>(g, x.data(), nullptr, nullptr, 0, 0, nullptr, nullptr, y.data(),
                               &mean, &inv_std);
  double exact_mean = 0, variance = 0;
  for (const float v : x) exact_mean += v / 4096.0;
  for (const float v : x) variance += (v - exact_mean) * (v - exact_mean) / 4096;
  CHECK(inv_std == doctest::Approx(1 / std::sqrt(variance)).epsilon(1e-6));
}
