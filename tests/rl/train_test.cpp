// The training loop, and agents by name.
#include <concord/rl/agents/registry.h>
#include <concord/rl/registry.h>
#include <concord/rl/train.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <cstring>

using namespace concord;
using namespace concord::rl;

namespace {

std::unique_ptr<Agent> make(const OptionMap& options = {{"steps", "8"}}) {
  return make_agent("ppo", make_env("catch", {.size = 4, .seed = 2}), options, 3);
}

}  // namespace

TEST_CASE("train: reports at the steps asked for, stops when told, goes on from its checkpoint") {
  const testing::TemporaryFolder folder;
  std::vector<std::int64_t> at;
  const auto whole = make();
  std::vector<Episode> episodes;
  train(*whole, {.steps = 320, .report_every = 100, .report = [&](Agent& a) {
                   at.push_back(a.steps());
                   for (const Episode& e : a.episodes().take()) episodes.push_back(e);
                   return true;
                 }});
  CHECK(at == std::vector<std::int64_t>{128, 224, 320});
  CHECK(episodes.size() == static_cast<std::size_t>(whole->episodes().finished(0)));

  const auto path = folder.path() / "run.safetensors";
  const auto first = make();
  train(*first, {.steps = 320,
                 .report_every = 100,
                 .report = [](Agent& a) { return a.steps() < 200; },
                 .checkpoint = path});
  CHECK(first->steps() == 224);
  const auto second = make();
  train(*second, {.steps = 320, .checkpoint = path});
  CHECK(second->steps() == 320);
  const Tensor a = whole->learner().theta().values(), b = second->learner().theta().values();
  CHECK(std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
  // A run that is done stays as it is.
  train(*second, {.steps = 320, .checkpoint = path});
  CHECK(second->steps() == 320);
}

TEST_CASE("agents by name: all of them, with every option at its default") {
  for (const AgentEntry& e : agents()) {
    CAPTURE(e.name);
    OptionMap options;
    for (const auto& [name, value] : default_options_of_agent(e.name))
      if (!value.empty()) options[name] = value;
    options["hidden"] = "5,7";
    const char* env = e.discrete ? "cartpole" : "pendulum";
    const auto agent = make_agent(e.name, make_env(env, {.size = 16, .seed = 1}), options, 1);
    CHECK(agent->name() == e.name);
    CHECK(agent->steps() == 0);
  }
}

TEST_CASE("agents by name: options reach the agent, wrong ones are named") {
  const auto agent = make({{"steps", "8"},
                           {"hidden", "6"},
                           {"method", "cagrad"},
                           {"method.c", "0.2"},
                           {"apart", "true"}});
  CHECK(agent->learner().theta().store().slice(0).shape[0] == 6);
  CHECK(agent->learner().telemetry().columns()[1] == "loss_1");
  CHECK(testing::error_text<ValueError>([] {
          make({{"setps", "8"}});
        }).find("unknown option of ppo 'setps'") == 0);
  CHECK(testing::error_text<ValueError>([] {
          make({{"gamma", "1.5"}});
        }) == "ppo: option gamma is '1.5', expected a number in [0, 1]");
  CHECK(testing::error_text<ValueError>([] {
          make_agent("pqm", nullptr, {}, 1);
        }).find("unknown agent 'pqm'") == 0);
}
