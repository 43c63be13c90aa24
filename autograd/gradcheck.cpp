#include <concord/autograd/gradcheck.h>
#include <concord/autograd/tape.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord {
namespace {

/// One array of numbers to differentiate by: perturbed in place, and its gradient from the tape.
struct Block {
  std::string name;
  Tensor values, gradient;
};

std::string index_of(const Shape& s, index_t flat) {
  std::string text;
  for (int axis = s.rank() - 1; axis >= 0; --axis) {
    text = fmt::format("{}{}{}", flat % s[axis], text.empty() ? "" : ",", text);
    flat /= s[axis];
  }
  return "[" + text + "]";
}

class Checker {
 public:
  Checker(std::function<Tensor()> evaluate, Tensor cotangent, const GradcheckOptions& o)
      : evaluate_(std::move(evaluate)), cotangent_(std::move(cotangent)), o_(o) {}

  void elements(const Block& b, const Rng& rng) {
    std::vector<index_t> order(b.values.numel());
    std::iota(order.begin(), order.end(), index_t{0});
    if (b.values.numel() > o_.most) {
      rng.permutation(order);
      order.resize(o_.most);
    }
    for (const index_t i : order) {
      double& x = b.values.data<double>()[i];
      const double at = x, h = o_.step * std::max(1.0, std::abs(at));
      x = at + h;
      const Tensor right = evaluate_();
      x = at - h;
      const Tensor left = evaluate_();
      x = at;
      compare(b.gradient.data<double>()[i], slope(left, right, h),
              [&] { return fmt::format("{} at {}", b.name, index_of(b.values.shape(), i)); });
    }
  }

  void direction(std::span<const Block> blocks, const Rng& rng) {
    double analytic = 0, norm_squared = 0;
    std::vector<Tensor> at, v;
    for (std::size_t k = 0; k < blocks.size(); ++k) {
      const Block& b = blocks[k];
      at.push_back(b.values.clone());
      v.push_back(Tensor::empty_like(b.values));
      rng.fork(k).fill_normal(v.back());
      for (index_t i = 0; i < b.values.numel(); ++i) {
        const double d = v.back().data<double>()[i];
        analytic += b.gradient.data<double>()[i] * d;
        norm_squared += d * d;
      }
    }
    const double norm = std::sqrt(norm_squared), h = o_.step;
    if (norm == 0) return;
    const auto move = [&](double distance) {
      for (std::size_t k = 0; k < blocks.size(); ++k) {
        for (index_t i = 0; i < at[k].numel(); ++i) {
          blocks[k].values.data<double>()[i] =
              at[k].data<double>()[i] + distance / norm * v[k].data<double>()[i];
        }
      }
    };
    move(h);
    const Tensor right = evaluate_();
    move(-h);
    const Tensor left = evaluate_();
    for (std::size_t k = 0; k < blocks.size(); ++k) blocks[k].values.copy_from(at[k]);
    compare(analytic / norm, slope(left, right, h), [] { return "a random direction"; });
  }

  GradcheckResult result() {
    result_.ok = result_.wrong == 0;
    result_.message =
        fmt::format("gradcheck: {} of {} elements differ by more than {:g}; worst: {}",
                    result_.wrong, result_.checked, o_.tolerance, where_);
    return result_;
  }

 private:
  /// Differences element by element before the sum: less is lost to cancellation.
  double slope(const Tensor& left, const Tensor& right, double h) const {
    double sum = 0;
    for (index_t i = 0; i < cotangent_.numel(); ++i) {
      sum += cotangent_.data<double>()[i] * (right.data<double>()[i] - left.data<double>()[i]);
    }
    return sum / (2 * h);
  }

  template <class Name>
  void compare(double analytic, double numeric, Name&& name) {
    // The floor is well above what rounding leaves of a difference of numbers near 1, eps / h =
    // 2e-11.
    constexpr double kFloor = 1e-3;
    const double error =
        std::abs(analytic - numeric) / std::max({std::abs(analytic), std::abs(numeric), kFloor});
    ++result_.checked;
    const bool wrong = !(error <= o_.tolerance);  // a NaN is wrong
    result_.wrong += wrong;
    const bool nan_seen = std::isnan(result_.worst);
    if (where_.empty() || (!nan_seen && !(error <= result_.worst))) {
      result_.worst = error;
      where_ = fmt::format("{}: analytic {:.10g}, numeric {:.10g}, relative error {:.2e}", name(),
                           analytic, numeric, error);
    }
  }

  std::function<Tensor()> evaluate_;
  Tensor cotangent_;
  GradcheckOptions o_;
  GradcheckResult result_;
  std::string where_;
};

Tensor random_cotangent(const Tensor& y, const Rng& rng) {
  const Tensor c = Tensor::empty_like(y);
  rng.fork("cotangent").fill_normal(c);
  return c;
}

GradcheckResult check_all(std::function<Tensor()> evaluate, const Tensor& cotangent,
                          std::span<const Block> blocks, const GradcheckOptions& o) {
  Checker checker(std::move(evaluate), cotangent, o);
  for (std::size_t k = 0; k < blocks.size(); ++k) {
    checker.elements(blocks[k], o.rng.fork("elements").fork(k));
  }
  checker.direction(blocks, o.rng.fork("direction"));
  return checker.result();
}

}  // namespace

GradcheckResult gradcheck(const std::function<Var(std::span<const Var>)>& f,
                          std::span<const Tensor> inputs, const GradcheckOptions& o) {
  std::vector<Block> blocks;
  Tape tape;
  std::vector<Var> leaves, constants;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const std::string name = fmt::format("input {}", k);
    check_dtype("gradcheck", name, inputs[k], DType::f64);
    blocks.push_back({name, inputs[k].clone(), {}});
    leaves.push_back(tape.leaf(blocks[k].values));
    constants.push_back(blocks[k].values);  // shares memory: it sees every perturbation
  }
  const Var y = f(leaves);
  const Seed seed{y, 0, 1, random_cotangent(y.value(), o.rng)};
  std::vector<Tensor> gradients;
  tape.backward(std::span(&seed, 1), 1, nullptr, {.wanted = leaves, .gradients = &gradients});
  for (std::size_t k = 0; k < blocks.size(); ++k) blocks[k].gradient = gradients[k][0];
  return check_all([&] { return f(constants).value().clone(); }, seed.cotangent, blocks, o);
}

GradcheckResult gradcheck(const std::function<Var(const Context&)>& f, const Theta& theta,
                          const Context& context, const GradcheckOptions& o) {
  check_dtype("gradcheck", "theta", theta.values(), DType::f64);
  const Tensor buffers = theta.buffers().clone();
  Tape tape;
  Context c = context;
  c.theta = &theta;
  c.tape = &tape;
  const Var y = f(c);
  const Seed seed{y, 0, 1, random_cotangent(y.value(), o.rng)};
  GradientMatrix g(theta.store(), 1, DType::f64, Columns::all);
  tape.backward(std::span(&seed, 1), 1, &g);

  std::vector<Block> blocks;
  for (SliceId id = 0; id < theta.store().slices(); ++id) {
    const Slice& s = theta.store().slice(id);
    if (!s.frozen) blocks.push_back({s.name, theta[id], g.slice(id, 0)});
  }
  c.tape = nullptr;
  const auto evaluate = [&] {
    theta.buffers().copy_from(buffers);
    return f(c).value().clone();
  };
  const GradcheckResult result = check_all(evaluate, seed.cotangent, blocks, o);
  theta.buffers().copy_from(buffers);
  return result;
}

}  // namespace concord
