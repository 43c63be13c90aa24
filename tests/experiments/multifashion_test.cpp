// The main job on a small part of the real data: same bits twice, same bits through interruptions.
#include <concord/experiments/multifashion.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <csignal>
#include <fstream>
#include <iterator>

using namespace concord;
using namespace concord::experiments;

namespace {

Settings small(const Experiment& e, const std::vector<std::string>& more = {}) {
  Settings s = e.settings();
  for (const char* pair : {"train=150", "validation=60", "test=70", "epochs=2", "batch=64",
                           "seeds=2", "log_every=2", "methods=left_alone,cagrad"}) {
    s.assign(pair);
  }
  for (const auto& pair : more) s.assign(pair);
  return s;
}

RunFolder folder_for(const std::filesystem::path& parent, const Settings& s) {
  const Json machine = Json::object({{"threads", 2}});
  return RunFolder::create(parent, "multifashion",
                           Json::object({{"experiment", "multifashion"},
                                         {"command", s.command()},
                                         {"settings", s.to_json()},
                                         {"machine", machine}}));
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Outcome {
  std::string metrics, telemetry;
  Tensor weights;
};

Outcome outcome(const RunFolder& folder) {
  return {text_of(folder.metrics()), text_of(folder.path() / "telemetry.csv"),
          load_safetensors(folder.checkpoint("cagrad-seed2")).tensors.at("conv2.weight")};
}

}  // namespace

TEST_CASE(
    "the metrics have the same bits in a second run and through an interruption after every step") {
  const Experiment e = multifashion();
  const Settings s = small(e);
  const testing::TemporaryFolder temporary;
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));

  std::vector<Outcome> runs;
  for (int i = 0; i < 2; ++i) {
    const StopOnSignal guard;
    const RunFolder folder = folder_for(temporary.path(), s);
    Job job{s, folder, progress};
    REQUIRE(e.run(job));
    runs.push_back(outcome(folder));
  }
  const RunFolder folder = folder_for(temporary.path(), s);
  int interruptions = 0;
  for (bool finished = false; !finished; ++interruptions) {
    const StopOnSignal guard;
    std::raise(SIGINT);
    Job job{s, folder, progress};
    finished = e.run(job);
    REQUIRE(interruptions < 100);
  }
  CHECK(interruptions >= 24);  // 2 arms, 2 seeds, 2 epochs of 3 steps
  runs.push_back(outcome(folder));

  CHECK(runs[0].metrics.find("cagrad,2,2,test,right,") != std::string::npos);
  for (std::size_t i = 1; i < runs.size(); ++i) {
    CAPTURE(i);
    CHECK(runs[i].metrics == runs[0].metrics);
    CHECK(runs[i].telemetry == runs[0].telemetry);
    CHECK(testing::relative_error(runs[i].weights, runs[0].weights) == 0);
  }
}

TEST_CASE("options of methods are settings, and mistakes name the nearest") {
  const Experiment e = multifashion();
  Settings s = e.settings();
  s.assign("cagrad.c=0.2");
  CHECK(s.text("cagrad.c") == "0.2");
  const std::string text = testing::error_text<ValueError>([&] { s.assign("cagrad.cc=1"); });
  CHECK(text.find("cagrad.c") != std::string::npos);
  CHECK(testing::error_text<ValueError>([&] {
          s.assign("methods=pcgradd");
        }).starts_with("unknown method 'pcgradd'"));
  CHECK(testing::error_text<ValueError>([&] {
          s.assign("net=lenett");
        }).starts_with("unknown network 'lenett'"));
}

TEST_CASE("the report has the table, the plots' titles and the way to repeat it") {
  const Experiment e = multifashion();
  const Settings s = small(e, {"epochs=1", "seeds=1"});
  const testing::TemporaryFolder temporary;
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));
  const RunFolder folder = folder_for(temporary.path(), s);
  const StopOnSignal guard;
  Job job{s, folder, progress};
  REQUIRE(e.run(job));
  const Report one = e.report(std::span(&folder, 1), folder.plots());
  const std::string table = one.sections.front().tables.front().text();
  CHECK(table.find("left_alone") != std::string::npos);
  CHECK(table.find("cagrad") != std::string::npos);
  CHECK(table.find("Δm") != std::string::npos);

  const std::vector<RunFolder> two{folder, folder};
  const Report both = e.report(two, folder.plots());
  CHECK(both.sections.front().tables.front().text().find(folder.path().filename().string() +
                                                         ": cagrad") != std::string::npos);
}
