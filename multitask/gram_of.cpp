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
  kernels::on(gradients.row(0), [&]<class T>(const kernels::Kernels<T>& k) {
    kernels::Rows<T> rows = gradients.rows<T>();
    rows.base += block.first;
    if (!tasks.empty()) {
      rows.map = tasks.data();
      rows.count = count;
    }
    k.gram(block.size, rows, gram.values().data());
  });
}

}  // namespace concord::multitask
