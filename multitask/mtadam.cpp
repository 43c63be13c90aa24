// MTAdam: Malkiel, Wolf, "MTAdam: Automatic Balancing of Multiple Training Loss Terms", 2020, arXiv
// 2006.14683. Each task has Adam's moments of its own, and in each parameter tensor its gradient is
// brought to the length of the anchor's, the first task present with a gradient there:
//
//   n_t <- beta3 n_t + (1 - beta3) |g_t|                      running norms, |g_t| at first
//   h_t  = rank_t (n_anchor / n_t) g_t
//   m_t <- beta1 m_t + (1 - beta1) h_t,   v_t <- beta2 v_t + (1 - beta2) h_t^2
//   d    = sum_t m_t / (1 - beta1^k_t)  /  max_t (sqrt(v_t / (1 - beta2^k_t)) + eps)
//
// element by element, k_t counting the task's own steps: an absent task's state stands still. A
// head has one task, so that its d is Adam's. theta moves by rate * d: of the optimiser only rate,
// clipping and weight decay (decoupled, as d stands for the whole step) count; its moments rest.
#include <concord/multitask/driver.h>
#include <concord/multitask/training_methods.h>
#include <concord/tensor/check.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

namespace concord::multitask {

namespace {

struct Setting {
  double beta1, beta2, beta3, eps;
  std::vector<double> rank;  // empty: all 1
};

class MtAdam final : public Driver {
 public:
  MtAdam(const Theta& like, int tasks, Setting setting)
      : Driver("mtadam", like, tasks, tasks),
        set_(std::move(setting)),
        m_(like.store(), tasks, like.dtype()),
        v_(like.store(), tasks, like.dtype()),
        norms_(static_cast<std::size_t>(tasks * like.store().slices())),
        steps_(static_cast<std::size_t>(tasks)),
        g_(rows_.device() == kCpu ? rows_ : host_.emplace(like.store(), tasks, like.dtype())) {
    if (!set_.rank.empty() && static_cast<int>(set_.rank.size()) != tasks) {
      throw ShapeError(fmt::format("mtadam: option rank has {} numbers, expected one per task ({})",
                                   set_.rank.size(), tasks));
    }
  }

  int vectors() const override { return 3 * tasks(); }

  void save(State& state) const override {
    state["mtadam.norms"] = norms_;
    state["mtadam.steps"] = steps_;
    for_each_tensor([&](const std::string& name, const Tensor& t) { save_tensor(state, name, t); });
  }
  void load(const State& state) override {
    const auto norms = state_entry(state, name(), "mtadam.norms", norms_.size());
    const auto steps = state_entry(state, name(), "mtadam.steps", steps_.size());
    for_each_tensor(
        [&](const std::string& entry, const Tensor& t) { load_tensor(state, name(), entry, t); });
    norms_ = norms;
    steps_ = steps;
  }

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    begin(model, ctx, when);
    vars_.clear();
    copy(rows_, g_, present_);
    for (const int t : present_) steps_[static_cast<std::size_t>(t)] += 1;
    kernels::on(g_.row(0), [&]<class T>(const kernels::Kernels<T>& k) {
      for (SliceId id = 0; id < g_.store().slices(); ++id) {
        const int group = g_.store().slice(id).group;
        if (group == kShared)
          combine<T>(k, id);
        else if (inputs().row_of(group) >= 0)
          adam<T>(id, group);
      }
    });
    clear_answer();
    answer_.weights.assign(present_.size(), std::numeric_limits<double>::quiet_NaN());

    // d stands in the row of the first task present, and in the heads.
    std::fill(weights_.begin(), weights_.end(), 0.0);
    weights_[static_cast<std::size_t>(present_[0])] = 1;
    optim::Sgd sgd(*ctx.theta, {.rate = optimizer.rate(), .decay = optimizer.decay()});
    sgd.clip = optimizer.clip;
    copy(g_, rows_, {present_.data(), 1});
    sgd.step(*ctx.theta, {rows_, weights_});
  }

 private:
  struct Moments {  // of one task in one tensor
    double factor;  // h = factor g
    double bias1, bias2;
  };

  Moments moments(int task, double factor) const {
    const double k = steps_[static_cast<std::size_t>(task)];
    const double rank = set_.rank.empty() ? 1 : set_.rank[static_cast<std::size_t>(task)];
    return {rank * factor, 1 - std::pow(set_.beta1, k), 1 - std::pow(set_.beta2, k)};
  }

  /// The new moments of one element; `sum` gains m / bias1, `most` becomes the largest denominator.
  template <class T>
  void advance(const Moments& s, T g, T& m, T& v, T& sum, T& most) const {
    const T h = static_cast<T>(s.factor) * g;
    m += static_cast<T>(1 - set_.beta1) * (h - m);
    v += static_cast<T>(1 - set_.beta2) * (h * h - v);
    sum += m / static_cast<T>(s.bias1);
    most = std::max(most, std::sqrt(v / static_cast<T>(s.bias2)) + static_cast<T>(set_.eps));
  }

  template <class T>
  void combine(const kernels::Kernels<T>& k, SliceId id) {
    constexpr double kTiny = 1e-10;  // of a norm that says nothing
    double anchor = 0;
    of_rows_.clear();
    for (const int t : present_) {
      double squared = 0;
      const Tensor g = g_.slice(id, t);
      k.norm_squared(g.numel(), g.template data<T>(), &squared);
      double& norm = norms_[static_cast<std::size_t>(t * rows_.store().slices() + id)];
      norm = steps_[static_cast<std::size_t>(t)] == 1
                 ? std::sqrt(squared)
                 : set_.beta3 * norm + (1 - set_.beta3) * std::sqrt(squared);
      if (anchor <= kTiny) anchor = norm;
      of_rows_.push_back(moments(t, norm > kTiny ? anchor / norm : 1));
    }
    const GradientMatrix::Place place = g_.place(id);
    const auto g = elements<T>(g_), m = elements<T>(m_), v = elements<T>(v_);
    for_columns(g_.store().slice(id).shape.numel(), [&](index_t first, index_t count, int) {
      for (index_t i = place.offset + first; i < place.offset + first + count; ++i) {
        T sum = 0, most = 0;
        for (std::size_t r = 0; r < of_rows_.size(); ++r) {
          const auto row = static_cast<std::int32_t>(r);
          advance<T>(of_rows_[r], g[row][i], m[row][i], v[row][i], sum, most);
        }
        g[0][i] = sum / most;
      }
    });
  }

  template <class T>
  void adam(SliceId id, int task) {
    const Moments s = moments(task, 1);
    const auto g = g_.slice(id, task).template values<T>(),
               m = m_.slice(id, task).template values<T>(),
               v = v_.slice(id, task).template values<T>();
    for (std::size_t i = 0; i < g.size(); ++i) {
      T sum = 0, most = 0;
      advance<T>(s, g[i], m[i], v[i], sum, most);
      g[i] = sum / most;
    }
  }

  template <class T>
  kernels::Rows<T> elements(const GradientMatrix& of) const {
    return std::get<kernels::Rows<T>>(shared_elements(of, present_).rows);
  }

  /// Rows of the given tasks, and the heads: on a device they come to the moments and d goes back.
  static void copy(const GradientMatrix& from, const GradientMatrix& to,
                   std::span<const int> tasks) {
    if (&from == &to) return;
    for (const int t : tasks) to.row(t).copy_from(from.row(t));
    to.heads().copy_from(from.heads());
  }

  template <class F>
  void for_each_tensor(F f) const {
    for (int t = 0; t < tasks(); ++t) {
      f("mtadam.m." + std::to_string(t), m_.row(t));
      f("mtadam.v." + std::to_string(t), v_.row(t));
    }
    f("mtadam.m.heads", m_.heads());
    f("mtadam.v.heads", v_.heads());
  }

  Setting set_;
  GradientMatrix m_, v_;       // on the host, where the elements are looped over
  std::vector<double> norms_;  // by task and slice
  std::vector<double> steps_;  // by task
  std::vector<Moments> of_rows_;
  std::optional<GradientMatrix> host_;  // of a device: a copy of rows_
  GradientMatrix& g_;                   // rows_, or host_
};

}  // namespace

MethodPtr make_mtadam(Options& options, const Theta& like, int tasks) {
  Setting set{};
  set.beta1 = options.number("beta1", 0.9, 0, 0.999999);
  set.beta2 = options.number("beta2", 0.999, 0, 0.99999999);
  set.beta3 = options.number("beta3", 0.9, 0, 0.999999);
  set.eps = options.number("eps", 1e-8, 1e-300, 1);
  set.rank = options.numbers("rank");
  return std::make_unique<MtAdam>(like, tasks, std::move(set));
}

}  // namespace concord::multitask
