#include <concord/experiments/pcgrad_toy.h>
#include <concord/multitask/registry.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::experiments {

namespace {

constexpr const char* kProblem = "valleys";
constexpr double kFloor = 5e-6;

/// scale * log max(|a|, floor), a = t1 / 2 + b and da = (1/2, slope) its gradient. Below the floor
/// the loss is constant.
LossAt log_valley(double scale, double a, double slope) {
  const double size = std::abs(a);
  if (size < kFloor) return {scale * std::log(kFloor), {0, 0}};
  return {scale * std::log(size), {scale / a * 0.5, scale / a * slope}};
}

/// Positions of the two arms that a separate program computed in double from the paper's formulas.
struct Reference {
  std::int64_t step;
  const char* arm;
  const char* position;
};
constexpr Reference kReference[] = {
    {1'000, "sum", "(1.7775, -1.3490)"},      {100'000, "sum", "(1.7674, -1.4063)"},
    {500'000, "sum", "(1.8555, -1.5283)"},    {10'000, "pcgrad", "(1.5465, -1.0564)"},
    {100'000, "pcgrad", "(0.8479, -0.4480)"}, {500'000, "pcgrad", "(-2.0029, 6.5820)"}};

const char* reference(std::int64_t step, const std::string& arm) {
  for (const Reference& r : kReference) {
    if (r.step == step && r.arm == arm) return r.position;
  }
  return "";
}

constexpr std::int64_t kMarks[] = {1'000, 10'000, 100'000};

Settings settings() {
  Settings s("pcgrad-toy");
  s.add("methods", Choices{.standard = {"sum", "pcgrad"}, .valid = toy_methods(), .kind = "method"},
        "how the two gradients become Adam's direction");
  s.add("iterations", Integer{.standard = 500'000, .low = 1, .high = 1'000'000'000}, "updates");
  s.add("rate", Real{.standard = 1e-3, .low = 0, .high = 10}, "Adam's learning rate");
  s.add("start", Text{.standard = "0.5,-3"}, "t1,t2 of the start");
  return s;
}

bool run(Job& job) {
  const auto& arms = job.settings.list("methods");
  const std::int64_t iterations = job.settings.integer("iterations");
  const std::vector<Point> starts = points_from("start", job.settings.text("start"));
  job.progress.begin(iterations * static_cast<std::int64_t>(arms.size() * starts.size()), 0,
                     "steps");
  ToyLog log(job.folder, 0.03);
  for (std::size_t start = 0; start < starts.size(); ++start) {
    for (const std::string& arm : arms) {
      Walk walk(pcgrad_landscape, multitask::make_aggregator(arm), Rule::adam,
                job.settings.real("rate"), starts[start]);
      const bool done = log.record(kProblem, arm, static_cast<std::int64_t>(start), std::move(walk),
                                   iterations, job.progress, [](const Walk& w) -> std::string_view {
                                     const bool mark =
                                         std::find(std::begin(kMarks), std::end(kMarks),
                                                   w.steps()) != std::end(kMarks);
                                     return mark ? "mark" : "";
                                   });
      if (!done) return false;
    }
  }
  return true;
}

/// The gradients where a walk ended as arrows of a length that grows with the logarithm, blue and
/// red as in the paper's figure.
std::vector<PlotArrow> end_gradients(const Point& at) {
  std::vector<PlotArrow> arrows;
  const LossPair losses = pcgrad_landscape(at);
  constexpr std::uint32_t colours[] = {0x1f5fbf, 0xc8252c};
  for (std::size_t i = 0; i < 2; ++i) {
    const Point& g = losses[i].gradient;
    const double norm = std::hypot(g[0], g[1]);
    if (norm == 0) continue;
    const double length = 0.4 + 0.35 * std::log10(1 + norm);
    arrows.push_back({at[0], at[1], -length * g[0] / norm, -length * g[1] / norm, colours[i]});
  }
  return arrows;
}

Drawing figure(const ToyResults& results, const std::vector<std::string>& arms,
               const std::filesystem::path& base) {
  ContourPlot plot{.title = "Two deep valleys, and the ways down their sum",
                   .x = {.label = "t1", .low = -4, .high = 4},
                   .y = {.label = "t2", .low = -4, .high = 8},
                   .columns = 2,
                   .height = 0.95,
                   .legend = {{"first update", 0x000000},
                              {"last update", 0xffc400},
                              {"-gradient of task 1", 0x1f5fbf},
                              {"-gradient of task 2", 0xc8252c}}};
  const auto add = [&](const std::function<double(const LossPair&)>& value, double low, double high,
                       std::vector<double> levels) {
    plot.landscapes.push_back({sample([&](const Point& t) { return value(pcgrad_landscape(t)); },
                                      plot.x, plot.y, low, high),
                               std::move(levels)});
  };
  add([](const LossPair& l) { return l[0].value; }, -60, 30, {-40, -25, -12, -4, 4, 10, 15, 19});
  add([](const LossPair& l) { return l[1].value; }, -60, 40, {-40, -20, -5, 6, 15, 22, 28, 33});
  add([](const LossPair& l) { return l[0].value + l[1].value; }, -60, 55,
      {-12, 2, 13, 22, 30, 37, 44});
  plot.panels.push_back({"Task 1", 0, {}});
  plot.panels.push_back({"Task 2", 1, {}});
  for (const std::string& arm : arms) {
    ContourPanel panel{.title = fmt::format("Both tasks: Adam, {}", arm), .landscape = 2};
    for (const WalkedPath& path : results.paths) {
      if (path.arm != arm) continue;
      panel.trajectories.push_back(coloured_by_progress(path, 0x000000, 0xffc400));
      for (const PlotArrow& a : end_gradients({path.x1.back(), path.x2.back()}))
        panel.arrows.push_back(a);
    }
    plot.panels.push_back(std::move(panel));
  }
  return draw(plot, base);
}

std::vector<Section> sections(const Settings& s, const RunFolder& folder,
                              const std::filesystem::path& plot) {
  const ToyResults results(folder);
  const auto& arms = s.list("methods");
  Section result{.title = "Where Adam ends"};
  Table table({"updates", "<method", "<position", "<reference", "L1", "L2", "cosine"});
  std::int64_t before = -1;
  std::vector<Milestone> rows = results.milestones;
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Milestone& a, const Milestone& b) { return a.step < b.step; });
  for (const Milestone& m : rows) {
    if (m.event == "end" &&
        std::find(std::begin(kMarks), std::end(kMarks), m.step) != std::end(kMarks)) {
      continue;  // already a mark
    }
    if (m.step != before) table.rule();
    before = m.step;
    const bool paper = s.text("start") == "0.5,-3" && s.real("rate") == 1e-3;
    table.add({with_commas(m.step), m.arm, to_string(m.at, 4),
               paper ? reference(m.step, m.arm) : "", fmt::format("{:.2f}", m.losses[0]),
               fmt::format("{:.2f}", m.losses[1]), fmt::format("{:.3f}", m.cosine)});
  }
  result.tables.push_back(std::move(table));
  result.paragraphs = {
      "Both losses are smallest where t1 = -2 and tanh t2 tends to 1. Adam on the sum falls into "
      "the "
      "valley of task 1, whose steep walls hide the slope of task 2 along it, and stays there; "
      "with the "
      "conflicting parts projected away, Adam follows the valley to the joint optimum.",
      "Reference: a separate program in double precision, from the paper's formulas; the paper "
      "prints "
      "no numbers, only figure 1. Walks ride on the singularity of a logarithm, so that digits "
      "after "
      "the first thousand updates are a property of the rounding; the outcome is not."};
  result.drawings.push_back(figure(results, arms, plot.string() + "landscape"));

  Section print{.title = "What differs from print"};
  print.paragraphs = {
      "Formulas, start, learning rate and number of updates are those of appendix D. The figure "
      "shows "
      "the two tasks and their sum as colours (blue is low, cut off at -60) where the paper has a "
      "surface and contours; trajectories run from black to yellow as there. The arrows point "
      "downhill for each task, with a length that grows with the logarithm of the gradient's; "
      "where a "
      "walk ends below the floor of 5e-6 a task has no gradient and no arrow. A dot begins a walk, "
      "a "
      "star ends it."};
  return {std::move(result), std::move(print)};
}

Report report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(
      runs, plots, settings, "PCGrad's toy problem",
      "Two tasks with a deep valley each, in two variables: plain Adam on the sum of the losses "
      "against Adam on PCGrad's direction (Yu et al. 2020, figure 1).",
      sections);
}

}  // namespace

LossPair pcgrad_landscape(const Point& t) {
  const double h = std::tanh(t[1]), slope = 1 - h * h;
  return {log_valley(20, 0.5 * t[0] + h, slope), log_valley(25, 0.5 * t[0] - h + 2, -slope)};
}

Experiment pcgrad_toy() {
  return {
      .name = "pcgrad-toy",
      .help = "two valleys in the plane: Adam on the sum stalls, on PCGrad's direction it does not",
      .source = "Yu et al. 2020, appendix D",
      .settings = settings,
      .run = run,
      .report = report,
      .evaluate = no_evaluation};
}

}  // namespace concord::experiments
