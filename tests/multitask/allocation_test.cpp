// No method asks for memory once it has seen a number of tasks: its own program, as it counts every
// request.
#include <concord/multitask/elements.h>
#include <concord/multitask/registry.h>
#include <concord/tests/multitask/counting_new.h>
#include <concord/tests/multitask/matrices.h>

#include <doctest/doctest.h>

using namespace concord;
using namespace concord::multitask;

TEST_CASE("steady calls of every method allocate nothing for up to 64 tasks") {
  for (const int tasks : {1, 2, 10, 40, 64}) {
    std::vector<Matrix> matrices;
    std::vector<Gram> grams;
    for (int i = 0; i < 8; ++i) {
      // Of full rank, of deficient rank, with conflicts and without.
      const Rng rng = Rng(19).fork(static_cast<std::uint64_t>(i));
      matrices.push_back(i % 2 ? of_rank(tasks, 90, 1 + tasks / 2, rng) : gaussian(tasks, 90, rng));
      grams.push_back(Gram::of(matrices.back().values, tasks, 90));
    }
    std::vector<double> losses(static_cast<std::size_t>(tasks), 1.0), halves(losses.size(), 0.5);
    for (const MethodInfo& info : methods()) {
      if (info.name == "krum" && tasks < 4) continue;
      CAPTURE(tasks);
      CAPTURE(info.name);
      std::string w = "1";
      for (int t = 1; t < tasks; ++t) w += ",1";
      const auto method =
          make_aggregator(info.name, info.name == "constant" ? OptionMap{{"w", w}} : OptionMap{});
      Direction d;
      long before = 0;
      for (std::size_t i = 0; i < 3 * matrices.size(); ++i) {
        if (i == 2 * matrices.size()) before = testing::new_calls;
        Matrix& m = matrices[i % matrices.size()];
        const StepInputs in{grams[i % grams.size()], losses, static_cast<std::int64_t>(i), 0,
                            Rng(1)};
        if (method->needs_elements())
          method->rewrite(in, {90, kernels::Rows<double>{m.values.data(), 90, nullptr, tasks}});
        method->weights(in, d);
        if (method->needs_losses_after()) method->after_step(halves);
      }
      if (testing::kCountsNew) CHECK(testing::new_calls == before);
    }
  }
}
