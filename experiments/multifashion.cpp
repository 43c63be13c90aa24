#include <concord/data/registry.h>
#include <concord/experiments/multifashion.h>
#include <concord/experiments/trace.h>
#include <concord/experiments/training.h>
#include <concord/multitask/registry.h>
#include <concord/nn/network.h>
#include <concord/nn/state.h>
#include <concord/optim/registry.h>
#include <concord/tensor/serialize.h>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

namespace concord::experiments {
namespace {

constexpr const char* kLeftAlone = "left_alone";
constexpr const char* kRightAlone = "right_alone";
const std::vector<std::string> kTasks{"left", "right"};

template <class Names>
std::vector<std::string> strings(const Names& names) {
  return {names.begin(), names.end()};
}

Settings multifashion_settings() {
  std::vector<std::string> arms{kLeftAlone, kRightAlone}, networks;
  for (const auto& m : multitask::all_methods()) {
    if (m.name != "single" && m.name != "constant") arms.emplace_back(m.name);
  }
  for (const auto& n : nn::networks()) networks.emplace_back(n.name);

  Settings s("multifashion");
  s.add("methods",
        Choices{.standard = {kLeftAlone, kRightAlone, "equal", "cosine_gate", "pcgrad", "mgda",
                             "cagrad"},
                .valid = arms,
                .kind = "method"},
        "arms of the comparison, in order");
  s.add("seeds", Integer{.standard = 2, .full = 3, .low = 1, .high = 1000},
        "seeds 1, 2, ...; arms of one seed share weights and batches");
  s.add("net", Choice{.standard = "lenet", .valid = networks, .kind = "network"},
        "trunk; a linear head per task");
  s.add("images",
        Choice{.standard = "multi_fashion",
               .valid = {"multi_fashion", "multi_mnist", "multi_fashion_mnist"},
               .kind = "data set"},
        "what is overlaid: concord list data");
  s.add("train", Integer{.standard = 20000, .full = 60000, .low = 1, .high = 10'000'000},
        "training images");
  s.add("validation", Integer{.standard = 2000, .full = 5000, .low = 1, .high = 1'000'000},
        "validation images");
  s.add("test", Integer{.standard = 5000, .full = 10000, .low = 1, .high = 1'000'000},
        "test images");
  s.add("epochs", Integer{.standard = 5, .full = 100, .low = 1, .high = 100000},
        "passes over the training images");
  s.add("batch", Integer{.standard = 256, .low = 1, .high = 100000}, "images per step");
  s.add("optimizer",
        Choice{.standard = "adam", .valid = strings(optim::optimizer_names()), .kind = "optimizer"},
        "update rule");
  s.add("rate", Real{.standard = 1e-3, .low = 0, .high = 100}, "learning rate");
  s.add("momentum", Real{.standard = 0.9, .low = 0, .high = 1}, "of sgd and rmsprop");
  s.add("decay", Real{.standard = 0, .low = 0, .high = 100}, "weight decay");
  s.add(
      "schedule",
      Choice{.standard = "constant", .valid = strings(optim::schedule_names()), .kind = "schedule"},
      "learning rate over the run");
  s.add("clip", Real{.standard = 0, .low = 0}, "bound on the direction's norm; 0: none");
  s.add("watch", Flag{.standard = false}, "stop at the first NaN or infinity and name its op");
  s.add("workers", Integer{.standard = 0, .low = 0, .high = 64},
        "loader threads; 0: batches are made in the training thread");
  s.add("data", Text{.standard = ""}, "folder of the IDX files; empty: Debian's Fashion-MNIST");
  s.add("log_every", Integer{.standard = 20, .low = 1, .high = 1'000'000},
        "steps per row of telemetry.csv");
  s.add("checkpoint_seconds", Real{.standard = 60, .low = 0}, "time between checkpoints");
  for (const auto& m : multitask::all_methods()) {
    if (std::find(arms.begin(), arms.end(), m.name) == arms.end()) continue;
    for (const auto& [option, standard] : multitask::default_options(m.name)) {
      s.add(fmt::format("{}.{}", m.name, option), Text{.standard = standard},
            fmt::format("option of {}", m.name));
    }
  }
  return s;
}

Arm arm_of(const std::string& name, const Settings& s) {
  if (name == kLeftAlone) return {name, "single", {}, {0}};
  if (name == kRightAlone) return {name, "single", {}, {1}};
  Arm arm{name, name, {}, {0, 1}};
  for (const auto& [option, standard] : multitask::default_options(name)) {
    const std::string& value = s.text(name + "." + option);
    if (value != standard) arm.options[option] = value;
  }
  return arm;
}

TrainingOptions training_options(const Settings& s, std::int64_t seed) {
  TrainingOptions o;
  o.network = s.text("net");
  o.epochs = s.integer("epochs");
  o.loader.batch_size = s.integer("batch");
  o.loader.last = data::LastBatch::keep;
  o.loader.workers = static_cast<int>(s.integer("workers"));
  o.optimizer = s.text("optimizer");
  o.rate = s.real("rate");
  o.momentum = s.real("momentum");
  o.decay = s.real("decay");
  o.schedule = s.text("schedule");
  o.clip_norm = s.real("clip");
  o.watch = s.flag("watch");
  o.seed = static_cast<std::uint64_t>(seed);
  return o;
}

data::Splits load_data(const Settings& s) {
  return data::find_dataset(s.text("images"))
      .open({.path = s.text("data"),
             .train = s.integer("train"),
             .validation = s.integer("validation"),
             .test = s.integer("test")});
}

/// The run's position on disk: which part is being worked on, how many rows each log has, and the
/// part's training state if it has begun.
class Journal {
 public:
  Journal(const RunFolder& folder, const std::vector<std::string>& telemetry_columns)
      : path_(folder.checkpoint("progress")) {
    if (std::filesystem::exists(path_)) saved_ = load_safetensors(path_);
    const auto count = [&](const char* key) -> std::int64_t {
      const auto it = saved_.metadata.find(key);
      return it == saved_.metadata.end() ? 0 : std::stoll(it->second);
    };
    part_ = static_cast<std::size_t>(count("part"));
    std::vector<std::string> columns{"arm", "seed", "step"};
    columns.insert(columns.end(), telemetry_columns.begin(), telemetry_columns.end());
    metrics.emplace(
        folder.metrics(),
        std::vector<std::string>{"arm", "seed", "epoch", "part", "task", "loss", "accuracy"},
        count("metrics"));
    telemetry.emplace(folder.path() / "telemetry.csv", columns, count("telemetry"));
    timings.emplace(folder.timings(),
                    std::vector<std::string>{"arm", "seed", "steps", "images", "seconds"},
                    count("timings"));
  }

  std::size_t part() const { return part_; }
  /// The training state of the part that was interrupted, or null.
  const TensorFile* interrupted() const { return saved_.tensors.empty() ? nullptr : &saved_; }

  /// `training` null: parts before `part` are finished and nothing of it has begun.
  void write(std::size_t part, const Training* training) {
    metrics->sync();
    telemetry->sync();
    timings->sync();
    TensorFile file;
    if (training) training->save(file);
    file.metadata["part"] = std::to_string(part);
    file.metadata["metrics"] = std::to_string(metrics->rows());
    file.metadata["telemetry"] = std::to_string(telemetry->rows());
    file.metadata["timings"] = std::to_string(timings->rows());
    save_safetensors(path_, file);
    saved_ = {};
  }

  std::optional<CsvLog> metrics, telemetry, timings;

 private:
  std::filesystem::path path_;
  TensorFile saved_;
  std::size_t part_ = 0;
};

struct Part {
  std::string arm;
  std::int64_t seed;
};

std::vector<Part> parts_of(const Settings& s) {
  std::vector<Part> parts;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
    for (const auto& arm : s.list("methods")) parts.push_back({arm, seed});
  }
  return parts;
}

/// The final weights of a part, as a state dict.
std::filesystem::path weights_of(const RunFolder& folder, const Part& part) {
  return folder.checkpoint(fmt::format("{}-seed{}", part.arm, part.seed));
}

std::string percent(double share) { return fmt::format("{:.2f} %", 100 * share); }

/// Time spent in a part since the last row of timings.csv.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void restart() { start_ = Clock::now(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

class MultiFashionRun {
 public:
  explicit MultiFashionRun(Job& job)
      : job_(job),
        settings_(job.settings),
        splits_(load_data(settings_)),
        parts_(parts_of(settings_)),
        journal_(job.folder, multitask::Telemetry(2).columns()) {}

  bool run() {
    const std::int64_t images = settings_.integer("train") * settings_.integer("epochs");
    std::int64_t done = images * static_cast<std::int64_t>(journal_.part());
    if (const TensorFile* file = journal_.interrupted()) {
      done += file->tensors.at("counts").values<std::int64_t>()[0] * settings_.integer("batch");
    }
    job_.progress.begin(images * static_cast<std::int64_t>(parts_.size()), done);
    for (std::size_t p = journal_.part(); p < parts_.size(); ++p) {
      if (!run_part(p)) return false;
    }
    return true;
  }

 private:
  bool run_part(std::size_t index) {
    const Part& part = parts_[index];
    Training training(arm_of(part.arm, settings_), training_options(settings_, part.seed),
                      splits_.train);
    if (const TensorFile* file = journal_.interrupted()) training.load(*file);
    job_.progress.part(
        fmt::format("{}, seed {} of {}", part.arm, part.seed, settings_.integer("seeds")));
    Profile profile;
    const bool profiling = job_.profile && index == 0 && training.steps() == 0;
    if (profiling) training.profile(&profile);

    Stopwatch since_checkpoint, training_time;
    std::int64_t images = 0, steps = 0;
    const auto note_time = [&] {
      if (steps > 0)
        journal_.timings->append(
            {std::string_view(part.arm), part.seed, steps, images, training_time.seconds()});
      steps = images = 0;
    };
    while (!training.done()) {
      const index_t n = training.step();
      images += n;
      ++steps;
      job_.progress.advance(n);
      if (profiling && training.steps() == kProfiledSteps) {
        training.profile(nullptr);
        write_profile(profile, kProfiledSteps, job_.folder.path());
        job_.progress.line(fmt::format("profile of {} steps: {}", kProfiledSteps,
                                       (job_.folder.path() / "profile.txt").string()));
      }
      if (training.steps() % settings_.integer("log_every") == 0) log_telemetry(part, training);
      if (training.steps() % training.steps_per_epoch() == 0) {
        note_time();
        end_epoch(part, training);
        training_time.restart();
      }
      const bool stop = stop_requested();
      if (stop || since_checkpoint.seconds() > settings_.real("checkpoint_seconds")) {
        note_time();
        journal_.write(index, &training);
        since_checkpoint.restart();
        training_time.restart();
      }
      if (stop) return false;
    }
    save_safetensors(weights_of(job_.folder, part), {training.weights(), {}});
    journal_.write(index + 1, nullptr);
    return true;
  }

  void log_telemetry(const Part& part, const Training& training) {
    if (training.arm().tasks.size() < 2) return;
    std::vector<CsvLog::Cell> cells{std::string_view(part.arm), part.seed, training.steps()};
    for (const double v :
         training.telemetry().mean(static_cast<int>(settings_.integer("log_every"))))
      cells.emplace_back(v);
    journal_.telemetry->append(cells);
  }

  void end_epoch(const Part& part, Training& training) {
    const auto losses = training.take_losses();
    const auto append = [&](std::string_view split, int task, double loss, double accuracy) {
      journal_.metrics->append({std::string_view(part.arm), part.seed, training.epoch(), split,
                                std::string_view(kTasks[static_cast<std::size_t>(task)]), loss,
                                accuracy});
    };
    const auto& tasks = training.arm().tasks;
    for (std::size_t t = 0; t < tasks.size(); ++t)
      append("train", tasks[t], losses[t], std::numeric_limits<double>::quiet_NaN());
    std::string text;
    const auto scores = training.evaluate(*splits_.validation);
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      append("validation", tasks[t], scores[t].loss, scores[t].accuracy);
      text += fmt::format("{}{} {}", t ? "   " : "", kTasks[static_cast<std::size_t>(tasks[t])],
                          percent(scores[t].accuracy));
    }
    job_.progress.note("validation: " + text);
    if (!training.done()) return;
    const auto final_scores = training.evaluate(*splits_.test);
    text.clear();
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      append("test", tasks[t], final_scores[t].loss, final_scores[t].accuracy);
      text += fmt::format("   {} {}", kTasks[static_cast<std::size_t>(tasks[t])],
                          percent(final_scores[t].accuracy));
    }
    job_.progress.line(fmt::format("{:<12} seed {}   test:{}", part.arm, part.seed, text));
  }

  static constexpr int kProfiledSteps = 20;

  Job& job_;
  const Settings& settings_;
  data::Splits splits_;
  std::vector<Part> parts_;
  Journal journal_;
};

bool run(Job& job) { return MultiFashionRun(job).run(); }

Table evaluate(const RunFolder& folder, const std::string& split) {
  Settings s = multifashion_settings();
  s.from_json(folder.config()["settings"]);
  const data::Splits splits = load_data(s);
  const std::map<std::string, data::DatasetPtr> sets{
      {"train", splits.train}, {"validation", splits.validation}, {"test", splits.test}};
  const auto set = sets.find(split);
  if (set == sets.end()) throw_unknown("part of the data", split, {"train", "validation", "test"});
  Table table({"<arm", "seed", "<task", "loss", "accuracy (%)"});
  for (const Part& part : parts_of(s)) {
    if (!std::filesystem::exists(weights_of(folder, part))) continue;
    const Training training(arm_of(part.arm, s), training_options(s, part.seed), splits.train);
    nn::load_state(training.theta(), load_safetensors(weights_of(folder, part)).tensors);
    const auto scores = training.evaluate(*set->second);
    for (std::size_t t = 0; t < scores.size(); ++t) {
      table.add({part.arm, std::to_string(part.seed),
                 kTasks[static_cast<std::size_t>(training.arm().tasks[t])],
                 fmt::format("{:.4f}", scores[t].loss),
                 fmt::format("{:.2f}", 100 * scores[t].accuracy)});
    }
  }
  return table;
}

// --- From run folders to a report
// -----------------------------------------------------------------

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// One run as it lies in its folder.
struct RunData {
  explicit RunData(const RunFolder& folder)
      : name(folder.path().filename().string()),
        settings(multifashion_settings()),
        metrics(CsvTable::load(folder.metrics())),
        telemetry(CsvTable::load(folder.path() / "telemetry.csv")),
        timings(CsvTable::load(folder.timings())) {
    settings.from_json(folder.config()["settings"]);
  }

  std::string name;
  Settings settings;
  CsvTable metrics, telemetry, timings;
};

/// One line of the comparison: an arm of a run.
struct ArmData {
  std::string label;  ///< the arm's name, after the run's when several runs are compared
  std::string arm;
  const RunData* run;
  std::map<std::string, std::map<std::int64_t, double>>
      accuracy;                 ///< (%) on the test part, by task and seed
  double milliseconds = kNone;  ///< per step

  ArmData(std::string label_, std::string arm_, const RunData& run_)
      : label(std::move(label_)), arm(std::move(arm_)), run(&run_) {
    const CsvTable& m = run->metrics;
    for (std::size_t r = 0; r < m.rows.size(); ++r) {
      if (m.text(r, "arm") != arm || m.text(r, "part") != "test") continue;
      accuracy[m.text(r, "task")][static_cast<std::int64_t>(m.number(r, "seed"))] =
          100 * m.number(r, "accuracy");
    }
    double seconds = 0, steps = 0;
    for (std::size_t r = 0; r < run->timings.rows.size(); ++r) {
      if (run->timings.text(r, "arm") != arm) continue;
      seconds += run->timings.number(r, "seconds");
      steps += run->timings.number(r, "steps");
    }
    if (steps > 0) milliseconds = 1000 * seconds / steps;
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

Table result_table(const std::vector<ArmData>& arms) {
  Table table({"<arm", "left (%)", "right (%)", "mean (%)", "Δm (%)", "ms/step"});
  for (const ArmData& a : arms) {
    const Mean mean = a.over_seeds(
        [&](std::int64_t seed) { return (a.value("left", seed) + a.value("right", seed)) / 2; });
    table.add({a.label, to_string(a.of("left")), to_string(a.of("right")), to_string(mean),
               to_string(delta_m(a, arms)),
               std::isnan(a.milliseconds) ? "-" : fmt::format("{:.2f}", a.milliseconds)});
  }
  return table;
}

/// One series per arm, column `y` against column `x`: mean and standard error over seeds, of the
/// rows that have the values of `where`.
std::vector<Series> curves(const std::vector<ArmData>& arms, const CsvTable RunData::*csv,
                           const std::string& x, const std::string& y,
                           const std::map<std::string, std::string>& where, double factor = 1) {
  std::vector<Series> series;
  for (const ArmData& arm : arms) {
    const CsvTable& table = arm.run->*csv;
    std::map<double, std::vector<double>> points;
    for (std::size_t r = 0; r < table.rows.size(); ++r) {
      if (table.text(r, "arm") != arm.arm) continue;
      if (!std::all_of(where.begin(), where.end(),
                       [&](const auto& w) { return table.text(r, w.first) == w.second; }))
        continue;
      const double value = table.number(r, y);
      if (!std::isnan(value)) points[table.number(r, x)].push_back(factor * value);
    }
    Series s{.name = arm.label};
    for (const auto& [at, values] : points) {
      const Mean m = mean_of(values);
      s.x.push_back(at);
      s.y.push_back(m.mean);
      s.error.push_back(std::isnan(m.error) ? 0 : m.error);
    }
    series.push_back(std::move(s));
  }
  return series;
}

Report report(std::span<const RunFolder> folders, const std::filesystem::path& plots) {
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
      "and the optimiser.");
  BarPlot bars{.title = "Test accuracy", .y = {.label = "accuracy (%)"}};
  for (const ArmData& arm : arms) bars.categories.push_back(arm.label);
  for (const auto& task : kTasks) {
    Series series{.name = task};
    for (const ArmData& arm : arms) {
      const Mean m = arm.of(task);
      series.y.push_back(m.count ? m.mean : kNone);
      if (s.integer("seeds") > 1) series.error.push_back(m.error);
    }
    bars.series.push_back(std::move(series));
  }
  result.drawings.push_back(draw(bars, plots / "accuracy"));
  report.sections.push_back(std::move(result));

  Section learning{.title = "Learning curves"};
  for (const auto& task : kTasks) {
    learning.drawings.push_back(
        draw(LinePlot{"Validation accuracy, " + task,
                      {.label = "epoch"},
                      {.label = "accuracy (%)"},
                      curves(arms, &RunData::metrics, "epoch", "accuracy",
                             {{"part", "validation"}, {"task", task}}, 100)},
             plots / ("validation-" + task)));
    learning.drawings.push_back(draw(LinePlot{"Training loss, " + task,
                                              {.label = "epoch"},
                                              {.label = "cross-entropy (nats)"},
                                              curves(arms, &RunData::metrics, "epoch", "loss",
                                                     {{"part", "train"}, {"task", task}})},
                                     plots / ("loss-" + task)));
  }
  report.sections.push_back(std::move(learning));

  if (!joint.empty()) {
    const auto over_steps = [&](const std::string& title, const std::string& label,
                                const std::string& column, double factor = 1) {
      return draw(LinePlot{title,
                           {.label = "step"},
                           {.label = label},
                           curves(joint, &RunData::telemetry, "step", column, {}, factor)},
                  plots / column);
    };
    Section agreement{.title = "How the gradients agree"};
    agreement.paragraphs.push_back(
        "Measured in every step on the trunk's parameters, from the Gram matrix that the methods "
        "use anyway. Two gradients conflict when "
        "their cosine is negative.");
    agreement.drawings.push_back(over_steps("Cosine of the two gradients", "cosine", "cos_0_1"));
    agreement.drawings.push_back(
        over_steps("Conflict rate", "steps in conflict (%)", "conflict_rate", 100));
    agreement.drawings.push_back(
        over_steps("Progress of the task worse off", "min over tasks of <g, d>", "min_progress"));
    agreement.drawings.push_back(over_steps("Length of the direction", "|d|", "direction_norm"));
    report.sections.push_back(std::move(agreement));

    Section weights{.title = "What the methods do"};
    weights.paragraphs.push_back(
        "The direction is a weighted sum of the two gradients; these are the weights.");
    weights.drawings.push_back(over_steps("Weight of left", "weight", "weight_0"));
    weights.drawings.push_back(over_steps("Weight of right", "weight", "weight_1"));
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

}  // namespace

Experiment multifashion() {
  return {.name = "multifashion",
          .help = "multitask methods on two clothes in one image, against each task alone",
          .source = "Sener and Koltun 2018 (MultiMNIST); Yu et al. 2020; Liu et al. 2021",
          .settings = multifashion_settings,
          .run = run,
          .report = report,
          .evaluate = evaluate};
}

}  // namespace concord::experiments
