// Loss weightings: methods that see the losses only. Each stands for a scalar function of the
// losses; the weights are its partial derivatives, w_t = dF / dL_t, so that J^T w is its gradient.
//
//   rlw     w = softmax(z), z ~ N(0, I) in each step; times=tasks: T softmax(z)
//           (arXiv 2111.10603)
//   si      F = sum_t log L_t (arXiv 2202.01017)
//   gls     F = (prod_t L_t)^(1/T) (arXiv 1904.08492)
//   dwa     w = T softmax(r / temperature), r_t = L_t(e-1) / L_t(e-2) with the mean losses of the
//           two epochs before; w = 1 in the first two epochs (arXiv 1803.10704)
//   uw      F = sum_t L_t / (2 e^s_t) + s_t / 2 (form=half), or, with s_t = log sigma_t^2,
//           sum_t e^-s_t L_t + s_t / 2 (form=classification) (arXiv 1705.07115)
//   imtl_l  F = sum_t e^s_t L_t - s_t (ICLR 2021)
//   stch    F = mu T log sum_t exp(log(L_t / z_t) / mu): `warm_up` epochs of sum_t log L_t, the
//           mean losses of the next epoch become the nadir z (arXiv 2402.19078);
//           preset=torchjd: F = mu log sum_t exp(L_t / (T mu)), no warm-up
//
// The learned s of uw and imtl_l follow Adam (beta .9 / .999) on F with their own rate `lr`.
#include <concord/multitask/learned.h>
#include <concord/multitask/methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace concord::multitask {

namespace {

constexpr double kMax = std::numeric_limits<double>::max();

/// x = factor * softmax(x)
void softmax(std::span<double> x, double factor) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v - most);
  for (double& v : x) v *= factor / sum;
}

class LossWeighting : public Aggregator {
 public:
  bool needs_losses() const override { return true; }

 protected:
  using Aggregator::Aggregator;

  void check_positive(const StepInputs& in) const {
    for (int r = 0; r < in.rows(); ++r) {
      const double loss = in.losses[static_cast<std::size_t>(r)];
      if (!(loss > 0)) {
        throw NumericError(fmt::format("{}: loss of task {} is {}, expected a positive value",
                                       name(), in.task(r), loss));
      }
    }
  }
};

class Rlw : public Aggregator {
 public:
  explicit Rlw(bool times_tasks) : Aggregator("rlw"), times_tasks_(times_tasks) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    const Rng step = in.rng.fork(static_cast<std::uint64_t>(in.step));
    for (int r = 0; r < in.rows(); ++r) {
      out.weights[static_cast<std::size_t>(r)] =
          step.normal(static_cast<std::uint64_t>(in.task(r)));
    }
    softmax(out.weights, times_tasks_ ? in.rows() : 1.0);
  }

  bool times_tasks_;
};

class Si : public LossWeighting {
 public:
  Si() : LossWeighting("si") {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    check_positive(in);
    for (std::size_t r = 0; r < out.weights.size(); ++r) out.weights[r] = 1 / in.losses[r];
  }
};

class Gls : public LossWeighting {
 public:
  Gls() : LossWeighting("gls") {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    check_positive(in);
    double logs = 0;
    for (const double loss : in.losses) logs += std::log(loss);
    const double mean = std::exp(logs / in.rows());
    for (std::size_t r = 0; r < out.weights.size(); ++r)
      out.weights[r] = mean / (in.rows() * in.losses[r]);
  }
};

/// Mean losses per task and epoch: what DWA and STCH remember.
class EpochMeans {
 public:
  void grow(std::size_t tasks) {
    if (tasks > sums_.size()) {
      sums_.resize(tasks, 0.0);
      counts_.resize(tasks, 0.0);
    }
  }
  void add(const StepInputs& in) {
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r));
      grow(t + 1);
      sums_[t] += in.losses[static_cast<std::size_t>(r)];
      counts_[t] += 1;
    }
  }
  bool seen(std::size_t task) const { return task < sums_.size() && counts_[task] > 0; }
  double mean(std::size_t task) const { return sums_[task] / counts_[task]; }
  void clear() {
    std::fill(sums_.begin(), sums_.end(), 0.0);
    std::fill(counts_.begin(), counts_.end(), 0.0);
  }
  void save(State& state, const std::string& name) const {
    state[name + ".sums"] = sums_;
    state[name + ".counts"] = counts_;
  }
  void load(const State& state, std::string_view owner, const std::string& name) {
    const auto found = state.find(name + ".sums");
    const std::size_t size = found == state.end() ? 0 : found->second.size();
    sums_ = state_entry(state, owner, name + ".sums", size);
    counts_ = state_entry(state, owner, name + ".counts", size);
  }

 private:
  std::vector<double> sums_, counts_;
};

class Dwa : public LossWeighting {
 public:
  explicit Dwa(double temperature) : LossWeighting("dwa"), temperature_(temperature) {}

  void save(State& state) const override {
    state["dwa.epoch"] = {static_cast<double>(epoch_)};
    now_.save(state, "dwa.now");
    last_.save(state, "dwa.last");
    before_.save(state, "dwa.before");
  }
  void load(const State& state) override {
    epoch_ = static_cast<std::int64_t>(state_entry(state, "dwa", "dwa.epoch", 1)[0]);
    now_.load(state, "dwa", "dwa.now");
    last_.load(state, "dwa", "dwa.last");
    before_.load(state, "dwa", "dwa.before");
  }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    check_positive(in);
    if (in.epoch != epoch_) {
      std::swap(before_, last_);
      std::swap(last_, now_);
      now_.clear();
      epoch_ = in.epoch;
    }
    now_.add(in);
    for (int r = 0; r < in.rows(); ++r) {
      // A task without two epochs behind it counts as standing still.
      const auto t = static_cast<std::size_t>(in.task(r));
      const double ratio = last_.seen(t) && before_.seen(t) ? last_.mean(t) / before_.mean(t) : 1.0;
      out.weights[static_cast<std::size_t>(r)] = ratio / temperature_;
    }
    softmax(out.weights, in.rows());
  }

  double temperature_;
  std::int64_t epoch_ = 0;
  EpochMeans now_, last_, before_;
};

/// Loss weightings with one learned number s per task.
class Learned : public LossWeighting {
 public:
  void save(State& state) const override { s_.save(state, name() + ".s"); }
  void load(const State& state) override { s_.load(state, name(), name() + ".s"); }

 protected:
  Learned(std::string name, double initial, double lr)
      : LossWeighting(std::move(name)), s_(initial, lr) {}

  LearnedPerTask s_;
};

class Uw : public Learned {
 public:
  Uw(double initial, double lr, bool half)
      : Learned("uw", initial, lr), factor_(half ? 0.5 : 1.0) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r)), i = static_cast<std::size_t>(r);
      out.weights[i] = factor_ * std::exp(-s_.value(t));
      s_.descend(t, 0.5 - out.weights[i] * in.losses[i]);
    }
  }

  double factor_;
};

class ImtlL : public Learned {
 public:
  ImtlL(double initial, double lr) : Learned("imtl_l", initial, lr) {}

 private:
  void solve(const StepInputs& in, Direction& out) override {
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r)), i = static_cast<std::size_t>(r);
      out.weights[i] = std::exp(s_.value(t));
      s_.descend(t, out.weights[i] * in.losses[i] - 1);
    }
  }
};

class Stch : public LossWeighting {
 public:
  Stch(double mu, int warm_up, bool logarithms)
      : LossWeighting("stch"), mu_(mu), warm_up_(warm_up), logarithms_(logarithms) {}

  void save(State& state) const override { nadir_.save(state, "stch.nadir"); }
  void load(const State& state) override { nadir_.load(state, "stch", "stch.nadir"); }

 private:
  void solve(const StepInputs& in, Direction& out) override {
    if (!logarithms_) {
      for (std::size_t r = 0; r < out.weights.size(); ++r)
        out.weights[r] = in.losses[r] / (in.rows() * mu_);
      softmax(out.weights, 1.0 / in.rows());
      return;
    }
    check_positive(in);
    if (in.epoch == warm_up_) nadir_.add(in);
    if (in.epoch <= warm_up_) {
      for (std::size_t r = 0; r < out.weights.size(); ++r) out.weights[r] = 1 / in.losses[r];
      return;
    }
    for (int r = 0; r < in.rows(); ++r) {
      const auto t = static_cast<std::size_t>(in.task(r)), i = static_cast<std::size_t>(r);
      // A task that the nadir's epoch did not show is measured by its present loss.
      const double nadir = nadir_.seen(t) ? nadir_.mean(t) : in.losses[i];
      out.weights[i] = std::log(in.losses[i] / nadir) / mu_;
    }
    softmax(out.weights, in.rows());
    for (std::size_t r = 0; r < out.weights.size(); ++r) out.weights[r] /= in.losses[r];
  }

  double mu_;
  int warm_up_;
  bool logarithms_;
  EpochMeans nadir_;
};

}  // namespace

AggregatorPtr make_rlw(Options& options) {
  return std::make_unique<Rlw>(options.choice("times", {"one", "tasks"}) == "tasks");
}
AggregatorPtr make_si(Options&) { return std::make_unique<Si>(); }
AggregatorPtr make_gls(Options&) { return std::make_unique<Gls>(); }
AggregatorPtr make_dwa(Options& options) {
  return std::make_unique<Dwa>(options.number("temperature", 2, 1e-6, kMax));
}
AggregatorPtr make_uw(Options& options) {
  const std::string preset = options.choice("preset", {"paper", "torchjd", "libmtl"});
  const double initial = options.number("s", preset == "libmtl" ? -0.5 : 0, -100, 100);
  const bool half = options.choice("form", {"half", "classification"}) == "half";
  return std::make_unique<Uw>(initial, options.number("lr", 1e-3, 0, kMax), half);
}
AggregatorPtr make_imtl_l(Options& options) {
  const double initial = options.number("s", 0, -100, 100);
  return std::make_unique<ImtlL>(initial, options.number("lr", 1e-3, 0, kMax));
}
AggregatorPtr make_stch(Options& options) {
  const bool logarithms = options.choice("preset", {"paper", "torchjd", "libmtl"}) != "torchjd";
  const double mu = options.number("mu", 1, 1e-6, kMax);
  return std::make_unique<Stch>(mu, options.integer("warm_up", 4, 0, 1 << 20), logarithms);
}

}  // namespace concord::multitask
