#include <concord/autograd/gradient_matrix.h>
#include <concord/multitask/blocks.h>
#include <concord/multitask/elements.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

namespace concord::multitask {

Elements elements_of(const GradientMatrix& gradients, std::span<const int> tasks,
                     const Block& block) {
  if (gradients.device() != kCpu) {
    throw DeviceError("multitask: methods that work on elements have no kernel for this device",
                      {{"gradients", describe(gradients.row(0))}});
  }
  const auto rows = [&]<class T>(kernels::Rows<T> r) {
    r.base += block.first;
    if (!tasks.empty()) {
      r.map = tasks.data();
      r.count = static_cast<std::int32_t>(tasks.size());
    }
    return r;
  };
  Elements elements{block.size, {}};
  if (gradients.dtype() == DType::f32) {
    elements.rows = rows(gradients.rows<float>());
  } else {
    elements.rows = rows(gradients.rows<double>());
  }
  return elements;
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
