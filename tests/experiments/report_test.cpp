#include <concord/experiments/plot.h>
#include <concord/experiments/report.h>
#include <concord/tensor/check.h>
#include <doctest/doctest.h>

#include <cstdlib>

#include "../testing.h"

using namespace concord;
using namespace concord::experiments;
using concord::testing::error_text;
using concord::testing::TemporaryFolder;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

LinePlot lines() {
  return {.title = "Accuracy of 'left'",
          .x = {.label = "epoch"},
          .y = {.label = "accuracy (%)"},
          .series = {{"cosine_gate", {1, 2, 3}, {50, 70, 80}, {2, 1, 1}},
                     {"mgda", {1, 2, 3}, {40, 60, 75}}}};
}

/// PATH without gnuplot while the object lives.
class NoPrograms {
 public:
  NoPrograms() : old_(std::getenv("PATH")) { ::setenv("PATH", "/nonexistent", 1); }
  ~NoPrograms() { ::setenv("PATH", old_.c_str(), 1); }

 private:
  std::string old_;
};

}  // namespace

TEST_CASE("plot: each kind becomes an SVG with its texts") {
  const TemporaryFolder folder;
  const Drawing line = draw(lines(), folder.path() / "line");
  REQUIRE(line.problem == "");
  CHECK(line.svg.substr(0, 4) == "<svg");
  for (const char* text : {"Accuracy of 'left'", "accuracy (%)", "epoch", "cosine_gate", "mgda"}) {
    CHECK_MESSAGE(has(line.svg, text), text);
  }
  CHECK(std::filesystem::exists(folder.path() / "line.gp"));
  CHECK(std::filesystem::exists(folder.path() / "line.svg"));

  const Drawing bars = draw(
      BarPlot{.title = "Final accuracy",
              .y = {.label = "accuracy (%)", .low = 0, .high = 100},
              .categories = {"equal", "pc_grad", "mgda"},
              .series = {{"left", {}, {80, 81, 79}, {1, 2, NAN}}, {"right", {}, {70, 72, 71}}}},
      folder.path() / "bars");
  REQUIRE(bars.problem == "");
  for (const char* text : {"pc_grad", "right", "accuracy (%)"})
    CHECK_MESSAGE(has(bars.svg, text), text);

  const Drawing map = draw(HeatMap{.title = "Cosines",
                                   .label = "cosine",
                                   .rows = {"a", "b"},
                                   .columns = {"a", "b", "c"},
                                   .values = {{1, 0.25, -0.5}, {0.25, 1, -0.75}}},
                           folder.path() / "map");
  REQUIRE(map.problem == "");
  CHECK(has(map.svg, "-0.75"));
}

TEST_CASE("plot: sizes that do not fit are refused") {
  LinePlot plot = lines();
  plot.series[0].y.pop_back();
  CHECK(error_text<ValueError>([&] { draw(plot, "unused"); }) ==
        "plot: series 'cosine_gate' has 2 values and 3 errors, expected 3 x values");
}

TEST_CASE(
    "plot: without gnuplot there is a reason, and the report gives it once, beside its tables") {
  const TemporaryFolder folder;
  Section section{.title = "Accuracy"};
  {
    const NoPrograms nothing;
    section.drawings.push_back(draw(lines(), folder.path() / "a"));
    section.drawings.push_back(draw(lines(), folder.path() / "b"));
  }
  CHECK(section.drawings[0].svg == "");
  CHECK(section.drawings[0].problem ==
        "gnuplot is not installed (Debian: apt-get install gnuplot-nox)");
  Table table({"<method", "accuracy"});
  table.add({"equal", "80.5"});
  section.tables.push_back(table);
  const std::string page = html({.title = "T", .sections = {section}});
  CHECK(count(page, "No plots: gnuplot is not installed") == 1);
  CHECK(has(page, "80.5"));
}

TEST_CASE("report: one file with everything in it, and nothing from elsewhere") {
  const TemporaryFolder folder;
  Settings settings("toy");
  settings.add("rate", Real{.standard = 0.1}, "learning <rate>");
  settings.assign("rate=0.5");
  const RunFolder run = RunFolder::create(
      folder.path(), "toy",
      Json::object({{"experiment", "toy"},
                    {"command", settings.command()},
                    {"machine", Json::object({{"threads", 2},
                                              {"blas", Json::object({{"kernel", "Haswell"}})}})}}));
  Section section{.title = "Plots & figures", .paragraphs = {"a < b"}};
  section.drawings.push_back(draw(lines(), run.plots() / "line"));
  const std::string page = html({.title = "Toy",
                                 .summary = "Two methods.",
                                 .sections = {section, settings_section(settings),
                                              machine_section(run), repeat_section(run)}});
  for (const char* text : {"<h1>Toy</h1>", "Two methods.", "Plots &amp; figures", "a &lt; b",
                           "<svg", "learning &lt;rate&gt;", "<b>0.5</b>", "blas kernel", "Haswell",
                           "./concord run toy --set rate=0.5", "prefers-color-scheme: dark"}) {
    CHECK_MESSAGE(has(page, text), text);
  }
  CHECK_FALSE(has(page, "<script"));
  CHECK_FALSE(has(page, "<link"));
  CHECK_FALSE(has(page, "src="));
  CHECK_FALSE(has(page, "@import"));
}
