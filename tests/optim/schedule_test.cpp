#include <concord/optim/schedule.h>
#include <concord/tests/golden.h>

#include <doctest/doctest.h>

using namespace concord;
using namespace concord::testing;
namespace optim = concord::optim;

namespace {

void check_schedule(const char* name, const optim::Schedule& schedule) {
  static const Golden golden("schedules");
  constexpr double kRate = 0.4;  // generate.py's
  const Tensor& rates = golden[name];
  for (index_t i = 0; i < rates.numel(); ++i) {
    CAPTURE(name);
    CAPTURE(i);
    CHECK(kRate * schedule(i) == doctest::Approx(rates.at({i})).epsilon(1e-12));
  }
}

}  // namespace

TEST_CASE("schedules agree with torch.optim.lr_scheduler") {
  check_schedule("step", optim::step_decay(5, 0.3));
  check_schedule("multi_step", optim::multi_step({4, 11, 12}, 0.2));
  check_schedule("cosine", optim::cosine(22, 0.1));
  check_schedule("warm_up_cosine", optim::warm_up(6, 0.1, optim::cosine(16)));
  check_schedule("one_cycle", optim::one_cycle(31));
  check_schedule(
      "one_cycle_linear",
      optim::one_cycle(31,
                       {.rising = 0.4, .start_divisor = 10, .final_divisor = 100, .linear = true}));
}

TEST_CASE("schedules stay where they end") {
  CHECK(optim::cosine(10, 0.2)(10) == doctest::Approx(0.2));
  CHECK(optim::cosine(10, 0.2)(500) == doctest::Approx(0.2));
  CHECK(optim::one_cycle(31)(500) == doctest::Approx(optim::one_cycle(31)(30)));
  CHECK(optim::warm_up(4, 0, optim::constant())(4) == 1);
  CHECK(optim::warm_up(4, 0, optim::constant())(0) == 0);
}

TEST_CASE("schedules by name, and errors") {
  for (const std::string_view name : optim::schedule_names()) {
    const optim::Schedule s = optim::make_schedule(name, 100);
    for (const std::int64_t step : {0, 1, 50, 99, 100}) {
      CHECK(s(step) >= 0);
      CHECK(s(step) <= 1);
    }
  }
  CHECK(error_text<ValueError>([] { optim::make_schedule("cosin", 10); }) ==
        "unknown schedule 'cosin'\n"
        "  nearest  cosine, warm_up_cosine\n"
        "  valid    constant, step, cosine, warm_up_cosine, one_cycle");
  CHECK(error_text<ValueError>([] { optim::step_decay(0, 0.1); }) ==
        "schedule: step needs a length of at least 1");
  CHECK(error_text<ValueError>([] { optim::cosine(0); }) ==
        "schedule: cosine needs a length of at least 1");
  CHECK(error_text<ValueError>([] { optim::warm_up(0, 0.1, optim::constant()); }) ==
        "schedule: warm-up needs a length of at least 1");
  CHECK(error_text<ValueError>([] { optim::one_cycle(1); }) ==
        "schedule: one_cycle needs at least 2 steps");
}
