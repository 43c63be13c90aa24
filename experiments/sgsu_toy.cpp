#include <concord/experiments/sgsu_toy.h>
#include <concord/multitask/registry.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::experiments {

namespace {

constexpr int kAlphas = 12;  // of the sweep, from 0 to alpha_most
constexpr const char *kBalance = "balance", *kSweep = "sweep";

struct ToyArm {
  const char *name, *method;
  int power;  // of the fixed point's formula; -1: depends on the start
};
constexpr ToyArm kArms[] = {{"sum", "sum", 0},
                            {"sgsu first order", "sum", 1},
                            {"sgsu exact", "sum", 2},
                            {"mgda", "mgda", -1},
                            {"pcgrad", "pcgrad", -1}};

Landscape landscape_of(const Settings& s, const ToyArm& arm, double alpha) {
  const double a = s.real("a"), b = s.real("b");
  Landscape plain = [a, b](const Point& x) { return sgsu_quadratics(x, a, b); };
  if (arm.power <= 0) return plain;
  return single_step_update(std::move(plain), alpha,
                            arm.power == 1 ? Outer::first_order : Outer::exact);
}

double alpha_of(const Settings& s, int k) { return s.real("alpha_most") * k / (kAlphas - 1); }

Settings settings() {
  Settings s("sgsu-toy");
  s.add("a", Real{.standard = 1, .low = 0, .high = 1000}, "curvature of task 1, smallest at 1");
  s.add("b", Real{.standard = 9, .low = 0, .high = 1000}, "curvature of task 2, smallest at -1");
  s.add("alpha", Real{.standard = 0.1, .low = 0, .high = 10}, "inner step");
  s.add("alpha_most", Real{.standard = 0.11, .low = 0, .high = 10},
        "largest inner step of the sweep");
  s.add("rate", Real{.standard = 0.05, .low = 0, .high = 10}, "outer step");
  s.add("iterations", Integer{.standard = 800, .low = 1, .high = 10'000'000}, "outer steps");
  s.add("start", Real{.standard = 2, .low = -1000, .high = 1000}, "where x begins");
  return s;
}

bool run(Job& job) {
  const Settings& s = job.settings;
  const std::int64_t iterations = s.integer("iterations");
  job.progress.begin(iterations * (static_cast<std::int64_t>(std::size(kArms)) + 2 * kAlphas), 0,
                     "steps");
  ToyLog log(job.folder, 0.001);
  const auto record = [&](const char* problem, const ToyArm& arm, std::int64_t start,
                          double alpha) {
    Walk walk(landscape_of(s, arm, alpha), multitask::make_aggregator(arm.method), Rule::descent,
              s.real("rate"), {s.real("start"), 0});
    return log.record(problem, arm.name, start, std::move(walk), iterations, job.progress);
  };
  for (const ToyArm& arm : kArms) {
    if (!record(kBalance, arm, 0, s.real("alpha"))) return false;
  }
  for (const ToyArm& arm : kArms) {
    if (arm.power <= 0) continue;
    for (int k = 0; k < kAlphas; ++k) {
      if (!record(kSweep, arm, k, alpha_of(s, k))) return false;
    }
  }
  return true;
}

std::vector<Section> sections(const Settings& s, const RunFolder& folder,
                              const std::filesystem::path& plot) {
  const ToyResults results(folder);
  const double a = s.real("a"), b = s.real("b"), alpha = s.real("alpha");
  Section result{.title = "The balance"};
  Table table({"<method", "x at the end", "fixed point", "L1", "L2"});
  LinePlot over_steps{.title = "On the way to the balance",
                      .x = {.label = "step", .low = 0, .high = 120},
                      .y = {.label = "x"}};
  for (const ToyArm& arm : kArms) {
    const Milestone& end = results.at(kBalance, arm.name, 0, "end");
    const LossPair here = sgsu_quadratics(end.at, a, b);
    table.add({arm.name, fmt::format("{:.10f}", end.at[0]),
               arm.power < 0 ? "the first Pareto point met"
                             : fmt::format("{:.10f}", sgsu_fixed_point(a, b, alpha, arm.power)),
               fmt::format("{:.4f}", here[0].value), fmt::format("{:.4f}", here[1].value)});
    for (const WalkedPath& path : results.paths) {
      if (path.problem == kBalance && path.arm == arm.name)
        over_steps.series.push_back({arm.name, path.step, path.x1});
    }
  }
  result.tables.push_back(std::move(table));
  result.paragraphs = {
      fmt::format(
          "Two tasks in one variable, L1 = {:g} (x - 1)^2 / 2 and L2 = {:g} (x + 1)^2 / 2. Every "
          "x between -1 and 1 is Pareto-optimal; which one a method takes is its balance. The "
          "plain sum sides with the steep task. Looking one step of {:g} ahead damps each task "
          "by its own curvature.",
          a, b, alpha),
      "With the default settings the first-order form balances the tasks exactly, and the exact "
      "form "
      "over-corrects to the side of the flat task. MGDA and PCGrad have no preference inside the "
      "Pareto set: in one variable opposed gradients leave nothing to go along, and they stop "
      "where "
      "they come in."};
  result.drawings.push_back(draw(over_steps, plot.string() + "steps"));

  Section sweep{.title = "The inner step"};
  LinePlot ends{.title = "Where the walk ends",
                .x = {.label = "inner step alpha"},
                .y = {.label = "x", .low = -1.05, .high = 1.05}};
  Table sweep_table({"alpha", "first order: x", "formula", "exact: x", "formula"});
  for (int k = 0; k < kAlphas; ++k) {
    std::vector<std::string> cells{fmt::format("{:.3f}", alpha_of(s, k))};
    for (const ToyArm& arm : kArms) {
      if (arm.power <= 0) continue;
      const double end = results.at(kSweep, arm.name, k, "end").at[0];
      cells.push_back(fmt::format("{:.8f}", end));
      cells.push_back(fmt::format("{:.8f}", sgsu_fixed_point(a, b, alpha_of(s, k), arm.power)));
    }
    sweep_table.add(std::move(cells));
  }
  for (const ToyArm& arm : kArms) {
    if (arm.power <= 0) continue;
    Series formula{.name = fmt::format("formula, {}", arm.power == 1 ? "first order" : "exact")};
    constexpr int kPoints = 110;
    for (int k = 0; k <= kPoints; ++k) {
      formula.x.push_back(s.real("alpha_most") * k / kPoints);
      formula.y.push_back(sgsu_fixed_point(a, b, formula.x.back(), arm.power));
    }
    ends.series.push_back(std::move(formula));
  }
  for (const ToyArm& arm : kArms) {
    if (arm.power <= 0) continue;
    Series measured{.name = arm.name, .marks = true};
    for (int k = 0; k < kAlphas; ++k) {
      measured.x.push_back(alpha_of(s, k));
      measured.y.push_back(results.at(kSweep, arm.name, k, "end").at[0]);
    }
    ends.series.push_back(std::move(measured));
  }
  sweep.drawings.push_back(draw(ends, plot.string() + "sweep"));
  sweep.tables.push_back(std::move(sweep_table));
  sweep.paragraphs = {
      "Fixed points: (A - B) / (A + B) with A = a (1 - alpha a)^p and B = b (1 - alpha b)^p, p = 1 "
      "for "
      "the first-order outer gradient and 2 for the exact one; alpha = 0 is the plain sum."};

  Section print{.title = "What differs from print"};
  print.paragraphs = {
      "Only the article's abstract was to be had: shared layers are trained with a single gradient "
      "step "
      "and an inner and an outer loop. The update here is a reconstruction from the literature it "
      "builds on (MAML): each task takes an inner step of its own, and the outer gradient is taken "
      "there. Whether the article's is of first order is not known, so both are shown. The problem "
      "is "
      "ours, chosen because its fixed points have a closed form; no figure of the article is "
      "reproduced. The exact form's Hessian-vector product is a central difference of gradients."};
  std::vector<Section> out;
  out.push_back(std::move(result));
  out.push_back(std::move(sweep));
  out.push_back(std::move(print));
  return out;
}

Report report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(
      runs, plots, settings, "Single gradient step update: the balance of two quadratics",
      "How one look ahead along each task's own gradient shifts the balance between a "
      "flat and a steep task (after Lee and Son 2020).",
      sections);
}

}  // namespace

LossPair sgsu_quadratics(const Point& x, double a, double b) {
  const double u = x[0] - 1, v = x[0] + 1;
  return {LossAt{0.5 * a * u * u, {a * u, 0}}, LossAt{0.5 * b * v * v, {b * v, 0}}};
}

Landscape single_step_update(Landscape landscape, double alpha, Outer outer) {
  return [landscape = std::move(landscape), alpha, outer](const Point& x) {
    const auto along = [](const Point& p, double length, const Point& v) {
      return Point{p[0] + length * v[0], p[1] + length * v[1]};
    };
    const LossPair here = landscape(x);
    LossPair out = here;
    for (std::size_t i = 0; i < 2; ++i) {
      const Point ahead = landscape(along(x, -alpha, here[i].gradient))[i].gradient;
      out[i].gradient = ahead;
      const double norm = std::hypot(ahead[0], ahead[1]);
      if (outer == Outer::first_order || norm == 0) continue;
      constexpr double kStep = 1e-4;
      const Point up = landscape(along(x, kStep / norm, ahead))[i].gradient;
      const Point down = landscape(along(x, -kStep / norm, ahead))[i].gradient;
      const Point difference = along(up, -1, down);
      out[i].gradient = along(ahead, -alpha * norm / (2 * kStep), difference);
    }
    return out;
  };
}

double sgsu_fixed_point(double a, double b, double alpha, int p) {
  const double damped_a = a * std::pow(1 - alpha * a, p), damped_b = b * std::pow(1 - alpha * b, p);
  return (damped_a - damped_b) / (damped_a + damped_b);
}

Experiment sgsu_toy() {
  return {.name = "sgsu-toy",
          .help = "the balance between a flat and a steep quadratic, with one look ahead per task",
          .source = "after Lee and Son 2020, arXiv 2005.09910",
          .settings = settings,
          .run = run,
          .report = report,
          .evaluate = no_evaluation};
}

}  // namespace concord::experiments
