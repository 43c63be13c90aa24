#include <concord/optim/optimizer.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace concord::optim {
namespace {

/// Calls f(first, n, weighted rows) for the pieces of columns [first, first + size) that have one
/// weight per row, in order.
template <class T, class F>
void for_each_block(const Direction& d, index_t first, index_t size, F&& f) {
  const index_t end = first + size;
  kernels::WeightedRows<T> rows{.weight = d.weights.data()};
  const auto begin_at = [&](const auto& all) {
    rows.stride = all.stride;
    rows.count = all.count;
    return all.base + first;
  };
  const bool bf16 = d.gradients.storage() == RowStorage::bf16;
  if (bf16)
    rows.bf16 = begin_at(d.gradients.rows<BFloat16>());
  else
    rows.base = begin_at(d.gradients.rows<T>());
  for (std::size_t b = 0; first < end; ++b, rows.weight += rows.count) {
    const index_t stop = d.block_ends.empty() ? end : std::min(end, d.block_ends[b]);
    if (stop <= first) continue;
    f(first, stop - first, rows);
    if (bf16)
      rows.bf16 += stop - first;
    else
      rows.base += stop - first;
    first = stop;
  }
}

/// A weighted sum of |x_i|^2, whose terms stay where the x_i are until it is read: on a device, one
/// wait.
template <class T>
class SquaredNorms {
 public:
  SquaredNorms(Device device, index_t most)
      : kernels_(kernels::table<T>(device)),
        terms_(Tensor::empty({most}, DType::f64, device)),
        factors_(Tensor::empty({most}, DType::f64)) {}

  void add(index_t n, const T* x, double factor = 1) {
    kernels_.norm_squared(n, x, terms_[count_].template data<double>());
    factors_.data<double>()[count_++] = factor;
  }
  /// `first` and all terms, in order.
  double sum(double first) const {
    const Tensor terms = terms_.to(kCpu);
    double sum = first;
    for (index_t i = 0; i < count_; ++i)
      sum += factors_.data<double>()[i] * terms.data<double>()[i];
    return sum;
  }

 private:
  const kernels::Kernels<T>& kernels_;
  Tensor terms_, factors_;
  index_t count_ = 0;
};

constexpr index_t kPiece = 1 << 16;

/// The terms of |d|^2 over the shared columns, formed piece by piece: the way to go without a Gram
/// matrix.
template <class T>
void add_shared(const Direction& d, SquaredNorms<T>& norms) {
  const GradientMatrix& g = d.gradients;
  const Tensor piece = Tensor::empty({std::min(kPiece, g.columns())}, dtype_of<T>, g.device());
  for (index_t first = 0; first < g.columns(); first += kPiece) {
    for_each_block<T>(d, first, std::min(kPiece, g.columns() - first),
                      [&](index_t, index_t n, const kernels::WeightedRows<T>& rows) {
                        kernels::table<T>(g.device()).combine(n, rows, piece.data<T>());
                        norms.add(n, piece.data<T>());
                      });
  }
}

/// A part of θ that moves alike: neighbouring slices of one group with equal factors.
struct Run {
  index_t offset, size;
  int group;
  double rate_factor, decay_factor;
};

/// Calls f(Run) for what is not frozen of a part, in order.
template <class F>
void for_each_run(const ParameterStore& store, Part part, F&& f) {
  const auto& layout = store.layout();
  for (std::size_t i = 0; i < layout.size();) {
    const Slice& first = store.slice(layout[i]);
    std::size_t end = i + 1;
    for (; end < layout.size(); ++end) {
      const Slice& s = store.slice(layout[end]);
      if (s.group != first.group || s.frozen != first.frozen ||
          s.rate_factor != first.rate_factor || s.decay_factor != first.decay_factor) {
        break;
      }
    }
    const index_t stop = end < layout.size() ? store.slice(layout[end]).offset : store.size();
    const bool wanted = part == Part::all || (part == Part::shared) == (first.group == kShared);
    if (wanted && !first.frozen)
      f(Run{first.offset, stop - first.offset, first.group, first.rate_factor, first.decay_factor});
    i = end;
  }
}

}  // namespace

template <class T>
void Optimizer::step_as(const Theta& theta, const Direction& d, double norm_squared) {
  const GradientMatrix& g = d.gradients;
  const bool split = g.heads().numel() > 0;  // heads stand apart from the rows
  const auto head_weight = [&](int task) {
    return d.head_weights.empty() ? 1.0 : d.head_weights[static_cast<std::size_t>(task)];
  };

  kernels::StepScalars scalars;
  scalars.clip_value = clip.value;
  if (clip.norm > 0) {
    if (!split && d.part != Part::all && store_.head_groups() > 0) {
      throw UsageError("optimizer: clipping a part needs gradients whose heads stand apart");
    }
    SquaredNorms<T> norms(g.device(), store_.slices() + g.columns() / kPiece + 1 +
                                          static_cast<index_t>(d.block_ends.size()));
    const bool known = norm_squared >= 0 && d.part != Part::heads;
    if (!known && d.part != Part::heads) add_shared(d, norms);
    if (split && d.part != Part::shared) {
      for_each_run(store_, Part::heads, [&](const Run& run) {
        norms.add(run.size, g.heads().data<T>() + (run.offset - g.columns()),
                  head_weight(run.group) * head_weight(run.group));
      });
    }
    const double squared = norms.sum(known ? norm_squared : 0);
    const double norm = std::sqrt(squared);
    if (!std::isfinite(norm)) {
      throw NumericError(
          fmt::format("optimizer: the direction's norm is {}, clipping needs a finite one", norm));
    }
    scalars.clip = std::min(1.0, clip.norm / (norm + 1e-6));  // as torch.nn.utils.clip_grad_norm_
  }
  scalars.first = steps_ == 0;
  for_each_run(store_, d.part, [&](const Run& run) {
    scalars.rate = rate_ * run.rate_factor;
    scalars.decay = decay_ * run.decay_factor;
    if (!split || run.group == kShared) {
      for_each_block<T>(d, run.offset, run.size,
                        [&](index_t first, index_t n, const kernels::WeightedRows<T>& rows) {
                          update(theta, first, n, scalars, rows);
                        });
    } else {
      const double weight = head_weight(run.group);
      update(theta, run.offset, run.size, scalars,
             kernels::WeightedRows<T>{g.heads().data<T>() + (run.offset - g.columns()), 0, 1,
                                      &weight});
    }
  });
  ++steps_;
}

void Optimizer::step(const Theta& theta, const Direction& d, double shared_norm_squared) {
  const auto start = std::chrono::steady_clock::now();
  if (&theta.store() != &store_ || &d.gradients.store() != &store_) {
    throw UsageError("optimizer: θ, gradients and optimiser belong to different parameter stores");
  }
  const std::size_t blocks = std::max<std::size_t>(d.block_ends.size(), 1);
  if (d.weights.size() != blocks * static_cast<std::size_t>(d.gradients.tasks())) {
    throw ShapeError(fmt::format("optimizer: {} weights for {} gradient rows{}", d.weights.size(),
                                 d.gradients.tasks(),
                                 blocks == 1 ? "" : fmt::format(" in {} blocks", blocks)));
  }
  if (!d.block_ends.empty() && d.block_ends.back() != d.gradients.columns()) {
    throw ShapeError(fmt::format("optimizer: blocks up to column {} of {}", d.block_ends.back(),
                                 d.gradients.columns()));
  }
  if (!d.head_weights.empty() && static_cast<int>(d.head_weights.size()) < store_.head_groups()) {
    throw ShapeError(fmt::format("optimizer: {} head weights for {} tasks", d.head_weights.size(),
                                 store_.head_groups()));
  }
  check_same_kind("optimizer", "parameters", theta.values(), "gradients", d.gradients.heads());
  if (theta.dtype() == DType::f32)
    step_as<float>(theta, d, shared_norm_squared);
  else
    step_as<double>(theta, d, shared_norm_squared);
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace concord::optim
