#include <concord/autograd/gradient_matrix.h>
#include <concord/multitask/blocks.h>
#include <concord/multitask/elements.h>
#include <concord/tensor/check.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

namespace concord::multitask {

Elements elements_of(const GradientMatrix& gradients, std::span<const int> tasks,
                     const Block& block) {
  const auto rows = [&]<class T>(kernels::Rows<T> r) {
    r.base += block.first;
    if (!tasks.empty()) {
      r.map = tasks.data();
      r.count = static_cast<std::int32_t>(tasks.size());
    }
    return r;
  };
  Elements elements{block.size, {}, gradients.device()};
  if (gradients.dtype() == DType::f32) {
    elements.rows = rows(gradients.rows<float>());
  } else {
    elements.rows = rows(gradients.rows<double>());
  }
  return elements;
}

Elements rows_of(const Tensor& cotangents, std::span<const int> tasks) {
  Elements e{cotangents.numel() / cotangents.dim(0), {}, cotangents.device()};
  const auto rows = [&]<class T>() {
    return kernels::Rows<T>{cotangents.data<T>(), e.columns, tasks.data(),
                            static_cast<std::int32_t>(tasks.size()), false};
  };
  if (cotangents.dtype() == DType::f32) {
    e.rows = rows.operator()<float>();
  } else {
    e.rows = rows.operator()<double>();
  }
  return e;
}

Elements elements_of(const Tensor& row) {
  if (row.dtype() == DType::f32)
    return {row.numel(), kernels::one_row(row.data<float>()), row.device()};
  return {row.numel(), kernels::one_row(row.data<double>()), row.device()};
}

Tensor row_of(const Elements& e, std::int32_t r) {
  return std::visit(
      [&](const auto& rows) { return Tensor::borrow(rows[r], {e.columns}, e.device); }, e.rows);
}

OnHost::OnHost(const Elements& rows) : rows_(rows), host_(rows) {
  if (rows.device == kCpu) return;
  std::visit(
      [&]<class T>(const kernels::Rows<T>& r) {
        copies_ = Tensor::empty({r.count, rows.columns}, rows.dtype());
        for (std::int32_t i = 0; i < r.count; ++i) copies_[i].copy_from(row_of(rows, i));
        host_ = {rows.columns,
                 kernels::Rows<T>{copies_.data<T>(), rows.columns, nullptr, r.count, false}, kCpu};
      },
      rows.rows);
}

void OnHost::put_back() const {
  if (!copies_.defined()) return;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(copies_.dim(0)); ++i)
    row_of(rows_, i).copy_from(copies_[i]);
}

void gram_of(const Elements& rows, Gram& gram) {
  std::visit(
      [&]<class T>(const kernels::Rows<T>& r) {
        gram.resize(r.count);
        const Tensor products = Tensor::empty({r.count, r.count}, DType::f64, rows.device);
        kernels::table<T>(rows.device).gram(rows.columns, r, products.data<double>());
        const Tensor host = products.to(kCpu);
        std::copy_n(host.data<double>(), host.numel(), gram.values().data());
      },
      rows.rows);
}

double squared_norm_of(const Tensor& x) {
  const Tensor result = Tensor::empty({}, DType::f64, x.device());
  kernels::on(x, [&]<class T>(const kernels::Kernels<T>& k) {
    k.norm_squared(x.numel(), x.data<T>(), result.data<double>());
  });
  return result.item();
}

const Tensor& TaskVectors::at(int task, const Elements& like, std::string_view owner) {
  const auto i = static_cast<std::size_t>(task);
  if (i >= by_task_.size()) by_task_.resize(i + 1);
  Tensor& vector = by_task_[i];
  if (!vector.defined()) vector = Tensor::zeros({like.columns}, like.dtype());
  if (vector.numel() != like.columns) {
    throw ShapeError(fmt::format("{}: gradients of {} columns, the state of task {} has {}", owner,
                                 like.columns, task, vector.numel()));
  }
  if (vector.dtype() != like.dtype()) vector = vector.to(like.dtype());
  return vector;
}

void TaskVectors::save(State& state, const std::string& name) const {
  for (std::size_t t = 0; t < by_task_.size(); ++t) {
    if (!by_task_[t].defined()) continue;
    const Tensor values = by_task_[t].to(DType::f64);
    state[name + "." + std::to_string(t)].assign(values.values<double>().begin(),
                                                 values.values<double>().end());
  }
}

void TaskVectors::load(const State& state, const std::string& name) {
  by_task_.clear();
  for (const auto& [key, values] : state) {
    if (key.rfind(name + ".", 0) != 0) continue;
    const auto task = static_cast<std::size_t>(std::stoul(key.substr(name.size() + 1)));
    if (task >= by_task_.size()) by_task_.resize(task + 1);
    by_task_[task] =
        Tensor::from(std::span<const double>(values), {static_cast<index_t>(values.size())});
  }
}

}  // namespace concord::multitask
