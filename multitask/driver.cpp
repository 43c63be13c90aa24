#include <concord/multitask/blocks.h>
#include <concord/multitask/driver.h>
#include <concord/tensor/check.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::multitask {

const Theta& Beside::at(const Theta& theta, const optim::Direction& d, double rate) {
  theta_.copy_from(theta);
  sgd_.rate(rate);
  sgd_.step(theta_, d);
  return theta_;
}

Driver::Driver(std::string name, const Theta& like, int tasks, int rows)
    : Method(std::move(name)),
      rows_(like.store(), rows, like.dtype(), Columns::shared, like.values().device()),
      weights_(static_cast<std::size_t>(tasks)) {}

void Driver::evaluate(Model& model, const Context& ctx, int batch) {
  if (ctx.tape) ctx.tape->reset();
  model.losses(for_batch(ctx, batch), batch, vars_);
}

void Driver::begin(Model& model, const Context& ctx, const Step::When& when) {
  evaluate(model, ctx, 0);
  note_present(when);
  sweep_rows(*ctx.tape);
}

void Driver::note_present(const Step::When& when) {
  if (vars_.size() != weights_.size()) {
    throw ShapeError(
        fmt::format("{}: {} losses for {} tasks", name(), vars_.size(), weights_.size()));
  }
  when_ = when;
  present_.clear();
  losses_.clear();
  const Tensor values = values_of(vars_).to(kCpu);
  for (int t = 0; t < tasks(); ++t) {
    if (!present(t)) continue;
    present_.push_back(t);
    losses_.push_back(values.rows(t, t + 1).item());
  }
  if (present_.empty())
    throw ShapeError(fmt::format("{}: no task is present, expected at least one", name()));
}

void Driver::forward(Model& model, const Context& ctx, int batch) {
  evaluate(model, ctx, batch);
  std::size_t next = 0;
  for (int t = 0; t < tasks(); ++t) {
    const bool expected = next < present_.size() && present_[next] == t;
    next += expected;
    if (vars_.size() != weights_.size() || present(t) != expected) {
      throw ShapeError(
          fmt::format("{}: batch {} has other tasks than batch 0 of the same step", name(), batch));
    }
  }
}

void Driver::sweep(Tape& tape, GradientMatrix& into, const SweepOptions& options,
                   std::span<const double> scale) {
  seeds_.clear();
  for (const int t : present_) {
    const auto i = static_cast<std::size_t>(t);
    seeds_.push_back({vars_[i], t, scale.empty() ? 1 : scale[i], {}});
  }
  tape.backward(seeds_, tasks(), &into, options);
  seeds_.clear();  // Vars hold on to tensors
}

void Driver::sweep_rows(Tape& tape) {
  sweep(tape, rows_);
  gram_of(rows_, present_, gram_);
  gram_.check_finite(name(), present_);
}

void Driver::sweep_sum(Tape& tape, std::span<const double> weights, GradientMatrix& sum) {
  seeds_.clear();
  for (const int t : present_) {
    const auto i = static_cast<std::size_t>(t);
    if (weights[i] != 0) seeds_.push_back({vars_[i], 0, weights[i], {}});
  }
  tape.backward(seeds_, 1, &sum);
  seeds_.clear();
}

double Driver::squared_norm(const GradientMatrix& one) const {
  const double squared = squared_norm_of(one.row(0).rows(0, rows_.columns()));
  if (!std::isfinite(squared)) {
    throw NumericError(fmt::format(
        "{}: a combined gradient's squared norm is {}, expected a finite one", name(), squared));
  }
  return squared;
}

void Driver::clear_answer() {
  answer_.weights.assign(present_.size(), 0.0);
  answer_.residual = 0;
  answer_.note = {};
}

void Driver::spread_weights() {
  std::fill(weights_.begin(), weights_.end(), 0.0);
  for (std::size_t r = 0; r < present_.size(); ++r)
    weights_[static_cast<std::size_t>(present_[r])] = answer_.weights[r];
}

optim::Direction Driver::direction(Heads heads, optim::Part part) {
  spread_weights();
  optim::Direction d{rows_, weights_};
  if (heads == Heads::weighted) d.head_weights = weights_;
  d.part = part;
  return d;
}

Elements shared_elements(const GradientMatrix& gradients, std::span<const int> tasks) {
  return elements_of(gradients, tasks, {"shared", 0, gradients.store().shared_size()});
}

namespace {

/// The part of the Gram matrix of [a; b] beside its diagonal.
void products_on_device(const Elements& a, const Elements& b, std::span<double> out) {
  std::visit(
      [&]<class T>(const kernels::Rows<T>& x) {
        const std::int32_t n = x.count, all = n + std::get<kernels::Rows<T>>(b.rows).count;
        const Tensor both = Tensor::empty({all, a.columns}, a.dtype(), a.device);
        for (std::int32_t r = 0; r < all; ++r)
          both[r].copy_from(r < n ? row_of(a, r) : row_of(b, r - n));
        Gram gram;
        gram_of(
            Elements{a.columns, kernels::Rows<T>{both.data<T>(), a.columns, nullptr, all, false},
                     a.device},
            gram);
        for (std::int32_t i = 0; i < n; ++i)
          std::copy_n(&gram.row(i)[static_cast<std::size_t>(n)], all - n,
                      &out[static_cast<std::size_t>(i * (all - n))]);
      },
      a.rows);
}

}  // namespace

void products(const Elements& a, const Elements& b, std::span<double> out,
              std::vector<double>& scratch) {
  if (a.columns != b.columns || a.rows.index() != b.rows.index()) {
    throw ShapeError(fmt::format("products: rows of {} columns in {} and of {} in {}", a.columns,
                                 name(a.dtype()), b.columns, name(b.dtype())));
  }
  if (!(a.device == kCpu)) {
    products_on_device(a, b, out);
    return;
  }
  std::visit(
      [&]<class T>(kernels::Rows<T> x) {
        const auto y = std::get<kernels::Rows<T>>(b.rows);
        // One partial sum per part of the columns and pair of rows: the parts do not depend on the
        // number of threads.
        constexpr index_t kParts = 64, kBlock = 1024;
        const index_t part = ((a.columns + kParts - 1) / kParts + kBlock - 1) / kBlock * kBlock;
        const index_t parts = part > 0 ? (a.columns + part - 1) / part : 0;
        const std::size_t pairs = out.size();
        scratch.assign(static_cast<std::size_t>(parts) * pairs, 0.0);
#pragma omp parallel for schedule(static) if (parts > 8)
        for (index_t p = 0; p < parts; ++p) {
          double* sums = scratch.data() + static_cast<std::size_t>(p) * pairs;
          const index_t end = std::min((p + 1) * part, a.columns);
          for (index_t first = p * part; first < end; first += kBlock) {
            const index_t last = std::min(first + kBlock, end);
            for (std::int32_t i = 0; i < x.count; ++i) {
              for (std::int32_t j = 0; j < y.count; ++j) {
                const T *u = x[i], *v = y[j];
                double sum = 0;
#pragma omp simd reduction(+ : sum)
                for (index_t k = first; k < last; ++k)
                  sum += static_cast<double>(u[k]) * static_cast<double>(v[k]);
                sums[i * y.count + j] += sum;
              }
            }
          }
        }
        std::fill(out.begin(), out.end(), 0.0);
        for (std::size_t s = 0; s < scratch.size(); ++s) out[s % pairs] += scratch[s];
      },
      a.rows);
}

void save_tensor(State& state, const std::string& name, const Tensor& values) {
  const Tensor doubles = values.to(kCpu).to(DType::f64);
  state[name].assign(doubles.values<double>().begin(), doubles.values<double>().end());
}

void load_tensor(const State& state, std::string_view owner, const std::string& name,
                 const Tensor& values) {
  const auto& entry = state_entry(state, owner, name, static_cast<std::size_t>(values.numel()));
  values.copy_from(Tensor::from(std::span<const double>(entry), values.shape()).to(values.dtype()));
}

}  // namespace concord::multitask
