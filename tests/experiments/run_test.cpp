// The frame around experiments, driven by a toy that is interrupted, resumed and reported.
#include <concord/experiments/verbs.h>
#include <concord/tensor/check.h>
#include <concord/tensor/serialize.h>
#include <doctest/doctest.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "../testing.h"

using namespace concord;
using namespace concord::experiments;
using concord::testing::error_text;
using concord::testing::TemporaryFolder;

namespace {

namespace fs = std::filesystem;

int interrupt_at = -1;  // the step at which the toy is sent a signal

Settings toy_settings() {
  Settings s("toy");
  s.add("steps", Integer{.standard = 20, .full = 40, .low = 1}, "how many");
  return s;
}

/// x <- x / 2 + step, a row per step, a checkpoint every sixth step.
bool toy_run(Job& job) {
  const fs::path checkpoint = job.folder.checkpoint("toy");
  const Tensor x = Tensor::full({1}, 1, DType::f64);
  std::int64_t step = 0, rows = 0;
  if (fs::exists(checkpoint)) {
    const TensorFile file = load_safetensors(checkpoint);
    x.copy_from(file.tensors.at("x"));
    step = std::stoll(file.metadata.at("step"));
    rows = std::stoll(file.metadata.at("rows"));
  }
  CsvLog log(job.folder.metrics(), {"step", "x"}, rows);
  const std::int64_t steps = job.settings.integer("steps");
  job.progress.begin(steps, step, "steps");
  for (; step < steps; ++step) {
    if (step == interrupt_at) std::raise(SIGINT);
    if (stop_requested()) return false;
    if (step % 6 == 0) {
      log.sync();
      save_safetensors(
          checkpoint,
          {{{"x", x}}, {{"step", std::to_string(step)}, {"rows", std::to_string(log.rows())}}});
    }
    x.fill(x.item() / 2 + static_cast<double>(step));
    log.append({step, x.item()});
    job.progress.advance(1);
  }
  return true;
}

Report toy_report(std::span<const RunFolder> runs, const fs::path&) {
  Table table({"<run", "x"});
  for (const RunFolder& run : runs) {
    const CsvTable metrics = CsvTable::load(run.metrics());
    table.add({run.path().filename().string(), metrics.text(metrics.rows.size() - 1, "x")});
  }
  return {.title = "Toy",
          .sections = {{.title = "Result", .tables = {table}}, repeat_section(runs[0])}};
}

const std::vector<Experiment> kToys{
    {"toy", "halves and adds", "-", toy_settings, toy_run, toy_report}};

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// The run folders in `parent`, by name.
std::vector<fs::path> folders(const fs::path& parent) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(parent)) {
    if (entry.is_directory()) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

TEST_CASE(
    "run: an interrupted run that is resumed has the metrics of an uninterrupted one, bit for "
    "bit") {
  const TemporaryFolder folder;
  const fs::path whole = folder.path() / "whole", cut = folder.path() / "cut";
  interrupt_at = -1;
  CHECK(run({.experiment = "toy", .out = whole, .threads = 1, .quiet = true}, "concord", kToys) ==
        0);
  interrupt_at = 15;  // the checkpoint is of step 12
  CHECK(run({.out = cut, .threads = 1, .quiet = true}, "concord", kToys) == kStopped);
  const fs::path stopped = folders(cut).at(0);
  CHECK_FALSE(fs::exists(stopped / "report.html"));
  interrupt_at = -1;
  CHECK(resume({.run = stopped, .quiet = true}, "concord", kToys) == 0);
  CHECK(contents(stopped / "metrics.csv") == contents(folders(whole).at(0) / "metrics.csv"));
  CHECK(contents(stopped / "report.html").find("./concord run toy --threads 1\n") !=
        std::string::npos);
}

TEST_CASE("run: settings reach the experiment and the config") {
  const TemporaryFolder folder;
  interrupt_at = -1;
  CHECK(run({.assignments = {"steps=3"},
             .full = true,
             .out = folder.path(),
             .threads = 1,
             .quiet = true},
            "concord", kToys) == 0);
  const RunFolder made = RunFolder::open(folders(folder.path()).at(0));
  CHECK(CsvTable::load(made.metrics()).rows.size() == 3);
  CHECK(made.config()["settings"]["values"]["steps"].as<std::int64_t>() == 3);
  CHECK(made.config()["command"].as<std::string>() ==
        "concord run toy --full --set steps=3 --threads 1");
}

TEST_CASE("report: several runs side by side") {
  const TemporaryFolder folder;
  interrupt_at = -1;
  for (const char* steps : {"steps=3", "steps=5"}) {
    run({.assignments = {steps}, .out = folder.path(), .threads = 1, .quiet = true}, "concord",
        kToys);
  }
  const std::vector<fs::path> runs = folders(folder.path());
  CHECK(report({.runs = runs}, kToys) == 0);
  const std::string page = contents(folder.path() / "comparison.html");
  for (const fs::path& run : runs) CHECK(page.find(run.filename().string()) != std::string::npos);
}

TEST_CASE("run: unknown names, by exact text") {
  CHECK(error_text<ValueError>([] { run({.experiment = "tyo"}, "concord", kToys); }) ==
        "unknown experiment 'tyo'\n  nearest  toy\n  valid    toy");
  CHECK(error_text<ValueError>([] { run({.assignments = {"step=3"}}, "concord", kToys); }) ==
        "unknown setting of toy 'step'\n  nearest  steps\n  valid    steps");
  CHECK(error_text<ValueError>([] { list("methds", kToys); }) ==
        "unknown topic 'methds'\n  nearest  methods\n  valid    experiments, methods, networks, "
        "data, environments, toy");
  CHECK(error_text<ValueError>([] {
          aggregate({.method = "pcgrd", .jacobian = "none.csv"});
        }).substr(0, 40) == "unknown method 'pcgrd'\n  nearest  pcgrad");
  CHECK(error_text<FileError>([] { aggregate({.method = "pcgrad", .jacobian = "none.csv"}); }) ==
        "file: does not exist\n  file  none.csv");
}
