// The examples of multitask/README.md, which holds examples/*.inc word for word.
#include <concord/autograd/context.h>
#include <concord/autograd/ops.h>
#include <concord/multitask/aggregate.h>
#include <concord/multitask/step.h>
#include <concord/multitask/telemetry.h>
#include <concord/optim/sgd.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace concord;
using namespace concord::multitask;

namespace {

/// Two squared distances from a point of the plane.
struct Points {
  SliceId x;
  std::vector<Tensor> goals;
};

std::vector<Var> losses_of(const Points& model, const Context& ctx) {
  std::vector<Var> losses;
  for (const Tensor& goal : model.goals) {
    const Var away = ctx.parameter(model.x) - Var(goal);
    losses.push_back(sum(away * away));
  }
  return losses;
}

}  // namespace

TEST_CASE("README: a training step in five lines") {
  ParameterStore store;
  const SliceId x = store.add("x", {2}, [](const Tensor& t, const Rng&) { t.fill(3); });
  const Points model{x, {Tensor::from<float>({1, 0}, {2}), Tensor::from<float>({0, 1}, {2})}};
  Theta theta(store);
  const Rng rng(1);
  theta.initialize(rng);
  Tape tape;
  Step step(store, make_aggregator("pcgrad"), 2);
  Telemetry telemetry(2);
  optim::Sgd optimizer(theta, {.rate = 0.05});
  for (std::int64_t i = 0; i < 200; ++i) {
#include "examples/step.inc"
  }
  CHECK(telemetry.steps() == 200);
  // On the line through the goals, where neither loss can fall without the other's rise.
  const Tensor at = theta[x];
  CHECK(std::abs(at.data<float>()[0] + at.data<float>()[1] - 1) < 1e-3);
}

TEST_CASE("README: gradients that come from elsewhere") {
  std::vector<double> theta = {1, 2, 3};
  const double rate = 0.1;
  const std::int64_t i = 0;
#include "examples/arrays.inc"
  CHECK(r.residual < 1e-9);
  CHECK(std::abs(theta[0] - (1 - rate * (3 * r.weights[0] - 4 * r.weights[1]))) < 1e-12);
}
