// The studies on MinAtar: the same bits after an interruption, reports with films, policies that
// can be watched; statistics of few runs against values by hand.
#include <concord/data/image.h>
#include <concord/experiments/game_runs.h>
#include <concord/experiments/minatar.h>
#include <concord/experiments/verbs.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/experiments/run_files.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <csignal>

using namespace concord;
using namespace concord::experiments;
using concord::testing::folder_for;
using concord::testing::text_of;

namespace {

/// Where progress goes: nowhere, and the `lines`th line is a wish to stop, so that a run is stopped
/// at the same place every time.
class StopAfter {
 public:
  explicit StopAfter(int lines) : left_(lines) {
    file_ = ::fopencookie(this, "w",
                          {.read = nullptr, .write = &write, .seek = nullptr, .close = nullptr});
    std::setvbuf(file_, nullptr, _IOLBF, 4096);
  }
  ~StopAfter() { std::fclose(file_); }
  StopAfter(const StopAfter&) = delete;
  StopAfter& operator=(const StopAfter&) = delete;
  std::FILE* file() const { return file_; }

 private:
  static ssize_t write(void* self, const char*, std::size_t size) {
    if (--static_cast<StopAfter*>(self)->left_ == 0) std::raise(SIGINT);
    return static_cast<ssize_t>(size);
  }

  int left_;
  std::FILE* file_;
};

/// False: stopped.
bool run(const Experiment& study, const Settings& s, const RunFolder& folder, int stop_after) {
  const StopOnSignal guard;
  const StopAfter out(stop_after);
  Progress progress(Progress::Style::lines, out.file(), std::chrono::milliseconds(0));
  Job job{s, folder, progress};
  return study.run(job);
}

Settings small(const Experiment& study, std::initializer_list<const char*> pairs) {
  Settings s = study.settings();
  for (const char* pair : pairs) s.assign(pair);
  return s;
}

void check_report(const Experiment& study, const RunFolder& folder, std::size_t films) {
  const Report page = study.report(std::span(&folder, 1), folder.plots());
  for (const Section& section : page.sections)
    for (const Drawing& drawing : section.drawings) CHECK(drawing.problem == "");
  const std::string text = html(page);
  std::size_t n = 0;
  for (auto at = text.find("base64,R0lGOD"); at != std::string::npos;
       at = text.find("base64,R0lGOD", at + 1))
    ++n;
  CHECK(n == films);
}

/// The values of one kind in metrics.csv, in order.
std::vector<double> values_of(const RunFolder& folder, const char* arm, const char* kind) {
  const CsvTable m = CsvTable::load(folder.metrics());
  std::vector<double> values;
  for (std::size_t r = 0; r < m.rows.size(); ++r)
    if (m.text(r, "arm") == arm && m.text(r, "kind") == kind)
      values.push_back(m.number(r, "value"));
  return values;
}

}  // namespace

TEST_CASE("minatar: stopped in mid-training it leaves the same bits; report and watch") {
  const Experiment study = minatar();
  const testing::TemporaryFolder temporary;
  const Settings s = small(study, {"agents=ppo,dqn,a2c", "steps=6000", "seeds=1", "environments=8",
                                   "measured=2", "points=5"});
  const RunFolder whole = folder_for(temporary.path(), s), cut = folder_for(temporary.path(), s);
  REQUIRE(run(study, s, whole, 1 << 30));
  // In PPO; in DQN before it learns; while it learns.
  for (const int lines : {12, 800, 500}) CHECK_FALSE(run(study, s, cut, lines));
  REQUIRE(run(study, s, cut, 1 << 30));
  CHECK(text_of(whole.metrics()) == text_of(cut.metrics()));
  for (const char* name : {"ppo-breakout-1", "dqn-breakout-1", "a2c-breakout-1"}) {
    CAPTURE(name);
    const std::string bytes = text_of(whole.checkpoint(name));
    CHECK(bytes.size() > 1000);
    CHECK(bytes == text_of(cut.checkpoint(name)));
  }
  CHECK(run(study, s, whole, 1 << 30));  // a run that is done stays as it is
  CHECK(text_of(whole.metrics()) == text_of(cut.metrics()));
  check_report(study, whole, 1);

  // Measured again from the checkpoint, greedy scores are those of the end of training.
  const std::string again = study.evaluate(whole, "test").text();
  for (const char* agent : {"ppo", "dqn", "a2c"}) {
    const std::string score = fmt::format("{:.2f}", values_of(whole, agent, "greedy").at(0));
    const std::string line = again.substr(again.find(fmt::format("{}-breakout-1", agent)));
    CHECK(line.substr(0, line.find('\n')).find(score) != std::string::npos);
  }
  CHECK(testing::error_text<ValueError>([&] { study.evaluate(whole, "train"); }) ==
        "eval: minatar has no train part, expected test: games that were not trained on");

  const auto png = temporary.path() / "last.png", gif = temporary.path() / "all.gif";
  WatchOptions o{.run = whole.path(), .policy = "dqn-breakout-1", .steps = 15};
  o.png = png;
  o.gif = gif;
  CHECK(watch(o) == 0);
  CHECK(data::load_image(png).dim(0) == 3);
  CHECK(text_of(gif).substr(0, 6) == "GIF89a");
  o.policy = "dqn-breakout-2";
  CHECK(testing::error_text<ValueError>([&] { watch(o); }).find("unknown policy") == 0);
}

TEST_CASE("mt-minatar: five games in one network, or one each; the same bits after a stop") {
  const Experiment study = mt_minatar();
  const testing::TemporaryFolder temporary;
  const Settings s = small(study, {"arms=popart,cosine_gate", "steps=200", "environments=2",
                                   "measured=1", "points=2", "seeds=1"});
  const RunFolder whole = folder_for(temporary.path(), s), cut = folder_for(temporary.path(), s);
  REQUIRE(run(study, s, whole, 1 << 30));
  for (const int lines : {4, 9}) CHECK_FALSE(run(study, s, cut, lines));
  REQUIRE(run(study, s, cut, 1 << 30));
  CHECK(text_of(whole.metrics()) == text_of(cut.metrics()));
  // The gate's teachers were trained first, though nobody asked for them.
  for (const char* name : {"popart-1", "single-freeway-1", "cosine_gate-1"})
    CHECK(text_of(whole.checkpoint(name)) == text_of(cut.checkpoint(name)));
  check_report(study, whole, 5);
  for (const char* kind : {"cosine", "conflict", "open"}) {
    CAPTURE(kind);
    const std::vector<double> values = values_of(whole, "cosine_gate", kind);
    REQUIRE(values.size() == 2);
    for (const double v : values) CHECK(std::abs(v) <= 1);
    CHECK(values[0] != values[1]);
    CHECK(values_of(whole, "popart", kind).size() == (kind == std::string("open") ? 0 : 2));
    CHECK(values_of(whole, "single", kind).empty());
  }
  Trained policy = study.trained(whole, "popart-freeway-1", 3);
  CHECK(policy.shown == 2);
  int seen = 0;
  play_trained(policy, 7, [&](const Watched& w) {
    CHECK(w.picture.width() > 0);
    return ++seen < 5;
  });
  CHECK(seen == 5);
}

TEST_CASE("watch: runs without a policy") {
  const testing::TemporaryFolder temporary;
  const RunFolder begun = folder_for(temporary.path(), minatar().settings());
  CHECK(testing::error_text<ValueError>([&] {
          watch({.run = begun.path()});
        }).find("holds no policy yet, expected a run that got as far as its first checkpoint") !=
        std::string::npos);
  CHECK(testing::error_text<ValueError>([&] {
          minatar().evaluate(begun, "test");
        }).find("eval: ") == 0);
  const RunFolder toy = folder_for(temporary.path(), find_experiment("du-toy").settings());
  CHECK(testing::error_text<ValueError>([&] { watch({.run = toy.path()}); }) ==
        "watch: the policies of du-toy do not play, expected a run of an experiment that keeps "
        "agents, such as minatar");
}

TEST_CASE("interquartile mean: a quarter of the values away at each end") {
  const double eight[] = {100, 1, 2, 3, 4, 5, 6, -50};
  CHECK(interquartile_mean(eight) == 3.5);  // 2 3 4 5
  const double five[] = {9, 1, 2, 4, -7};
  CHECK(interquartile_mean(five) == doctest::Approx(7.0 / 3));  // 1 2 4
  const double three[] = {1, 2, 6};
  CHECK(interquartile_mean(three) == 3);
  CHECK(std::isnan(interquartile_mean({})));
  CHECK(pooled_iqm({{100, 1, 2, 3}, {4, 5, 6, -50}}) == 3.5);
}

TEST_CASE("bootstrap: resamples within the task, quantiles of the statistic") {
  const auto mean = [](const Scores& s) {
    double sum = 0, n = 0;
    for (const auto& runs : s)
      for (const double x : runs) sum += x, ++n;
    return sum / n;
  };
  // Means of two from {0, 1}: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
  const Interval coin = bootstrap_95({{0, 1}}, mean, Rng(3));
  CHECK(coin.low == 0);
  CHECK(coin.high == 1);
  // The runs of a task are alike: stratified resamples are all alike, pooled ones would differ.
  const Interval exact = bootstrap_95({{1, 1, 1}, {5, 5, 5}}, mean, Rng(3));
  CHECK(exact.low == 3);
  CHECK(exact.high == 3);
  // A sample of many: the normal interval, +-1.96 s / sqrt(n).
  Scores many(1);
  for (int k = 0; k < 400; ++k) many[0].push_back(Rng(5).normal(static_cast<std::uint64_t>(k)));
  const double centre = mean(many);
  const Interval wide = bootstrap_95(many, mean, Rng(3));
  CHECK(wide.low == doctest::Approx(centre - 0.098).epsilon(0.15));
  CHECK(wide.high - wide.low == doctest::Approx(0.196).epsilon(0.1));
  CHECK(std::isnan(bootstrap_95({{1, 2}, {3}}, mean, Rng(3)).low));
  CHECK(testing::error_text<ValueError>([&] {
          bootstrap_95({{1, 2}}, mean, Rng(3), 0);
        }) == "bootstrap_95: draws must be at least 1");
}

TEST_CASE("scores: 0 as by chance, 1 as the figure's DQN") {
  CHECK(normalised(facts_of("breakout"), 0.512) == 0);
  CHECK(normalised(facts_of("freeway"), 50) == 1);
  CHECK(testing::error_text<ValueError>([] {
          facts_of("freewey");
        }).find("unknown game 'freewey'") == 0);
}
