#include <concord/experiments/run_folder.h>
#include <concord/tensor/check.h>
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "../testing.h"

using namespace concord;
using namespace concord::experiments;
using concord::testing::error_text;
using concord::testing::TemporaryFolder;

namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("csv log: every row is in the file when append returns, with all bits") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "metrics.csv";
  CsvLog log(path, {"method", "step", "loss"}, 0);
  log.append({"pcgrad", 1, 0.1});
  log.append({"pcgrad", 2, 1.0 / 3});
  CHECK(contents(path) == "method,step,loss\npcgrad,1,0.1\npcgrad,2,0.3333333333333333\n");
  CHECK(log.rows() == 2);
}

TEST_CASE("csv log: resuming keeps the checkpoint's rows and equals the uninterrupted file") {
  const TemporaryFolder folder;
  const fs::path whole = folder.path() / "whole.csv", cut = folder.path() / "cut.csv";
  const auto steps = [](CsvLog& log, std::int64_t from, std::int64_t to) {
    for (std::int64_t step = from; step < to; ++step)
      log.append({step, 1.0 / static_cast<double>(step + 1)});
  };
  {
    CsvLog log(whole, {"step", "loss"}, 0);
    steps(log, 0, 9);
  }
  {
    CsvLog log(cut, {"step", "loss"}, 0);
    steps(log, 0, 7);  // the last checkpoint saw 5 rows
  }
  std::ofstream(cut, std::ios::app) << "7,0.12";  // killed while writing
  {
    CsvLog log(cut, {"step", "loss"}, 5);
    CHECK(log.rows() == 5);
    steps(log, 5, 9);
  }
  CHECK(contents(cut) == contents(whole));
}

TEST_CASE("csv log: errors by exact text") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "m.csv";
  {
    CsvLog log(path, {"a", "b"}, 0);
    log.append({1, 2});
    CHECK(error_text<ValueError>([&] { log.append({1}); }) ==
          "metrics: a row of 1 cells, expected 2");
    CHECK(error_text<ValueError>([&] {
            log.append({1, "x,y"});
          }) == "metrics: the text 'x,y' has a comma, quote or line break");
  }
  CHECK(error_text<FileError>([&] {
          CsvLog(path, {"a", "b"}, 2);
        }) == "metrics: 1 rows, the checkpoint was written after 2\n  file  " + path.string());
  CHECK(error_text<FileError>([&] {
          CsvLog(path, {"a", "c"}, 0);
        }) == "metrics: columns are 'a,b', expected 'a,c'\n  file  " + path.string());
  CHECK(contents(path) == "a,b\n1,2\n");
}

TEST_CASE("csv table: reads a log back; a half line is left out") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "m.csv";
  std::ofstream(path) << "method,accuracy\nequal,87.5\nmgda,\nmg";
  const CsvTable table = CsvTable::load(path);
  REQUIRE(table.rows.size() == 2);
  CHECK(table.text(0, "method") == "equal");
  CHECK(table.number(0, "accuracy") == 87.5);
  CHECK(std::isnan(table.number(1, "accuracy")));
  CHECK(error_text<ValueError>([&] { table.number(1, "method"); }) ==
        "metrics: method in row 2 is 'mgda', expected a number");
  CHECK(error_text<ValueError>([&] { table.number(0, "acuracy"); }) ==
        "unknown column 'acuracy'\n  nearest  accuracy\n  valid    method, accuracy");
}

TEST_CASE("run folder: create and open; two runs of one second have two folders") {
  const TemporaryFolder folder;
  const Json config = Json::object({{"experiment", "toy"}, {"x", 0.1}});
  const RunFolder a = RunFolder::create(folder.path() / "runs", "toy", config);
  const RunFolder b = RunFolder::create(folder.path() / "runs", "toy", config);
  CHECK(a.path() != b.path());
  CHECK(fs::is_directory(a.path() / "checkpoints"));
  const RunFolder again = RunFolder::open(a.path());
  CHECK(again.config() == config);
  CHECK(again.experiment() == "toy");
  CHECK(again.checkpoint("equal-0") == a.path() / "checkpoints" / "equal-0.safetensors");
}

TEST_CASE("run folder: opening what is none names the nearest") {
  const TemporaryFolder folder;
  const RunFolder a =
      RunFolder::create(folder.path(), "toy", Json::object({{"experiment", "toy"}}));
  std::string wrong = a.path().string();
  wrong.back() = 'x';
  CHECK(
      error_text<FileError>([&] { RunFolder::open(wrong + "/"); }) ==
      "run folder: there is no config.json, expected a folder made by 'concord run'\n  folder   " +
          wrong + "/\n  nearest  " + a.path().filename().string());
}
