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
#include <functional>
#include <memory>
#include <optional>
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

/// The part that run and resume share. `comm` ends with the computing: a rank that has nothing to
/// report does not wait for the others.
int carry_out(const Experiment& experiment, Job job, const Program& program,
              std::unique_ptr<Comm>& comm) {
  if (const std::string warning = blas_warning(); !warning.empty() && comm->rank() == 0)
    fmt::print(stderr, "warning: {}\n", warning);
  bool finished = false;
  {
    StopOnSignal guard;
    finished = experiment.run(job);
  }
  job.progress.end();
  const bool first = comm->rank() == 0;
  comm.reset();
  if (!first) return 0;
  const RunFolder& folder = job.folder;
  if (!finished) {
    fmt::print(stderr, "Stopped; nothing is lost. To go on:\n  {} resume {}\n", program,
               folder.path().string());
    return kStopped;
  }
  publish(experiment, {&folder, 1}, folder.report(), folder.plots());
  return 0;
}

/// `work` on this rank. When it fails under mpirun, all ranks end: they would wait for this one.
int on_every_rank(const Experiment& experiment,
                  const std::function<int(std::unique_ptr<Comm>&)>& work) {
  std::unique_ptr<Comm> comm = connect();
  try {
    if (comm->size() > 1 && !experiment.ranks) {
      throw UsageError(
          fmt::format("{}: started as one of {} ranks, expected one: it knows no others",
                      experiment.name, comm->size()));
    }
    return work(comm);
  } catch (const std::exception& e) {
    if (comm && comm->size() > 1) comm->abort(e.what());
    throw;
  }
}

}  // namespace

int run(const RunOptions& options, const Program& program, std::span<const Experiment> all) {
  const Experiment& experiment = options.experiment.empty() && !all.empty()
                                     ? all.front()
                                     : find_experiment(options.experiment, all);
  Settings settings = experiment.settings();
  for (const std::string& pair : options.assignments) settings.assign(pair);
  if (options.full) settings.use_full();
  if (settings.has("device")) device_of(settings);  // is it there? Said before a folder is made
  const int threads = choose_threads(options.threads);
  use_threads(threads);
  std::string command = settings.command();
  if (options.threads > 0) command += fmt::format(" --threads {}", options.threads);
  return on_every_rank(experiment, [&](std::unique_ptr<Comm>& comm) {
    const auto create = [&] {
      return RunFolder::create(options.out, experiment.name,
                               Json::object({{"experiment", experiment.name},
                                             {"command", command},
                                             {"started", now()},
                                             {"settings", settings.to_json()},
                                             {"machine", machine(threads)}}));
    };
    const bool first = comm->rank() == 0;
    std::optional<RunFolder> folder;
    if (first) folder = create();
    const std::string path = broadcast(*comm, first ? folder->path().string() : "");
    if (!first) folder = RunFolder::open(path);
    if (!options.quiet && first) {
      fmt::print(stderr, "{}: {}\n{} threads{}, folder {}\n", experiment.name, experiment.help,
                 threads, comm->size() > 1 ? fmt::format(" on each of {} ranks", comm->size()) : "",
                 path);
    }
    Progress progress(options.quiet || !first);
    return carry_out(experiment, {settings, *folder, progress, options.profile, comm.get()},
                     program, comm);
  });
}

int resume(const ResumeOptions& options, const Program& program, std::span<const Experiment> all) {
  const RunFolder folder = RunFolder::open(options.run);
  const Experiment& experiment = find_experiment(folder.experiment(), all);
  Settings settings = experiment.settings();
  settings.from_json(folder.config()["settings"]);
  const Json& machine = folder.config()["machine"];
  use_threads(static_cast<int>(machine["threads"].as<std::int64_t>("threads")));
  return on_every_rank(experiment, [&](std::unique_ptr<Comm>& comm) {
    const std::string& revision_then = machine["concord"]["revision"].as<std::string>("revision");
    if (revision_then != revision() && comm->rank() == 0) {
      fmt::print(
          stderr,
          "warning: the run was begun by revision {}, this is {}: the metrics may differ from "
          "those of an uninterrupted run\n",
          revision_then, revision());
    }
    Progress progress(options.quiet || comm->rank() > 0);
    return carry_out(experiment, {settings, folder, progress, false, comm.get()}, program, comm);
  });
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
