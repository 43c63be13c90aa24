// The report of the main job: tables and plots of one run, or of several side by side.
#include <concord/experiments/multifashion.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

namespace concord::experiments {
namespace {

const std::vector<std::string>& kTasks = kMultiFashionTasks;

// Beyond these many arms, lines of one plot cannot be told apart: arms become rows of a heat map.
constexpr std::size_t kMostLines = 8;
// Pictures that one arm has to itself are drawn for the first arms only.
constexpr std::size_t kMostPictures = 4;
constexpr std::size_t kTimeCells = 25;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// One run as it lies in its folder.
struct RunData {
  explicit RunData(const RunFolder& folder)
      : name(folder.path().filename().string()),
        settings(multifashion_settings()),
        metrics(CsvTable::load(folder.metrics())),
        telemetry(CsvTable::load(folder.path() / "telemetry.csv")),
        layers(CsvTable::load(folder.path() / "layers.csv")),
        timings(CsvTable::load(folder.timings())) {
    settings.from_json(folder.config()["settings"]);
  }

  std::string name;
  Settings settings;
  CsvTable metrics, telemetry, layers, timings;
};

/// The rows of an arm's trial.
CsvTable rows_of(const CsvTable& table, const std::string& arm, int trial) {
  CsvTable rows{table.columns, {}};
  const std::size_t of_arm = table.column("arm"), of_trial = table.column("trial");
  const std::string number = std::to_string(trial);
  for (const auto& row : table.rows) {
    if (row[of_arm] == arm && row[of_trial] == number) rows.rows.push_back(row);
  }
  return rows;
}

/// One line of the comparison: an arm of a run, at its chosen trial.
struct ArmData {
  std::string label;  ///< the arm's name, after the run's when several runs are compared
  std::string arm;
  const RunData* run;
  std::vector<GridPoint> trials;
  int trial;  ///< the chosen one, or -1
  CsvTable metrics, telemetry, layers;
  std::map<std::string, std::map<std::int64_t, double>>
      accuracy;                                    ///< (%) on the test part, by task and seed
  double milliseconds = kNone, mebibytes = kNone;  ///< per step; most in a step

  ArmData(std::string label_, std::string arm_, const RunData& run_)
      : label(std::move(label_)),
        arm(std::move(arm_)),
        run(&run_),
        trials(trials_of(run->settings, arm)),
        trial(chosen_trial(run->metrics, arm)),
        metrics(rows_of(run->metrics, arm, trial)),
        telemetry(rows_of(run->telemetry, arm, trial)),
        layers(rows_of(run->layers, arm, trial)) {
    for (std::size_t r = 0; r < metrics.rows.size(); ++r) {
      if (metrics.text(r, "part") != "test") continue;
      accuracy[metrics.text(r, "task")][static_cast<std::int64_t>(metrics.number(r, "seed"))] =
          100 * metrics.number(r, "accuracy");
    }
    double seconds = 0, steps = 0, bytes = 0;
    const CsvTable timings = rows_of(run->timings, arm, trial);
    for (std::size_t r = 0; r < timings.rows.size(); ++r) {
      seconds += timings.number(r, "seconds");
      steps += timings.number(r, "steps");
      bytes = std::max(bytes, timings.number(r, "bytes"));
    }
    if (steps == 0) return;
    milliseconds = 1000 * seconds / steps;
    mebibytes = bytes / (1 << 20);
  }

  double value(const std::string& task, std::int64_t seed) const {
    const auto of_task = accuracy.find(task);
    if (of_task == accuracy.end()) return kNone;
    const auto of_seed = of_task->second.find(seed);
    return of_seed == of_task->second.end() ? kNone : of_seed->second;
  }
  /// f(seed) over the seeds for which it is not NaN.
  template <class F>
  Mean over_seeds(F&& f) const {
    std::vector<double> values;
    for (std::int64_t seed = 1; seed <= run->settings.integer("seeds"); ++seed) {
      const double v = f(seed);
      if (!std::isnan(v)) values.push_back(v);
    }
    return mean_of(values);
  }
  Mean of(const std::string& task) const {
    return over_seeds([&](std::int64_t seed) { return value(task, seed); });
  }
  bool joint() const { return arm != kLeftAlone && arm != kRightAlone; }
};

/// Relative loss of accuracy against each task alone in the same run and seed, in percent, averaged
/// over the tasks; lower is better. Maninis et al. (2019), as in CAGrad's tables.
Mean delta_m(const ArmData& arm, const std::vector<ArmData>& all) {
  const auto alone = [&](const char* name, const std::string& task, std::int64_t seed) {
    for (const ArmData& a : all) {
      if (a.run == arm.run && a.arm == name) return a.value(task, seed);
    }
    return kNone;
  };
  return arm.over_seeds([&](std::int64_t seed) {
    const double left = alone(kLeftAlone, "left", seed), right = alone(kRightAlone, "right", seed);
    return -50 *
           ((arm.value("left", seed) - left) / left + (arm.value("right", seed) - right) / right);
  });
}

std::string fixed(double value, int digits = 2) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, digits);
}

Table result_table(const std::vector<ArmData>& arms) {
  const bool grids =
      std::any_of(arms.begin(), arms.end(), [](const ArmData& a) { return a.trials.size() > 1; });
  std::vector<std::string> columns{"<arm",   "left (%)", "right (%)", "mean (%)",
                                   "Δm (%)", "ms/step",  "MiB"};
  if (grids) columns.insert(columns.end(), {"tried", "<chosen"});
  Table table(columns);
  for (const ArmData& a : arms) {
    const Mean mean = a.over_seeds(
        [&](std::int64_t seed) { return (a.value("left", seed) + a.value("right", seed)) / 2; });
    std::vector<std::string> cells{a.label,
                                   to_string(a.of("left")),
                                   to_string(a.of("right")),
                                   to_string(mean),
                                   to_string(delta_m(a, arms)),
                                   fixed(a.milliseconds),
                                   fixed(a.mebibytes, 1)};
    if (grids) {
      cells.push_back(std::to_string(a.trials.size()));
      cells.push_back(a.trial < 0 ? "-"
                                  : to_string(a.trials.at(static_cast<std::size_t>(a.trial))));
    }
    table.add(std::move(cells));
  }
  return table;
}

/// Column `y` of the table against its column `x`: mean and standard error over seeds, of the rows
/// that have the values of `where`.
Series curve(const std::string& name, const CsvTable& table, const std::string& x,
             const std::string& y, const std::map<std::string, std::string>& where,
             double factor = 1) {
  std::map<double, std::vector<double>> points;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    if (!std::all_of(where.begin(), where.end(),
                     [&](const auto& w) { return table.text(r, w.first) == w.second; }))
      continue;
    const double value = table.number(r, y);
    if (!std::isnan(value)) points[table.number(r, x)].push_back(factor * value);
  }
  Series s{.name = name};
  for (const auto& [at, values] : points) {
    const Mean m = mean_of(values);
    s.x.push_back(at);
    s.y.push_back(m.mean);
    s.error.push_back(std::isnan(m.error) ? 0 : m.error);
  }
  return s;
}

/// The ends of a scale of colours; the data's own when they are not given.
struct Scale {
  std::optional<double> low = {}, high = {};
};

/// Curves as rows of colours; time in kTimeCells cells at most, each the mean of what falls into
/// it.
HeatMap rows_of_colours(const LinePlot& plot, const Scale& scale) {
  HeatMap map{.title = plot.title, .label = plot.y.label};
  map.x_label = plot.x.label;
  double last = 1;
  std::size_t most = 1;
  for (const Series& s : plot.series) {
    if (!s.x.empty()) last = std::max(last, s.x.back());
    most = std::max(most, s.x.size());
  }
  const std::size_t cells = std::min(most, kTimeCells);
  for (std::size_t c = 0; c < cells; ++c)
    map.columns.push_back(
        fmt::format("{:.0f}", last * static_cast<double>(c + 1) / static_cast<double>(cells)));
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const Series& s : plot.series) {
    std::vector<std::vector<double>> in_cell(cells);
    for (std::size_t k = 0; k < s.x.size(); ++k) {
      const double at = std::ceil(s.x[k] / last * static_cast<double>(cells)) - 1;
      in_cell[std::min(cells - 1, static_cast<std::size_t>(std::max(0.0, at)))].push_back(s.y[k]);
    }
    map.rows.push_back(s.name);
    map.values.emplace_back();
    for (const auto& values : in_cell) {
      const double mean = values.empty() ? kNone : mean_of(values).mean;
      map.values.back().push_back(mean);
      if (std::isnan(mean)) continue;
      low = std::min(low, mean);
      high = std::max(high, mean);
    }
  }
  map.diverging = scale.low && *scale.low < 0;
  map.low = scale.low.value_or(low);
  map.high = scale.high.value_or(high);
  if (!(map.low < map.high)) {  // nothing, or one value everywhere
    map.low = std::isfinite(low) ? low - 0.5 : 0;
    map.high = map.low + 1;
  }
  return map;
}

/// Lines while they can be told apart.
Drawing draw_curves(const LinePlot& plot, const std::filesystem::path& base,
                    const Scale& scale = {}) {
  return plot.series.size() <= kMostLines ? draw(plot, base)
                                          : draw(rows_of_colours(plot, scale), base);
}

std::vector<Series> curves(const std::vector<ArmData>& arms, const CsvTable ArmData::*csv,
                           const std::string& x, const std::string& y,
                           const std::map<std::string, std::string>& where, double factor = 1) {
  std::vector<Series> series;
  for (const ArmData& arm : arms) series.push_back(curve(arm.label, arm.*csv, x, y, where, factor));
  return series;
}

double column_mean(const CsvTable& table, const std::string& column) {
  std::vector<double> values;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const double v = table.number(r, column);
    if (!std::isnan(v)) values.push_back(v);
  }
  return values.empty() ? kNone : mean_of(values).mean;
}

/// What telemetry saw, averaged over the run and its seeds.
Table telemetry_table(const std::vector<ArmData>& arms) {
  Table table({"<arm", "cosine", "conflicts (%)", "similarity", "ξ", "dominated (%)",
               "log10 condition", "w left", "w right", "|d|", "min <g,d>"});
  for (const ArmData& a : arms) {
    const auto mean = [&](const char* column, double factor = 1) {
      return factor * column_mean(a.telemetry, column);
    };
    table.add({a.label, fixed(mean("mean_cosine")), fixed(mean("conflict_rate", 100), 1),
               fixed(mean("magnitude_similarity")), fixed(mean("bounding_measure")),
               fixed(mean("dominated_conflict", 100), 1), fixed(mean("log10_condition")),
               fixed(mean("weight_0"), 3), fixed(mean("weight_1"), 3),
               fixed(mean("direction_norm"), 3), fixed(mean("min_progress"), 4)});
  }
  return table;
}

/// Mean cosines, task by task.
HeatMap cosine_map(const ArmData& arm) {
  HeatMap map{
      .title = "Mean cosines: " + arm.label, .label = "cosine", .rows = kTasks, .columns = kTasks};
  for (std::size_t i = 0; i < kTasks.size(); ++i) {
    map.values.emplace_back();
    for (std::size_t j = 0; j < kTasks.size(); ++j) {
      const std::string pair = fmt::format("cos_{}_{}", std::min(i, j), std::max(i, j));
      map.values.back().push_back(i == j ? 1 : column_mean(arm.telemetry, pair));
    }
  }
  return map;
}

/// Conflict rate over time (columns), a row per layer.
HeatMap layer_map(const ArmData& arm) {
  LinePlot plot{"Conflicts by layer: " + arm.label,
                {.label = "step"},
                {.label = "steps in conflict (%)"},
                {}};
  std::vector<std::string> layers;
  for (std::size_t r = 0; r < arm.layers.rows.size(); ++r) {
    const std::string& layer = arm.layers.text(r, "layer");
    if (std::find(layers.begin(), layers.end(), layer) == layers.end()) layers.push_back(layer);
  }
  for (const auto& layer : layers)
    plot.series.push_back(
        curve(layer, arm.layers, "step", "conflict_rate", {{"layer", layer}}, 100));
  return rows_of_colours(plot, {0, 100});
}

/// Test accuracies: bars, or numbers on colours where the arms are too many for bars.
Drawing draw_accuracies(const std::vector<ArmData>& arms, const std::filesystem::path& base) {
  BarPlot bars{.title = "Test accuracy", .y = {.label = "accuracy (%)"}};
  HeatMap map{.title = bars.title, .label = bars.y.label, .columns = kTasks, .diverging = false};
  map.low = 100;
  map.high = 0;
  for (const ArmData& arm : arms) {
    bars.categories.push_back(arm.label);
    map.rows.push_back(arm.label);
    map.values.emplace_back();
    for (const auto& task : kTasks) {
      const Mean m = arm.of(task);
      map.values.back().push_back(m.count ? m.mean : kNone);
      if (m.count == 0) continue;
      map.low = std::min(map.low, m.mean);
      map.high = std::max(map.high, m.mean);
    }
  }
  if (arms.size() > kMostLines) {
    if (!(map.low < map.high)) map.low = map.high - 1;
    return draw(map, base);
  }
  for (const auto& task : kTasks) {
    Series series{.name = task};
    for (const ArmData& arm : arms) {
      const Mean m = arm.of(task);
      series.y.push_back(m.count ? m.mean : kNone);
      if (arms.front().run->settings.integer("seeds") > 1) series.error.push_back(m.error);
    }
    bars.series.push_back(std::move(series));
  }
  return draw(bars, base);
}

}  // namespace

Report multifashion_report(std::span<const RunFolder> folders, const std::filesystem::path& plots) {
  std::vector<RunData> runs(folders.begin(), folders.end());
  std::vector<ArmData> arms, joint;
  for (const RunData& run : runs) {
    for (const auto& arm : run.settings.list("methods")) {
      arms.emplace_back(runs.size() == 1 ? arm : run.name + ": " + arm, arm, run);
      if (arms.back().joint()) joint.push_back(arms.back());
    }
  }
  const Settings& s = runs.front().settings;

  Report report;
  report.title = "Multi-Fashion: two tasks in one image";
  report.summary = fmt::format(
      "{} arms, {} seeds, {} epochs of {} images, network {}. Test accuracy after the last epoch, "
      "mean ± standard error over seeds. "
      "Nothing was chosen on the test part.",
      arms.size(), s.integer("seeds"), s.integer("epochs"), with_commas(s.integer("train")),
      s.text("net"));

  Section result{.title = "Result"};
  result.tables.push_back(result_table(arms));
  result.paragraphs.push_back(
      "Δm is the relative loss of accuracy against each task alone, averaged over both tasks and "
      "paired by seed; lower is better, and "
      "negative means that the tasks help each other. The time of a step includes data, forward "
      "pass, one sweep for all tasks, the method "
      "and the optimiser; MiB is the most memory that a step's tensors took: parameters, "
      "gradients, "
      "the optimiser's and the method's vectors, activations. An arm without numbers diverged.");
  if (std::any_of(arms.begin(), arms.end(), [](const ArmData& a) { return a.trials.size() > 1; })) {
    result.paragraphs.push_back(
        "tried: so many settings were trained with every seed; the chosen one has the best "
        "validation accuracy after the last epoch, averaged over tasks and seeds, and only it met "
        "the test part.");
  }
  result.drawings.push_back(draw_accuracies(arms, plots / "accuracy"));
  report.sections.push_back(std::move(result));

  Section learning{.title = "Learning curves"};
  for (const auto& task : kTasks) {
    learning.drawings.push_back(
        draw_curves(LinePlot{"Validation accuracy, " + task,
                             {.label = "epoch"},
                             {.label = "accuracy (%)"},
                             curves(arms, &ArmData::metrics, "epoch", "accuracy",
                                    {{"part", "validation"}, {"task", task}}, 100)},
                    plots / ("validation-" + task)));
    learning.drawings.push_back(draw_curves(
        LinePlot{
            "Training loss, " + task,
            {.label = "epoch"},
            {.label = "cross-entropy (nats)"},
            curves(arms, &ArmData::metrics, "epoch", "loss", {{"part", "train"}, {"task", task}})},
        plots / ("loss-" + task)));
  }
  report.sections.push_back(std::move(learning));

  if (!joint.empty()) {
    const auto over_steps = [&](const std::string& title, const std::string& label,
                                const std::string& column, double factor = 1,
                                const Scale& scale = {}) {
      return draw_curves(LinePlot{title,
                                  {.label = "step"},
                                  {.label = label},
                                  curves(joint, &ArmData::telemetry, "step", column, {}, factor)},
                         plots / column, scale);
    };
    Section agreement{.title = "How the gradients agree"};
    agreement.paragraphs.push_back(
        "Measured in every step on the trunk's parameters, from the Gram matrix that the methods "
        "use anyway, and averaged over the run; of methods that rewrite elements (graddrop), of "
        "the rows they let through. Two gradients conflict when their cosine is "
        "negative. Similarity is 2|g||h| / (|g|² + |h|²), 1 for equal lengths; ξ the curvature "
        "bounding measure (1 - cos²)|g - h|² / |g + h|²; a conflict is dominated when cos <= "
        "-similarity, condition (a) of PCGrad's theorem 2; the condition number is that of the "
        "Gram matrix.");
    agreement.tables.push_back(telemetry_table(joint));
    const std::size_t pictures = std::min(joint.size(), kMostPictures);
    for (std::size_t a = 0; a < pictures; ++a)
      agreement.drawings.push_back(
          draw(cosine_map(joint[a]), plots / fmt::format("cosines-{}", a)));
    agreement.drawings.push_back(
        over_steps("Cosine of the two gradients", "cosine", "cos_0_1", 1, {-1, 1}));
    agreement.drawings.push_back(
        over_steps("Conflict rate", "steps in conflict (%)", "conflict_rate", 100, {0, 100}));
    for (std::size_t a = 0; a < pictures; ++a) {
      if (joint[a].layers.rows.empty()) continue;
      agreement.drawings.push_back(draw(layer_map(joint[a]), plots / fmt::format("layers-{}", a)));
    }
    report.sections.push_back(std::move(agreement));

    Section weights{.title = "What the methods do"};
    weights.paragraphs.push_back(
        "The direction d is a weighted sum of the two gradients; these are the weights. Methods "
        "that work element by element or drive the step themselves may have none.");
    weights.drawings.push_back(over_steps("Weight of left", "weight", "weight_0"));
    weights.drawings.push_back(over_steps("Weight of right", "weight", "weight_1"));
    if (joint.size() <= kMostLines) {  // lengths of different methods share no scale of colours
      weights.drawings.push_back(
          over_steps("Progress of the task worse off", "min over tasks of <g, d>", "min_progress"));
      weights.drawings.push_back(over_steps("Length of the direction", "|d|", "direction_norm"));
    }
    report.sections.push_back(std::move(weights));
  }
  for (const RunFolder& folder : folders) {
    Settings settings = multifashion_settings();
    settings.from_json(folder.config()["settings"]);
    report.sections.push_back(settings_section(settings));
    report.sections.push_back(machine_section(folder));
    report.sections.push_back(repeat_section(folder));
  }
  return report;
}

}  // namespace concord::experiments
