// Scalarisations that steer to a chosen point of the Pareto front, given by a preference p. The
// weights are the partial derivatives of F; some may be negative.
//
//   cosmos  F = <p, L> - lambda cos(p, L)                Ruchte and Grabocka 2021, arXiv 2103.13392
//   pbi     F = <L - z, u> + theta |(L - z) - <L - z, u> u|,  u = p / |p|
//           Zhang and Li 2007, "MOEA/D", IEEE Transactions on Evolutionary Computation 11
//
// On the line L - z = c u the second term of pbi has a kink; its weight there is 0.
#include <concord/multitask/methods.h>
#include <concord/multitask/preference.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

namespace concord::multitask {

namespace {

constexpr double kMax = std::numeric_limits<double>::max();

struct Products {
  double pp = 0, pl = 0, ll = 0;  // <p, p>, <p, L>, <L, L>
};

Products products(std::span<const double> p, std::span<const double> l) {
  Products s;
  for (std::size_t i = 0; i < p.size(); ++i) {
    s.pp += p[i] * p[i];
    s.pl += p[i] * l[i];
    s.ll += l[i] * l[i];
  }
  return s;
}

class Cosmos : public Aggregator {
 public:
  Cosmos(Preference preference, double lambda)
      : Aggregator("cosmos"), preference_(std::move(preference)), lambda_(lambda) {}

  bool needs_losses() const override { return true; }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    p_.resize(out.weights.size());
    preference_.fill(in, p_);
    const Products s = products(p_, in.losses);
    const double lengths = std::sqrt(s.pp) * std::sqrt(s.ll);
    for (std::size_t r = 0; r < p_.size(); ++r) {
      out.weights[r] = p_[r];
      if (lengths > 0) out.weights[r] -= lambda_ / lengths * (p_[r] - s.pl / s.ll * in.losses[r]);
    }
  }

  Preference preference_;
  double lambda_;
  std::vector<double> p_;
};

class Pbi : public Aggregator {
 public:
  Pbi(Preference preference, double theta, std::vector<double> ideal)
      : Aggregator("pbi"),
        preference_(std::move(preference)),
        theta_(theta),
        ideal_(std::move(ideal)) {}

  bool needs_losses() const override { return true; }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    p_.resize(out.weights.size());
    l_.assign(in.losses.begin(), in.losses.end());
    preference_.fill(in, p_);
    for (int r = 0; r < in.rows() && !ideal_.empty(); ++r) {
      const auto task = static_cast<std::size_t>(in.task(r));
      if (task >= ideal_.size())
        throw ShapeError(
            fmt::format("pbi: option z has {} numbers, none for task {}", ideal_.size(), task));
      l_[static_cast<std::size_t>(r)] -= ideal_[task];
    }
    const Products s = products(p_, l_);
    if (!(s.pp > 0)) throw ValueError("pbi: option preference is zero, expected a direction");
    double squared = 0;
    for (std::size_t r = 0; r < p_.size(); ++r) {
      l_[r] -= s.pl / s.pp * p_[r];
      squared += l_[r] * l_[r];
    }
    const double aside = std::sqrt(squared), length = std::sqrt(s.pp);
    const bool on_the_line = aside <= 1e-14 * std::sqrt(s.ll);
    for (std::size_t r = 0; r < p_.size(); ++r)
      out.weights[r] = p_[r] / length + (on_the_line ? 0.0 : theta_ * l_[r] / aside);
  }

  Preference preference_;
  double theta_;
  std::vector<double> ideal_, p_, l_;
};

}  // namespace

AggregatorPtr make_cosmos(Options& options) {
  Preference preference = Preference::from(options, "mean");
  return std::make_unique<Cosmos>(std::move(preference), options.number("lambda", 1, 0, kMax));
}

AggregatorPtr make_pbi(Options& options) {
  Preference preference = Preference::from(options, "mean");
  const double theta = options.number("theta", 5, 0, kMax);
  return std::make_unique<Pbi>(std::move(preference), theta, options.numbers("z"));
}

}  // namespace concord::multitask
