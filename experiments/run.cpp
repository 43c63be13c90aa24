// The verbs run, resume, report and eval.
#include <concord/data/files.h>
#include <concord/experiments/info.h>
#include <concord/experiments/revision.h>
#include <concord/experiments/verbs.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <span>

namespace concord::experiments {

namespace fs = std::filesystem;

namespace {

std::string now() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

/// Writes the page and shows its first tables.
void publish(const Experiment& experiment, std::span<const RunFolder> runs, const fs::path& page,
             const fs::path& plots) {
  const Report report = experiment.report(runs, plots);
  const std::string text = html(report);
  data::write_file(page, std::as_bytes(std::span(text)));
  if (!report.sections.empty()) {
    for (const Table& table : report.sections.front().tables)
      fmt::print("{}\n", table.text(::isatty(STDOUT_FILENO)));
  }
  fmt::print("report  {}\n", page.string());
}

/// The part that run and resume share.
int carry_out(const Experiment& experiment, Job job, const Program& program) {
  if (const std::string warning = blas_warning(); !warning.empty())
    fmt::print(stderr, "warning: {}\n", warning);
  bool finished = false;
  {
    StopOnSignal guard;
    finished = experiment.run(job);
  }
  job.progress.end();
  const RunFolder& folder = job.folder;
  if (!finished) {
    fmt::print(stderr, "Stopped; nothing is lost. To go on:\n  {} resume {}\n", program,
               folder.path().string());
    return kStopped;
  }
  publish(experiment, {&folder, 1}, folder.report(), folder.plots());
  return 0;
}

}  // namespace

int run(const RunOptions& options, const Program& program, std::span<const Experiment> all) {
  const Experiment& experiment = options.experiment.empty() && !all.empty()
                                     ? all.front()
                                     : find_experiment(options.experiment, all);
  Settings settings = experiment.settings();
  for (const std::string& pair : options.assignments) settings.assign(pair);
  if (options.full) settings.use_full();
  const int threads = choose_threads(options.threads);
  use_threads(threads);
  std::string command = settings.command();
  if (options.threads > 0) command += fmt::format(" --threads {}", options.threads);
  const RunFolder folder = RunFolder::create(options.out, experiment.name,
                                             Json::object({{"experiment", experiment.name},
                                                           {"command", command},
                                                           {"started", now()},
                                                           {"settings", settings.to_json()},
                                                           {"machine", machine(threads)}}));
  if (!options.quiet) {
    fmt::print(stderr, "{}: {}\n{} threads, folder {}\n", experiment.name, experiment.help, threads,
               folder.path().string());
  }
  Progress progress(options.quiet);
  return carry_out(experiment, {settings, folder, progress, options.profile}, program);
}

int resume(const ResumeOptions& options, const Program& program, std::span<const Experiment> all) {
  const RunFolder folder = RunFolder::open(options.run);
  const Experiment& experiment = find_experiment(folder.experiment(), all);
  Settings settings = experiment.settings();
  settings.from_json(folder.config()["settings"]);
  const Json& machine = folder.config()["machine"];
  use_threads(static_cast<int>(machine["threads"].as<std::int64_t>("threads")));
  const std::string& revision_then = machine["concord"]["revision"].as<std::string>("revision");
  if (revision_then != revision()) {
    fmt::print(stderr,
               "warning: the run was begun by revision {}, this is {}: the metrics may differ from "
               "those of an uninterrupted run\n",
               revision_then, revision());
  }
  Progress progress(options.quiet);
  return carry_out(experiment, {settings, folder, progress}, program);
}

int report(const ReportOptions& options, std::span<const Experiment> all) {
  std::vector<RunFolder> runs;
  for (const fs::path& path : options.runs) runs.push_back(RunFolder::open(path));
  if (runs.empty()) throw ValueError("report: no run given, expected one or more run folders");
  for (const RunFolder& run : runs) {
    if (run.experiment() == runs.front().experiment()) continue;
    throw ValueError("report: the runs are of different experiments, expected one experiment",
                     {{runs.front().experiment(), runs.front().path().string()},
                      {run.experiment(), run.path().string()}});
  }
  const RunFolder& first = runs.front();
  const Experiment& experiment = find_experiment(first.experiment(), all);
  if (runs.size() == 1) {
    publish(experiment, runs, options.out.empty() ? first.report() : options.out, first.plots());
    return 0;
  }
  const fs::path clean = first.path().has_filename() ? first.path() : first.path().parent_path();
  const fs::path page = options.out.empty() ? clean.parent_path() / "comparison.html" : options.out;
  fs::path plots = page;
  plots.replace_extension();
  plots += "-plots";
  fs::create_directories(plots);
  publish(experiment, runs, page, plots);
  return 0;
}

int eval(const EvalOptions& options, std::span<const Experiment> all) {
  const RunFolder folder = RunFolder::open(options.run);
  use_threads(choose_threads(0));
  const Table table = find_experiment(folder.experiment(), all).evaluate(folder, options.part);
  fmt::print("{}, {} part\n{}\n", folder.path().string(), options.part,
             table.text(::isatty(STDOUT_FILENO)));
  return 0;
}

}  // namespace concord::experiments
