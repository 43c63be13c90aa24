// Two tasks share a small network; PCGrad decides how their gradients are combined.
#include <concord/autograd/ops.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/step.h>
#include <concord/nn/network.h>
#include <concord/optim/adam.h>

#include <cstdio>

using namespace concord;

int main() {
  // The model is one vector θ; the store is the table that says what is where.
  ParameterStore store;
  const auto net = nn::make_network("mlp", Scope(store), {.input = {8}, .outputs = {2, 2}});
  const Theta theta(store);
  theta.initialize(Rng(1));
  optim::Adam adam(theta, {.rate = 1e-3});
  multitask::Step step(store, multitask::make_aggregator("pcgrad"), 2);

  // Task 0 asks for the sign of the first input, task 1 for the sign of the sum of the first two.
  const Tensor x = Tensor::empty({256, 8});
  Rng(2).fill_normal(x);
  const Tensor first = Tensor::empty({256}, DType::i64), both = Tensor::empty({256}, DType::i64);
  for (index_t i = 0; i < 256; ++i) {
    first.data<std::int64_t>()[i] = x.at({i, 0}) > 0;
    both.data<std::int64_t>()[i] = x.at({i, 0}) + x.at({i, 1}) > 0;
  }

  Tape tape;
  for (int i = 0; i < 100; ++i) {
    tape.reset();
    const Context ctx{.theta = &theta, .tape = &tape, .training = true};
    const auto y = (*net)(ctx, x);
    const std::vector<Var> losses{cross_entropy(y[0], first), cross_entropy(y[1], both)};
    step.backward(tape, losses, {.step = i, .rng = Rng(3)});  // one sweep, T rows, the method
    adam.step(theta, step.direction());
    if (i % 33 == 0) {
      std::printf("step %2d   losses %.3f %.3f   cosine %+.2f\n", i, losses[0].item(),
                  losses[1].item(), step.gram().cosine(0, 1));
    }
  }
  return step.losses()[0] < 0.1 && step.losses()[1] < 0.1 ? 0 : 1;
}
