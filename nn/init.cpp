#include <concord/nn/init.h>

#include <cmath>

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

Initializer default_weight() { return kaiming_uniform(std::sqrt(5.0)); }

Initializer default_bias(index_t fan_in) {
  const double bound = fan_in > 0 ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0;
  return uniform(-bound, bound);
}

}  // namespace concord::nn::init
