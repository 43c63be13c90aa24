// The main job on a small part of the real data: same bits twice, same bits through interruptions.
#include <concord/experiments/multifashion.h>
#include <concord/experiments/verbs.h>
#include <concord/tensor/device.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/experiments/run_files.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <tuple>

using namespace concord;
using namespace concord::experiments;
using concord::testing::folder_for;
using concord::testing::text_of;

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

struct Outcome {
  std::string metrics, telemetry, layers;
  Tensor weights;
};

Outcome outcome(const RunFolder& folder) {
  return {text_of(folder.metrics()), text_of(folder.path() / "telemetry.csv"),
          text_of(folder.path() / "layers.csv"),
          load_safetensors(folder.checkpoint("cagrad-seed2")).tensors.at("conv2.weight")};
}

}  // namespace

TEST_CASE("a device that is not there: one sentence, and no folder") {
  const testing::TemporaryFolder temporary;
  const auto text = [&](const char* device) {
    return testing::error_text<Error>([&] {
      run({.experiment = "multifashion",
           .assignments = {std::string("device=") + device},
           .out = temporary.path()},
          "concord");
    });
  };
  CHECK(text("gpu") == "device: 'gpu' is none; cpu, cuda or cuda:1");
  if (why_no_cuda().empty())
    CHECK(text("cuda:99").find("device: cuda:99 is not there, the last one is cuda:") == 0);
  else
    CHECK(text("cuda") == "device: cuda is not there: " + why_no_cuda());
  CHECK(std::filesystem::is_empty(temporary.path()));
}

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

  CHECK(runs[0].layers.find("cagrad,2,0,6,conv2,") != std::string::npos);
  CHECK(runs[0].metrics.find("cagrad,2,0,2,test,right,") != std::string::npos);
  for (std::size_t i = 1; i < runs.size(); ++i) {
    CAPTURE(i);
    CHECK(runs[i].metrics == runs[0].metrics);
    CHECK(runs[i].telemetry == runs[0].telemetry);
    CHECK(runs[i].layers == runs[0].layers);
    CHECK(testing::relative_error(runs[i].weights, runs[0].weights) == 0);
  }
}

TEST_CASE("a grid is chosen from on the validation part, and resumed to the bit in its midst") {
  const Experiment e = multifashion();
  const Settings s = small(e, {"epochs=1", "batch=100", "methods=left_alone,cagrad,pcgrad",
                               "grid=lr=1e-3:3e-5,cagrad.c=0.2:0.8"});
  const testing::TemporaryFolder temporary;
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));
  const RunFolder whole = folder_for(temporary.path(), s), cut = folder_for(temporary.path(), s);
  {
    const StopOnSignal guard;
    Job job{s, whole, progress};
    REQUIRE(e.run(job));
  }
  int interruptions = 0;
  for (bool finished = false; !finished; ++interruptions) {
    const StopOnSignal guard;
    std::raise(SIGINT);
    Job job{s, cut, progress};
    finished = e.run(job);
    REQUIRE(interruptions < 100);
  }
  CHECK(interruptions >= 32);  // 8 trials, 2 seeds, 2 steps
  CHECK(text_of(cut.metrics()) == text_of(whole.metrics()));
  CHECK(text_of(cut.path() / "layers.csv") == text_of(whole.path() / "layers.csv"));

  // One trial per arm has met the test part, with both seeds: the best on the validation part.
  const CsvTable metrics = CsvTable::load(whole.metrics());
  for (const auto& [arm, trials, tasks] :
       {std::tuple{"left_alone", 2, 1}, {"cagrad", 4, 2}, {"pcgrad", 2, 2}}) {
    CAPTURE(arm);
    CHECK(trials_of(s, arm).size() == static_cast<std::size_t>(trials));
    std::vector<double> validation(static_cast<std::size_t>(trials));
    std::vector<int> tested(static_cast<std::size_t>(trials));
    for (std::size_t r = 0; r < metrics.rows.size(); ++r) {
      if (metrics.text(r, "arm") != arm) continue;
      const auto trial = static_cast<std::size_t>(metrics.number(r, "trial"));
      if (metrics.text(r, "part") == "validation")
        validation[trial] += metrics.number(r, "accuracy");
      if (metrics.text(r, "part") == "test") ++tested[trial];
    }
    const auto best = std::max_element(validation.begin(), validation.end()) - validation.begin();
    CHECK(chosen_trial(metrics, arm) == best);
    for (int t = 0; t < trials; ++t)
      CHECK(tested[static_cast<std::size_t>(t)] == (t == best ? 2 * tasks : 0));
  }
  const std::string table =
      e.report(std::span(&whole, 1), whole.plots()).sections.front().tables.front().text();
  CHECK(table.find("tried") != std::string::npos);
  CHECK(table.find("lr=1e-3 cagrad.c=") != std::string::npos);
  CHECK(e.evaluate(whole, "test").text().find("cagrad") != std::string::npos);
}

TEST_CASE("grids: what they may vary, and the weights of the arm constant") {
  const Experiment e = multifashion();
  Settings s = e.settings();
  CHECK(trials_of(s, "pcgrad").size() == 1);
  CHECK(trials_of(s, "constant").size() == 9);
  CHECK(to_string(trials_of(s, "constant")[2]) == "constant.w=0.3,0.7");
  s.assign("grid=constant.w=1,2:2,1,lr=0.1");
  CHECK(trials_of(s, "constant").size() == 2);
  s.assign("grid=lr=0.1:0.2");
  CHECK(trials_of(s, "constant").size() == 18);
  s.assign("constant.w=1,1");
  CHECK(trials_of(s, "constant").size() == 2);
  s.assign("grid=epochs=1:2");
  CHECK(testing::error_text<ValueError>([&] {
          trials_of(s, "pcgrad");
        }).starts_with("unknown setting of a grid 'epochs'"));

  const testing::TemporaryFolder temporary;
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));
  const auto error = [&](const std::string& grid) {
    const Settings wrong = small(e, {"grid=" + grid});
    const RunFolder folder = folder_for(temporary.path(), wrong);
    Job job{wrong, folder, progress};
    return testing::error_text<ValueError>([&] { e.run(job); });
  };
  CHECK(error("pcgrad.order=index:random") ==
        "multifashion: grid has pcgrad.order, expected settings of the arms left_alone, cagrad");
  CHECK(error("cagrad.c=0.2:-1").starts_with("cagrad: option c is '-1'"));
  CHECK(error("lr=fast").starts_with("multifashion: lr is 'fast', expected a number"));
}

TEST_CASE("an arm whose gradients become infinite ends alone") {
  const Experiment e = multifashion();
  const Settings s = small(e, {"seeds=1", "methods=equal,cagrad", "optimizer=sgd",
                               "grid=cagrad.c=0.4,lr=100,decay=100"});
  const testing::TemporaryFolder temporary;
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));
  const RunFolder folder = folder_for(temporary.path(), s);
  const StopOnSignal guard;
  Job job{s, folder, progress};
  REQUIRE(e.run(job));
  const std::string metrics = text_of(folder.metrics());
  CHECK(metrics.find(",diverged,-,nan,nan\ncagrad,1,0,") != std::string::npos);
  CHECK(metrics.ends_with(",diverged,-,nan,nan\n"));
  CHECK(metrics.find("test") == std::string::npos);
  CHECK(e.report(std::span(&folder, 1), folder.plots())
            .sections.front()
            .tables.front()
            .text()
            .find("cagrad") != std::string::npos);
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
