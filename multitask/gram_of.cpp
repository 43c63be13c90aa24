#include <concord/autograd/gradient_matrix.h>
#include <concord/multitask/gram.h>
#include <concord/tensor/kernels/kernels.h>

namespace concord::multitask {

void gram_of(const GradientMatrix& gradients, std::span<const int> tasks, Gram& gram) {
  const int count = tasks.empty() ? gradients.tasks() : static_cast<int>(tasks.size());
  gram.resize(count);
  kernels::on(gradients.row(0), [&]<class T>(const kernels::Kernels<T>& k) {
    kernels::Rows<T> rows = gradients.rows<T>();
    if (!tasks.empty()) {
      rows.map = tasks.data();
      rows.count = count;
    }
    k.gram(gradients.columns(), rows, gram.values().data());
  });
}

}  // namespace concord::multitask
