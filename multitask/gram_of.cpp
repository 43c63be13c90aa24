#include <concord/autograd/gradient_matrix.h>
#include <concord/multitask/blocks.h>
#include <concord/multitask/gram.h>
#include <concord/tensor/kernels/kernels.h>

namespace concord::multitask {

void gram_of(const GradientMatrix& gradients, std::span<const int> tasks, Gram& gram) {
  gram_of(gradients, tasks, {"", 0, gradients.columns()}, gram);
}

void gram_of(const GradientMatrix& gradients, std::span<const int> tasks, const Block& block,
             Gram& gram) {
  const int count = tasks.empty() ? gradients.tasks() : static_cast<int>(tasks.size());
  gram.resize(count);
  const auto take = [&]<class Row>(auto kernel) {
    kernels::Rows<Row> rows = gradients.rows<Row>();
    rows.base += block.first;
    if (!tasks.empty()) {
      rows.map = tasks.data();
      rows.count = count;
    }
    kernel(block.size, rows, gram.values().data());
  };
  kernels::on(gradients.heads(), [&]<class T>(const kernels::Kernels<T>& k) {
    if (gradients.storage() == RowStorage::bf16)
      take.template operator()<BFloat16>(k.gram_bf16);
    else
      take.template operator()<T>(k.gram);
  });
}

}  // namespace concord::multitask
