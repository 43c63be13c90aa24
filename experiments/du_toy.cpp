#include <concord/experiments/du_toy.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/random.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::experiments {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kConverged = 0.1;  // L_main below this counts as arrived

struct ToyArm {
  const char *name, *method;
  multitask::OptionMap options;
};
const ToyArm kArms[] = {{"main only", "single", {{"task", "0"}}},
                        {"plain sum", "sum", {}},
                        {"gate unweighted", "cosine_gate", {{"form", "unweighted"}}},
                        {"gate weighted", "cosine_gate", {{"form", "weighted"}}}};

constexpr const char *kLine = "line", *kBowls = "bowls", *kRotation = "rotation";
constexpr Point kLineStarts[] = {{-20, 0}, {5, 0}, {25, 0}};

/// First step with L_main < 0.1 and the last position after 600 steps of 0.01, by a separate
/// program in double.
struct LineReference {
  int start;
  const char *arm, *first, *end;
};
constexpr LineReference kLineReference[] = {
    {0, "main only", "226", "9.99983678"},       {0, "plain sum", "never", "5.00000"},
    {0, "gate unweighted", "211", "9.99987935"}, {0, "gate weighted", "211", "9.99987935"},
    {1, "main only", "137", "9.99997280"},       {1, "plain sum", "never", "5.00000"},
    {1, "gate unweighted", "137", "9.99997280"}, {1, "gate weighted", "137", "9.99997280"},
    {2, "main only", "192", "10.00008161"},      {2, "plain sum", "33", "5.00000"},
    {2, "gate unweighted", "33", "9.99999991"},  {2, "gate weighted", "33", "9.99999991"}};

const LineReference& line_reference(std::size_t start, std::string_view arm) {
  return *std::find_if(
      std::begin(kLineReference), std::end(kLineReference),
      [&](const LineReference& r) { return r.start == static_cast<int>(start) && r.arm == arm; });
}

Settings settings() {
  Settings s("du-toy");
  s.add("iterations", Integer{.standard = 600, .low = 1, .high = 1'000'000}, "steps of each walk");
  s.add("rate", Real{.standard = 0.01, .low = 0, .high = 1}, "step size of steepest descent");
  s.add("starts", Integer{.standard = 12, .low = 1, .high = 1000}, "random starts in the plane");
  s.add("seed", Integer{.standard = 1, .low = 0, .high = 1'000'000'000},
        "of the starts and the random fields");
  s.add("walks", Integer{.standard = 1000, .low = 1, .high = 1'000'000},
        "random descents per check of Proposition 1, 100 steps each");
  return s;
}

/// A row of property.csv, in the order of its columns.
const std::vector<std::string> kPropertyColumns{"form", "field", "dimensions",    "steps",
                                                "open", "least", "rises_bounded", "rises_fixed"};

bool run(Job& job) {
  const Settings& s = job.settings;
  const std::int64_t iterations = s.integer("iterations"), starts = s.integer("starts");
  const auto arms = static_cast<std::int64_t>(std::size(kArms));
  job.progress.begin(
      iterations * arms * (static_cast<std::int64_t>(std::size(kLineStarts)) + 2 * starts), 0,
      "steps");
  ToyLog log(job.folder, 0.04);
  const auto record = [&](const char* problem, LossPair (*landscape)(const Point&),
                          std::int64_t start, const Point& from) {
    for (const ToyArm& arm : kArms) {
      bool arrived = false;
      const auto event = [&](const Walk& w) -> std::string_view {
        return !arrived && (arrived = w.losses()[0].value < kConverged) ? "arrived" : "";
      };
      Walk walk(landscape, multitask::make_aggregator(arm.method, arm.options), Rule::descent,
                s.real("rate"), from);
      if (!log.record(problem, arm.name, start, std::move(walk), iterations, job.progress, event))
        return false;
    }
    return true;
  };
  for (std::size_t i = 0; i < std::size(kLineStarts); ++i) {
    if (!record(kLine, du_line, static_cast<std::int64_t>(i), kLineStarts[i])) return false;
  }
  const Rng rng = Rng(static_cast<std::uint64_t>(s.integer("seed"))).fork("starts");
  for (std::int64_t i = 0; i < starts; ++i) {
    const auto k = static_cast<std::uint64_t>(2 * i);
    const Point from{-4 + 8 * rng.uniform(k), -4 + 8 * rng.uniform(k + 1)};
    if (!record(kBowls, du_bowls, i, from) || !record(kRotation, du_rotation, i, from))
      return false;
  }

  CsvLog property(job.folder.path() / "property.csv", kPropertyColumns, 0);
  for (const char* form : {"unweighted", "weighted"}) {
    for (const char* field : {"noise", "linear"}) {
      for (const int dimensions : {2, 10, 100}) {
        if (stop_requested()) return false;
        const PropositionCounts c = check_proposition(
            {.form = form,
             .field = field,
             .dimensions = dimensions,
             .walks = dimensions > 10 ? std::max<std::int64_t>(1, s.integer("walks") / 20)
                                      : s.integer("walks"),
             .seed = static_cast<std::uint64_t>(s.integer("seed"))});
        property.append({std::string_view(form), std::string_view(field), std::int64_t{dimensions},
                         c.steps, c.open, c.least, c.rises_bounded, c.rises_fixed});
      }
    }
  }
  return true;
}

Section line_section(const ToyResults& results, const Settings& s,
                     const std::filesystem::path& plot) {
  const bool comparable = s.integer("iterations") == 600 && s.real("rate") == 0.01;
  Section section{.title = "One dimension"};
  Table table({"start", "<method", "arrives at step", "reference", "ends at", "reference",
               "L_main at the end"});
  for (std::size_t i = 0; i < std::size(kLineStarts); ++i) {
    table.rule();
    LinePlot lines{.title = fmt::format("L_main from {:g}", kLineStarts[i][0]),
                   .x = {.label = "step"},
                   .y = {.label = "L_main", .logarithmic = true}};
    for (const ToyArm& arm : kArms) {
      const auto number = static_cast<std::int64_t>(i);
      const Milestone* first = results.find(kLine, arm.name, number, "arrived");
      const Milestone& end = results.at(kLine, arm.name, number, "end");
      const LineReference& r = line_reference(i, arm.name);
      table.add({fmt::format("{:g}", kLineStarts[i][0]), arm.name,
                 first ? std::to_string(first->step) : "never", comparable ? r.first : "",
                 fmt::format("{:.8f}", end.at[0]), comparable ? r.end : "",
                 fmt::format("{:.3g}", end.losses[0])});
      // Both forms of the gate draw the same line.
      if (arm.name == std::string_view("gate unweighted")) continue;
      const bool gate = arm.name == std::string_view("gate weighted");
      Series series{.name = gate ? "gate, either form" : arm.name};
      for (const WalkedPath& path : results.paths) {
        if (path.problem != kLine || path.arm != arm.name || path.start != number) continue;
        series.x = path.step;
        for (const double x : path.x1) series.y.push_back(du_line({x, 0})[0].value);
      }
      lines.series.push_back(std::move(series));
    }
    if (i != 1) section.drawings.push_back(draw(lines, plot.string() + fmt::format("line{}", i)));
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      "L_main = (x - 10)^2, L_aux = x^2. From -20 and 25 the auxiliary pulls towards the main "
      "optimum first, and the gate takes it along; between the optima it pulls away and the gate "
      "is "
      "closed. The plain sum passes the main optimum (from 25) and settles at 5. In one dimension "
      "the cosine is 1 or -1, so that both forms of the gate are the same."};
  return section;
}

Drawing figure(const ToyResults& results, const std::filesystem::path& base) {
  ContourPlot plot{.title = "Ways down L_main, coloured by the cosine of the two gradients",
                   .x = {.label = "x1", .low = -4.5, .high = 4.5},
                   .y = {.label = "x2", .low = -4.5, .high = 4.5},
                   .columns = 3,
                   .legend = {{"aligned (cosine 1)", kAligned},
                              {"orthogonal (0)", kOrthogonal},
                              {"opposed (-1)", kOpposed},
                              {"L_main < 0.1", 0x8c939a}}};
  plot.landscapes.push_back(
      {sample([](const Point& x) { return du_bowls(x)[0].value; }, plot.x, plot.y, 0, 30),
       {1, 3, 6, 10, 15, 21, 28}});
  Trajectory disc{.colours = {0x8c939a}, .filled = true};
  for (int k = 0; k <= 48; ++k) {
    const double angle = k * std::acos(-1.0) / 24;
    disc.x.push_back(std::sqrt(kConverged) * std::cos(angle));
    disc.y.push_back(std::sqrt(kConverged) * std::sin(angle));
  }
  for (const char* problem : {kBowls, kRotation}) {
    for (const ToyArm& arm : kArms) {
      if (std::string_view(arm.method) == "single") continue;
      ContourPanel panel{
          .title = fmt::format("{}, {}", arm.name, problem == kBowls ? "second bowl" : "rotation"),
          .trajectories = {disc}};
      for (const WalkedPath& path : results.paths) {
        if (path.problem == problem && path.arm == arm.name)
          panel.trajectories.push_back(coloured_by_cosine(path));
      }
      plot.panels.push_back(std::move(panel));
    }
  }
  return draw(plot, base);
}

Section plane_section(const ToyResults& results, const Settings& s,
                      const std::filesystem::path& plot) {
  Section section{.title = "Two dimensions"};
  Table table({"<auxiliary", "<method", "arrived", "steps to arrive (median)", "mean end",
               "mean L_main at the end"});
  for (const char* problem : {kBowls, kRotation}) {
    table.rule();
    for (const ToyArm& arm : kArms) {
      std::vector<double> steps;
      Point mean{};
      double loss = 0;
      const auto starts = s.integer("starts");
      for (std::int64_t i = 0; i < starts; ++i) {
        if (const Milestone* m = results.find(problem, arm.name, i, "arrived")) {
          const Milestone& end = results.at(problem, arm.name, i, "end");
          if (end.losses[0] < kConverged) steps.push_back(static_cast<double>(m->step));
        }
        const Milestone& end = results.at(problem, arm.name, i, "end");
        const double share = 1 / static_cast<double>(starts);
        mean = {mean[0] + share * end.at[0], mean[1] + share * end.at[1]};
        loss += share * end.losses[0];
      }
      std::sort(steps.begin(), steps.end());
      table.add({problem == kBowls ? "second bowl" : "rotation", arm.name,
                 fmt::format("{} of {}", steps.size(), starts),
                 steps.empty() ? "-" : fmt::format("{:g}", steps[steps.size() / 2]),
                 to_string(mean, 3), fmt::format("{:.3g}", loss)});
    }
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      "L_main = |x|^2 from random starts, with two auxiliaries: a second bowl, |x - (3, 0)|^2, and "
      "the "
      "rotation field 2 (-x2, x1 - 3). The plain sum ends where the two "
      "cancel: at (1.5, 0) with L_main 2.25, and at (1.5, 1.5) with 4.5 for the rotation, which is "
      "the gradient of nothing and never gives way. Both gates reach L_main < 0.1 (grey) from "
      "every "
      "start, and stay.",
      "Arrived: below 0.1 at the end of the walk; the steps count to the first time below."};
  section.drawings.push_back(figure(results, plot.string() + "plane"));
  return section;
}

Section property_section(const RunFolder& folder) {
  const CsvTable rows = CsvTable::load(folder.path() / "property.csv");
  Section section{.title = "Proposition 1 over random fields"};
  Table table({"<gate", "<field", "numbers", "steps", "open (%)", "least <g, d> / |g|^2", "rises",
               "rises at 1/4 (%)"});
  for (std::size_t r = 0; r < rows.rows.size(); ++r) {
    const double steps = rows.number(r, "steps");
    table.add({rows.text(r, "form"), rows.text(r, "field"), rows.text(r, "dimensions"),
               with_commas(static_cast<std::int64_t>(steps)),
               fmt::format("{:.1f}", 100 * rows.number(r, "open") / steps),
               fmt::format("{:.9f}", rows.number(r, "least")), rows.text(r, "rises_bounded"),
               fmt::format("{:.1f}", 100 * rows.number(r, "rises_fixed") / steps)});
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      "For any field V the gated direction d has <g, d> >= |g|^2, g the gradient of the main loss: "
      "every step descends at least as steeply as plain descent. The loss then cannot rise for "
      "steps "
      "of at most 2 <g, d> / (Lip |d|^2), Lip = 2 for |x|^2; rises counts the steps of that length "
      "after which it did. A fixed step of 1/4 gives no such promise when V is unbounded (last "
      "column): deviation 3 raises the loss once x is small.",
      "Descents of |x|^2 in so many numbers from random starts, 100 steps each. Noise: V drawn "
      "anew in "
      "every step; linear: V = M x + b, M and b drawn once per descent. Open: steps in which the "
      "auxiliary was let through."};
  return section;
}

std::vector<Section> sections(const Settings& s, const RunFolder& folder,
                              const std::filesystem::path& plot) {
  const ToyResults results(folder);
  std::vector<Section> out;
  out.push_back(line_section(results, s, plot));
  out.push_back(plane_section(results, s, plot));
  out.push_back(property_section(folder));
  out.push_back(
      {.title = "What differs from print",
       .paragraphs = {
           "The one-dimensional example is the paper's; its reference numbers come from a separate "
           "program in double precision.",
           "The paper's two-dimensional functions (figure 1) were not to be had. The two here are "
           "ours, made so that the plain sum fails in a way that can be computed: a second bowl, "
           "and "
           "a rotation field. Protocol as in print: random starts, 600 steps of 0.01, converged "
           "below L_main = 0.1 (the grey region), colours by alignment, a star at the end. "
           "Orthogonal is amber where the paper has white.",
           "A cosine of exactly 0 opens the unweighted gate (c >= 0), which concerns only zero "
           "gradients."}});
  return out;
}

Report report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(
      runs, plots, settings, "Du et al.'s toy problems",
      "When an auxiliary loss helps and when it hurts: plain addition against gates on "
      "the cosine of the gradients (Du et al. 2018).",
      sections);
}

}  // namespace

LossPair du_line(const Point& x) {
  return {LossAt{(x[0] - 10) * (x[0] - 10), {2 * (x[0] - 10), 0}},
          LossAt{x[0] * x[0], {2 * x[0], 0}}};
}

LossPair du_bowls(const Point& x) {
  const double u = x[0] - 3;
  return {LossAt{x[0] * x[0] + x[1] * x[1], {2 * x[0], 2 * x[1]}},
          LossAt{u * u + x[1] * x[1], {2 * u, 2 * x[1]}}};
}

LossPair du_rotation(const Point& x) {
  return {LossAt{x[0] * x[0] + x[1] * x[1], {2 * x[0], 2 * x[1]}},
          LossAt{kNone, {-2 * x[1], 2 * (x[0] - 3)}}};
}

PropositionCounts check_proposition(const PropositionOptions& o) {
  const auto method = multitask::make_aggregator("cosine_gate", {{"form", o.form}});
  const auto n = static_cast<std::size_t>(o.dimensions);
  const Rng rng = Rng(o.seed).fork("proposition");
  PropositionCounts counts{.least = std::numeric_limits<double>::infinity()};
  multitask::Direction answer;
  std::vector<double> x(n), jacobian(2 * n), linear(n * (n + 1));
  for (std::int64_t walk = 0; walk < o.walks; ++walk) {
    const Rng stream = rng.fork(static_cast<std::uint64_t>(walk));
    const Rng start = stream.fork("start"), field = stream.fork("field");
    for (std::size_t k = 0; k < n; ++k) x[k] = o.deviation * start.normal(k);
    for (std::size_t k = 0; k < linear.size(); ++k) linear[k] = o.deviation * field.normal(k);
    for (std::int64_t step = 0; step < o.steps; ++step) {
      const Rng noise = field.fork(static_cast<std::uint64_t>(step));
      for (std::size_t k = 0; k < n; ++k) {
        jacobian[k] = 2 * x[k];
        double v = o.deviation * noise.normal(k);
        if (o.field == "linear") {
          v = linear[n * n + k];
          for (std::size_t j = 0; j < n; ++j) v += linear[k * n + j] * x[j];
        }
        jacobian[n + k] = v;
      }
      const multitask::Gram gram = multitask::Gram::of(jacobian, 2, o.dimensions);
      method->weights({.gram = gram, .step = step}, answer);
      const double gg = gram(0, 0);
      if (gg == 0) break;  // at the optimum: nothing to compare with
      const auto& w = answer.weights;
      const double gd = w[0] * gg + w[1] * gram(0, 1), dd = gram.squared_norm(w);
      ++counts.steps;
      counts.open += w[1] > 0;
      counts.least = std::min(counts.least, gd / gg);
      const auto loss_after = [&](double rate) {
        double sum = 0;
        for (std::size_t k = 0; k < n; ++k) {
          const double next = x[k] - rate * (w[0] * jacobian[k] + w[1] * jacobian[n + k]);
          sum += next * next;
        }
        return sum;
      };
      const double loss = gg / 4;
      counts.rises_bounded += loss_after(gd / dd) > loss * (1 + 1e-12);
      counts.rises_fixed += loss_after(o.rate) > loss;
      // The walk itself goes on with the fixed step.
      for (std::size_t k = 0; k < n; ++k)
        x[k] -= o.rate * (w[0] * jacobian[k] + w[1] * jacobian[n + k]);
    }
  }
  return counts;
}

Experiment du_toy() {
  return {
      .name = "du-toy",
      .help = "auxiliary losses that help and hurt in one and two dimensions, and gates on them",
      .source = "Du et al. 2018, arXiv 1812.02224",
      .settings = settings,
      .run = run,
      .report = report,
      .evaluate = no_evaluation};
}

}  // namespace concord::experiments
