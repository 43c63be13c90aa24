#include <concord/data/registry.h>
#include <concord/experiments/multifashion.h>
#include <concord/experiments/trace.h>
#include <concord/experiments/training.h>
#include <concord/multitask/aggregate.h>
#include <concord/nn/network.h>
#include <concord/nn/state.h>
#include <concord/optim/registry.h>
#include <concord/tensor/serialize.h>
#include <concord/tensor/storage.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

namespace concord::experiments {
namespace {

const std::vector<std::string>& kTasks = kMultiFashionTasks;

template <class Names>
std::vector<std::string> strings(const Names& names) {
  return {names.begin(), names.end()};
}

// What a grid may vary beside the methods' options: how an arm is trained, not on what.
const std::vector<std::string> kGridSettings{"lr",        "momentum", "decay", "schedule",
                                             "optimizer", "clip",     "batch"};

/// Krum, for one, needs more.
bool serves_two_tasks(const multitask::MethodInfo& m) {
  if (m.kind == multitask::Kind::step || m.name == "constant") return true;
  const std::vector<double> identity{1, 0, 0, 1}, losses{1, 1};
  try {
    multitask::aggregate(m.name, {}, identity, 2, 2, losses);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Settings multifashion_settings() {
  std::vector<std::string> arms{kLeftAlone, kRightAlone}, networks;
  for (const auto& m : multitask::all_methods()) {
    if (m.name != "single" && serves_two_tasks(m)) arms.emplace_back(m.name);
  }
  for (const auto& n : nn::networks()) networks.emplace_back(n.name);

  Settings s("multifashion");
  s.add("methods",
        Choices{.standard = {kLeftAlone, kRightAlone, "equal", "cosine_gate", "pcgrad", "mgda",
                             "cagrad"},
                .valid = arms,
                .kind = "method"},
        "arms of the comparison, in order");
  s.add("grid", Text{.standard = ""},
        "values to choose from per arm on the validation part: lr=1e-3:3e-3,cagrad.c=0.2:0.4");
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
  s.add("lr", Real{.standard = 1e-3, .low = 0, .high = 100}, "learning rate");
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
  add_device(s);
  s.add("graphs", Flag{.standard = true}, "on a device: each step as two CUDA graphs");
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

std::vector<GridPoint> trials_of(const Settings& settings, const std::string& arm) {
  std::vector<GridAxis> axes;
  for (GridAxis& axis : parse_grid(settings.text("grid"))) {
    const std::size_t dot = axis.setting.find('.');
    if (dot == std::string::npos) {
      const auto& valid = kGridSettings;
      if (std::find(valid.begin(), valid.end(), axis.setting) == valid.end())
        throw_unknown("setting of a grid", axis.setting, valid);
      axes.push_back(std::move(axis));
    } else if (axis.setting.compare(0, dot, arm) == 0) {
      axes.push_back(std::move(axis));
    }
  }
  const bool weights_given = arm != "constant" || !settings.text("constant.w").empty() ||
                             std::any_of(axes.begin(), axes.end(), [](const GridAxis& a) {
                               return a.setting == "constant.w";
                             });
  if (!weights_given) {
    GridAxis weights{"constant.w", {}};
    for (int tenths = 1; tenths <= 9; ++tenths)
      weights.values.push_back(fmt::format("0.{},0.{}", tenths, 10 - tenths));
    axes.push_back(std::move(weights));
  }
  return points_of(axes);
}

int chosen_trial(const CsvTable& metrics, const std::string& arm) {
  const std::size_t of_arm = metrics.column("arm"), of_part = metrics.column("part");
  for (std::size_t r = 0; r < metrics.rows.size(); ++r) {
    if (metrics.rows[r][of_arm] == arm && metrics.rows[r][of_part] == "test")
      return static_cast<int>(metrics.number(r, "trial"));
  }
  return -1;
}

namespace {

/// The settings with one point of a grid.
Settings at(Settings settings, const GridPoint& point) {
  for (const auto& [name, value] : point) settings.set(name, value);
  return settings;
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
  o.rate = s.real("lr");
  o.momentum = s.real("momentum");
  o.decay = s.real("decay");
  o.schedule = s.text("schedule");
  o.clip_norm = s.real("clip");
  o.watch = s.flag("watch");
  o.device = device_of(s);
  o.graphs = s.flag("graphs");
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
    std::vector<std::string> columns{"arm", "seed", "trial", "step"};
    columns.insert(columns.end(), telemetry_columns.begin(), telemetry_columns.end());
    metrics.emplace(folder.metrics(),
                    std::vector<std::string>{"arm", "seed", "trial", "epoch", "part", "task",
                                             "loss", "accuracy"},
                    count("metrics"));
    telemetry.emplace(folder.path() / "telemetry.csv", columns, count("telemetry"));
    columns.insert(columns.begin() + 4, "layer");
    layers.emplace(folder.path() / "layers.csv", columns, count("layers"));
    timings.emplace(
        folder.timings(),
        std::vector<std::string>{"arm", "seed", "trial", "steps", "images", "seconds", "bytes"},
        count("timings"));
  }

  std::size_t part() const { return part_; }
  /// The training state of the part that was interrupted, or null.
  const TensorFile* interrupted() const { return saved_.tensors.empty() ? nullptr : &saved_; }

  /// `training` null: parts before `part` are finished and nothing of it has begun.
  void write(std::size_t part, const Training* training) {
    metrics->sync();
    telemetry->sync();
    layers->sync();
    timings->sync();
    TensorFile file;
    if (training) training->save(file);
    file.metadata["part"] = std::to_string(part);
    file.metadata["metrics"] = std::to_string(metrics->rows());
    file.metadata["telemetry"] = std::to_string(telemetry->rows());
    file.metadata["layers"] = std::to_string(layers->rows());
    file.metadata["timings"] = std::to_string(timings->rows());
    save_safetensors(path_, file);
    saved_ = {};
  }

  std::optional<CsvLog> metrics, telemetry, layers, timings;

 private:
  std::filesystem::path path_;
  TensorFile saved_;
  std::size_t part_ = 0;
};

struct Part {
  std::string arm;
  std::int64_t trial;  ///< of the arm's grid
  GridPoint point;
  std::int64_t seed;
  bool several;  ///< the arm has other trials
};

/// All parts, checked: whatever is wrong with a grid or an option is said before the first step.
std::vector<Part> parts_of(const Settings& s) {
  std::vector<Part> parts;
  std::set<std::string> used;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
    for (const auto& arm : s.list("methods")) {
      const std::vector<GridPoint> trials = trials_of(s, arm);
      for (std::size_t t = 0; t < trials.size(); ++t) {
        if (seed == 1) {
          const Arm made = arm_of(arm, at(s, trials[t]));
          if (multitask::find_method(made.method).kind != multitask::Kind::step)
            multitask::make_aggregator(made.method, made.options);
          for (const auto& [name, value] : trials[t]) used.insert(name);
        }
        parts.push_back({arm, static_cast<std::int64_t>(t), trials[t], seed, trials.size() > 1});
      }
    }
  }
  for (const GridAxis& axis : parse_grid(s.text("grid"))) {
    if (used.count(axis.setting)) continue;
    throw ValueError(fmt::format("multifashion: grid has {}, expected settings of the arms {}",
                                 axis.setting, fmt::join(s.list("methods"), ", ")));
  }
  return parts;
}

/// The final weights of a part, as a state dict.
std::filesystem::path weights_of(const RunFolder& folder, const Part& part) {
  const std::string trial = part.several ? fmt::format("-trial{}", part.trial) : "";
  return folder.checkpoint(fmt::format("{}{}-seed{}", part.arm, trial, part.seed));
}

/// The scores of a finished part, per task.
std::vector<Score> scores_of(const RunFolder& folder, const Settings& s, const Part& part,
                             const data::Splits& splits, const data::Dataset& set) {
  // The weights belong to the plain network, whatever method found them.
  const Arm plain{part.arm, "equal", {}, arm_of(part.arm, s).tasks};
  const Training training(plain, training_options(s, part.seed), splits.train);
  nn::load_state(training.theta(), load_safetensors(weights_of(folder, part)).tensors);
  return training.evaluate(set);
}

/// The trial with the best validation accuracy after the last epoch, averaged over tasks and seeds;
/// -1 when each diverged with some seed.
std::int64_t best_trial(const CsvTable& metrics, const std::string& arm, const Settings& s) {
  const auto values =
      static_cast<double>(s.integer("seeds")) * static_cast<double>(arm_of(arm, s).tasks.size());
  std::map<std::int64_t, std::vector<double>> accuracies;
  for (std::size_t r = 0; r < metrics.rows.size(); ++r) {
    if (metrics.text(r, "arm") == arm && metrics.text(r, "part") == "validation" &&
        metrics.number(r, "epoch") == static_cast<double>(s.integer("epochs"))) {
      accuracies[static_cast<std::int64_t>(metrics.number(r, "trial"))].push_back(
          metrics.number(r, "accuracy"));
    }
  }
  std::int64_t best = -1;
  double most = -1;
  for (const auto& [trial, of_trial] : accuracies) {
    if (static_cast<double>(of_trial.size()) < values) continue;
    const double mean = mean_of(of_trial).mean;
    if (mean > most) {
      most = mean;
      best = trial;
    }
  }
  return best;
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

/// What training asks of a device's allocator beyond what was there before: the most bytes in use
/// since the last restart, which leaves out what evaluation took.
class Memory {
 public:
  explicit Memory(Device device) : allocator_(Allocator::of(device)) { restart(); }
  std::int64_t peak() const { return static_cast<std::int64_t>(allocator_.stats().peak - before_); }
  void restart() { allocator_.reset_peak(); }

 private:
  Allocator& allocator_;
  std::size_t before_ = allocator_.stats().in_use;
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
      const Settings part = at(settings_, parts_.at(journal_.part()).point);
      done += file->tensors.at("counts").values<std::int64_t>()[0] * part.integer("batch");
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
    job_.progress.part(
        fmt::format("{}, seed {} of {}", name_of(part), part.seed, settings_.integer("seeds")));
    const Settings settings = at(settings_, part.point);
    Memory memory(device_of(settings));
    Training training(arm_of(part.arm, settings), training_options(settings, part.seed),
                      splits_.train);
    if (const TensorFile* file = journal_.interrupted()) training.load(*file);
    Profile profile;
    const bool profiling = job_.profile && index == 0 && training.steps() == 0;
    if (profiling) training.profile(&profile);

    Stopwatch since_checkpoint, training_time;
    std::int64_t images = 0, steps = 0;
    const auto note_time = [&] {
      if (steps > 0)
        journal_.timings->append({std::string_view(part.arm), part.seed, part.trial, steps, images,
                                  training_time.seconds(), memory.peak()});
      steps = images = 0;
    };
    while (!training.done()) {
      index_t n = 0;
      try {
        n = training.step();
      } catch (const NumericError& e) {
        diverged(part, training.epoch(), e);
        return finish(index);
      }
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
        memory.restart();
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
    return finish(index);
  }

  bool finish(std::size_t index) {
    if (last_of_arm(index)) test(parts_[index].arm);
    journal_.write(index + 1, nullptr);
    return true;
  }

  static std::string name_of(const Part& part) {
    return part.several ? fmt::format("{} {}", part.arm, to_string(part.point)) : part.arm;
  }

  /// Gradients that are no numbers end an arm, not the comparison: its row stays empty.
  void diverged(const Part& part, std::int64_t epoch, const NumericError& e) {
    const double none = std::numeric_limits<double>::quiet_NaN();
    journal_.metrics->append(
        {std::string_view(part.arm), part.seed, part.trial, epoch, "diverged", "-", none, none});
    job_.progress.line(
        fmt::format("{:<12} seed {}   diverged: {}", name_of(part), part.seed, e.headline()));
  }

  /// Whether no part of the same arm comes later.
  bool last_of_arm(std::size_t index) const {
    return std::none_of(parts_.begin() + static_cast<std::ptrdiff_t>(index) + 1, parts_.end(),
                        [&](const Part& p) { return p.arm == parts_[index].arm; });
  }

  /// The only place where the test part is looked at: once per arm and seed, after the choice.
  void test(const std::string& arm) {
    const CsvTable metrics = CsvTable::load(job_.folder.metrics());
    const std::int64_t chosen = best_trial(metrics, arm, settings_);
    const auto tasks = arm_of(arm, settings_).tasks;
    for (const Part& part : parts_) {
      if (part.arm != arm || part.trial != chosen) continue;
      const auto scores =
          scores_of(job_.folder, at(settings_, part.point), part, splits_, *splits_.test);
      std::string text;
      for (std::size_t t = 0; t < tasks.size(); ++t) {
        append_metrics(part, settings_.integer("epochs"), "test", tasks[t], scores[t].loss,
                       scores[t].accuracy);
        text += fmt::format("   {} {}", kTasks[static_cast<std::size_t>(tasks[t])],
                            percent(scores[t].accuracy));
      }
      job_.progress.line(fmt::format("{:<12} seed {}   test:{}", name_of(part), part.seed, text));
    }
  }

  void append_metrics(const Part& part, std::int64_t epoch, std::string_view split, int task,
                      double loss, double accuracy) {
    journal_.metrics->append({std::string_view(part.arm), part.seed, part.trial, epoch, split,
                              std::string_view(kTasks[static_cast<std::size_t>(task)]), loss,
                              accuracy});
  }

  void log_telemetry(const Part& part, const Training& training) {
    if (training.arm().tasks.size() < 2) return;
    const auto append = [&](CsvLog& log, const std::string* layer,
                            const multitask::Telemetry& telemetry) {
      std::vector<CsvLog::Cell> cells{std::string_view(part.arm), part.seed, part.trial,
                                      training.steps()};
      if (layer) cells.emplace_back(std::string_view(*layer));
      for (const double v : telemetry.mean(static_cast<int>(settings_.integer("log_every"))))
        cells.emplace_back(v);
      log.append(cells);
    };
    append(*journal_.telemetry, nullptr, training.telemetry());
    const multitask::BlockTelemetry& layers = training.layers();
    for (std::size_t b = 0; b < layers.names().size(); ++b)
      append(*journal_.layers, &layers.names()[b], layers[b]);
  }

  void end_epoch(const Part& part, Training& training) {
    const auto losses = training.take_losses();
    const auto& tasks = training.arm().tasks;
    for (std::size_t t = 0; t < tasks.size(); ++t)
      append_metrics(part, training.epoch(), "train", tasks[t], losses[t],
                     std::numeric_limits<double>::quiet_NaN());
    std::string text;
    const auto scores = training.evaluate(*splits_.validation);
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      append_metrics(part, training.epoch(), "validation", tasks[t], scores[t].loss,
                     scores[t].accuracy);
      text += fmt::format("{}{} {}", t ? "   " : "", kTasks[static_cast<std::size_t>(tasks[t])],
                          percent(scores[t].accuracy));
    }
    job_.progress.note("validation: " + text);
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
  const CsvTable metrics = CsvTable::load(folder.metrics());
  for (const Part& part : parts_of(s)) {
    if (part.trial != chosen_trial(metrics, part.arm)) continue;
    const std::vector<int> tasks = arm_of(part.arm, s).tasks;
    const auto scores = scores_of(folder, at(s, part.point), part, splits, *set->second);
    for (std::size_t t = 0; t < scores.size(); ++t) {
      table.add({part.arm, std::to_string(part.seed), kTasks[static_cast<std::size_t>(tasks[t])],
                 fmt::format("{:.4f}", scores[t].loss),
                 fmt::format("{:.2f}", 100 * scores[t].accuracy)});
    }
  }
  return table;
}

}  // namespace

Experiment multifashion() {
  return {.name = "multifashion",
          .help = "multitask methods on two clothes in one image, against each task alone",
          .source = "Sener and Koltun 2018 (MultiMNIST); Yu et al. 2020; Liu et al. 2021",
          .settings = multifashion_settings,
          .run = run,
          .report = multifashion_report,
          .evaluate = evaluate};
}

}  // namespace concord::experiments
