// Zeng et al.'s study: the outcomes on the maps, the same bits through interruptions, the report.
// Several ranks: experiments.mpi (mpi_test.sh).
#include <concord/experiments/zeng.h>
#include <concord/experiments/zeng_maps.h>
#include <concord/rl/worlds.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/experiments/run_files.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <csignal>

using namespace concord;
using namespace concord::experiments;
using concord::testing::text_of;

namespace {

struct MapRun {
  MapOutcome outcome;
  double disagreement = 0;
};

/// The mean policy of a ring (1/6, 2/3, 1/6) after 10,000 exact steps of size 1.
MapRun train(char map, double gamma) {
  std::vector<rl::TabularTask> tasks;
  for (int i = 0; i < rl::zeng_environments(map); ++i)
    tasks.emplace_back(rl::make_mdp("map", rl::zeng_world(map, i), {}), gamma);
  const int n = static_cast<int>(tasks.size());
  const auto comm = connect();
  rl::DecentralisedAgents agents(
      *comm, tasks, rl::mixing_weights(rl::make_graph("ring", n), rl::Metropolis::degree_plus_one),
      {});
  for (int k = 0; k < 10000; ++k) agents.step();
  const Tensor& theta = agents.collect();
  std::vector<double> mean(400, 0.0);
  for (int i = 0; i < n; ++i)
    for (std::size_t k = 0; k < 400; ++k) mean[k] += theta[i].data<double>()[k] / n;
  MapRun t{map_outcome(map, mean)};
  for (int i = 0; i < n; ++i)
    for (std::size_t k = 0; k < 400; ++k)
      t.disagreement = std::max(t.disagreement, std::abs(theta[i].data<double>()[k] - mean[k]));
  return t;
}

}  // namespace

TEST_CASE("the maps come out as in the paper: all goals in a, b and e, not all in c and d") {
  const MapRun a = train('a', 0.99), b = train('b', 0.99), c = train('c', 0.95),
               d = train('d', 0.95), e = train('e', 0.95);
  CHECK(a.outcome.solved() == 4);
  CHECK(b.outcome.solved() == 4);
  CHECK(c.outcome.solved() == 3);
  CHECK(d.outcome.solved() < 6);
  CHECK(e.outcome.solved() == 6);
  CHECK(a.disagreement < 0.003);
  CHECK(c.disagreement < 0.003);
  CHECK(d.disagreement > 0.2);
  CHECK(d.disagreement < 0.6);
  CHECK(e.disagreement < 0.003);
  for (const double share : e.outcome.success) CHECK(share == 1);
  CHECK(e.outcome.path.front() == 9);  // j0
}

TEST_CASE("zeng: the same bits through an interruption at every look, and a report") {
  const Experiment e = zeng();
  Settings s = e.settings();
  for (const char* pair : {"studies=chain,maps,arms,sampled,theory", "maps=c", "gammas=0.95",
                           "lambdas=0", "iterations=40", "sampled_steps=12", "seeds=2",
                           "episodes=2", "max_steps=60", "log_every=20"})
    s.assign(pair);
  const testing::TemporaryFolder temporary;
  const auto comm = connect();
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));
  const auto folder_for = [&] {
    return RunFolder::create(temporary.path(), "zeng",
                             Json::object({{"experiment", "zeng"},
                                           {"command", s.command()},
                                           {"settings", s.to_json()},
                                           {"machine", Json::object({{"threads", 1}})}}));
  };
  const RunFolder through = folder_for(), stopped = folder_for();
  Job job{s, through, progress, false, comm.get()};
  REQUIRE(e.run(job));
  s.assign("studies=maps,sampled,arms");  // the chain would be stopped a thousand times
  const RunFolder part = folder_for(), interrupted = folder_for();
  Job whole{s, part, progress, false, comm.get()};
  REQUIRE(e.run(whole));
  Job again{s, interrupted, progress, false, comm.get()};
  int interruptions = 0;
  for (bool finished = false; !finished; ++interruptions) {
    const StopOnSignal guard;
    std::raise(SIGINT);
    finished = e.run(again);
    REQUIRE(interruptions < 100);
  }
  CHECK(interruptions ==
        15);  // maps 2, sampled 2 seeds, arms 5 * 2, and the run that finds the end
  CHECK(text_of(interrupted.metrics()) == text_of(part.metrics()));

  const Report report = e.report(std::span(&through, 1), through.plots());
  REQUIRE(report.sections.size() >= 5);
  CHECK(report.sections[0].tables[0].text().find("1.512605") != std::string::npos);
  CHECK(report.sections[1].drawings[0].svg.starts_with("<svg"));
  CHECK(report.sections[1].tables[0].text().find("3 of 4") != std::string::npos);
  CHECK(report.sections[4].tables[0].text().find("path") != std::string::npos);
}
