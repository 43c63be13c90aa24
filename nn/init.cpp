#include <concord/nn/init.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::nn::init {
namespace {

struct Fans {
  double in, out;
};

Fans fans(const Tensor& t) {
  const Shape& s = t.shape();
  if (s.rank() < 2) {
    throw ShapeError("init: a fan needs at least two axes [out, in, ...]",
                     {{"weight", describe(t)}});
  }
  const double receptive = static_cast<double>(s.span(2, s.rank()));
  return {static_cast<double>(s[1]) * receptive, static_cast<double>(s[0]) * receptive};
}

/// Standard deviation of He et al. for the chosen fan.
double kaiming_deviation(const Tensor& t, double a, Fan fan) {
  const Fans f = fans(t);
  return std::sqrt(2 / (1 + a * a) / (fan == Fan::in ? f.in : f.out));
}

double xavier_deviation(const Tensor& t, double gain) {
  const Fans f = fans(t);
  return gain * std::sqrt(2 / (f.in + f.out));
}

/// A uniform distribution on (-b, b) has the standard deviation b / sqrt(3).
void fill_symmetric(const Tensor& t, const Rng& rng, double deviation) {
  const double bound = std::sqrt(3.0) * deviation;
  rng.fill_uniform(t, -bound, bound);
}

}  // namespace

Initializer constant(double value) {
  return [value](const Tensor& t, const Rng&) { t.fill(value); };
}

Initializer uniform(double low, double high) {
  return [low, high](const Tensor& t, const Rng& rng) { rng.fill_uniform(t, low, high); };
}

Initializer normal(double mean, double deviation) {
  return
      [mean, deviation](const Tensor& t, const Rng& rng) { rng.fill_normal(t, mean, deviation); };
}

Initializer kaiming_uniform(double a, Fan fan) {
  return [a, fan](const Tensor& t, const Rng& rng) {
    fill_symmetric(t, rng, kaiming_deviation(t, a, fan));
  };
}

Initializer kaiming_normal(double a, Fan fan) {
  return [a, fan](const Tensor& t, const Rng& rng) {
    rng.fill_normal(t, 0, kaiming_deviation(t, a, fan));
  };
}

Initializer xavier_uniform(double gain) {
  return [gain](const Tensor& t, const Rng& rng) {
    fill_symmetric(t, rng, xavier_deviation(t, gain));
  };
}

Initializer xavier_normal(double gain) {
  return
      [gain](const Tensor& t, const Rng& rng) { rng.fill_normal(t, 0, xavier_deviation(t, gain)); };
}

Initializer orthogonal(double gain) {
  return [gain](const Tensor& t, const Rng& rng) {
    if (t.rank() < 2) {
      throw ShapeError("init: orthogonal needs at least two axes [out, in, ...]",
                       {{"weight", describe(t)}});
    }
    const index_t out = t.dim(0), in = t.shape().span(1, t.rank());
    const index_t vectors = std::min(out, in), length = std::max(out, in);
    const Tensor basis = Tensor::empty({vectors, length}, DType::f64);
    rng.fill_normal(basis);
    double* q = basis.data<double>();
    for (index_t i = 0; i < vectors; ++i) {
      double* row = q + i * length;
      for (int pass = 0; pass < 2; ++pass) {  // once is not orthogonal to rounding, twice is
        for (index_t j = 0; j < i; ++j) {
          const double* other = q + j * length;
          const double along = std::inner_product(row, row + length, other, 0.0);
          for (index_t k = 0; k < length; ++k) row[k] -= along * other[k];
        }
      }
      const double norm = std::sqrt(std::inner_product(row, row + length, row, 0.0));
      for (index_t k = 0; k < length; ++k) row[k] /= norm;
    }
    const Tensor weight = Tensor::empty(t.shape(), DType::f64);
    for (index_t o = 0; o < out; ++o) {
      for (index_t i = 0; i < in; ++i)
        weight.data<double>()[o * in + i] =
            gain * (out <= in ? q[o * length + i] : q[i * length + o]);
    }
    t.copy_from(weight.to(t.dtype()));
  };
}

Initializer default_weight() { return kaiming_uniform(std::sqrt(5.0)); }

Initializer default_bias(index_t fan_in) {
  const double bound = fan_in > 0 ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0;
  return uniform(-bound, bound);
}

}  // namespace concord::nn::init
