// The studies on grid worlds: runs as a user starts them, the same bits after an interruption,
// reports with their pictures.
#include <concord/experiments/distral.h>
#include <concord/experiments/du_gridworld.h>
#include <concord/experiments/grid_picture.h>
#include <concord/experiments/parts.h>
#include <concord/tests/experiments/run_files.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>

using namespace concord;
using namespace concord::experiments;
using concord::testing::folder_for;
using concord::testing::text_of;

namespace {

std::size_t occurrences(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("grid-world studies run, leave the same bits after an interruption, and report") {
  const std::pair<Experiment, std::vector<std::string>> studies[] = {
      {distral(), {"seeds=2", "tasks=3", "iterations=40", "test_iterations=20"}},
      {distral_deep(),
       {"arms=A3C,KL+ent_1col,KL+ent_2col", "seeds=2", "tasks=2", "steps=800", "environments=4",
        "hidden=6", "points=4", "measured=3"}},
      {du_gridworld(), {"pairs=3", "updates=40", "side=7"}}};
  const testing::TemporaryFolder temporary;
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));
  for (const auto& entry : studies) {
    const Experiment& study = entry.first;
    CAPTURE(study.name);
    Settings s = study.settings();
    for (const std::string& pair : entry.second) s.assign(pair);
    const RunFolder whole = folder_for(temporary.path(), s), cut = folder_for(temporary.path(), s);
    Job job{s, whole, progress}, stopped{s, cut, progress};
    REQUIRE(study.run(job));
    {
      const StopOnSignal guard;
      std::raise(SIGINT);
      CHECK_FALSE(study.run(stopped));
    }
    {
      const StopOnSignal guard;  // forgets the signal
      REQUIRE(study.run(stopped));
    }
    CHECK(text_of(whole.metrics()) == text_of(cut.metrics()));

    const Report page = study.report(std::span(&whole, 1), whole.plots());
    for (const Section& section : page.sections)
      for (const Drawing& drawing : section.drawings) CHECK(drawing.problem == "");
    const std::string text = html(page);
    CHECK(text.find("What differs from print") != std::string::npos);
    CHECK(occurrences(text, "data:image/gif;base64,R0lGOD") == 1);
    CHECK_THROWS_AS(study.evaluate(whole, "test"), ValueError);
  }
}

TEST_CASE("parts: rows of a part that was not finished are cut off") {
  const testing::TemporaryFolder temporary;
  const Settings s("parts");
  const RunFolder folder = folder_for(temporary.path(), s);
  {
    Parts parts(folder, {"part", "value"});
    CHECK(parts.finished() == 0);
    parts.metrics().append({std::int64_t{0}, 0.5});
    parts.finish();
    parts.metrics().append({std::int64_t{1}, 0.25});
  }
  {
    Parts parts(folder, {"part", "value"});
    CHECK(parts.finished() == 1);
    CHECK(parts.metrics().rows() == 1);
    parts.metrics().append({std::int64_t{1}, 0.75});
    parts.finish();
  }
  CHECK(text_of(folder.metrics()) == "part,value\n0,0.5\n1,0.75\n");
  CHECK(Parts(folder, {"part", "value"}).finished() == 2);
}

TEST_CASE("pictures: an arrow per probable move, none in walls; a GIF as base64") {
  const testing::TemporaryFolder temporary;
  const std::string_view rows[] = {"S#", ".."};
  rl::World world = rl::parse_world(rows);
  world.terminal[3] = 1;
  // Down and right in both free cells.
  const PolicyPanel panel{"a < b", [](index_t) { return MoveProbabilities{0, 0, 0.5, 0, 0.5}; }};
  const Drawing drawing = draw_policies(world, std::span(&panel, 1), temporary.path() / "policy");
  CHECK(drawing.problem == "");
  CHECK(occurrences(drawing.svg, "<path") == 4);
  CHECK(occurrences(drawing.svg, "<circle") == 2);
  CHECK(drawing.svg.find("a &lt; b") != std::string::npos);
  CHECK(text_of(temporary.path() / "policy.svg") == drawing.svg);

  const rl::Canvas frame(2, 2);
  const Drawing episode = draw_episodes(std::span(&frame, 1), 10, "one", temporary.path() / "one");
  const std::string gif = text_of(temporary.path() / "one.gif");
  const auto from = episode.svg.find("base64,") + 7, to = episode.svg.find('"', from);
  const std::string encoded = episode.svg.substr(from, to - from);
  CHECK(encoded.size() == (gif.size() + 2) / 3 * 4);
  CHECK(std::count(encoded.begin(), encoded.end(), '=') ==
        static_cast<std::ptrdiff_t>((3 - gif.size() % 3) % 3));
  CHECK(encoded.substr(0, 8) == "R0lGODlh");  // GIF89a
}
