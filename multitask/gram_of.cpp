#include <concord/autograd/gradient_matrix.h>
#include <concord/multitask/blocks.h>
#include <concord/multitask/elements.h>
#include <concord/multitask/gram.h>

namespace concord::multitask {

void gram_of(const GradientMatrix& gradients, std::span<const int> tasks, Gram& gram) {
  gram_of(gradients, tasks, {"", 0, gradients.columns()}, gram);
}

void gram_of(const GradientMatrix& gradients, std::span<const int> tasks, const Block& block,
             Gram& gram) {
  gram_of(elements_of(gradients, tasks, block), gram);
}

}  // namespace concord::multitask
