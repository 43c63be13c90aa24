// The command line: parses, calls a verb, turns exceptions into words. Exit status 0: done, 1: an
// error, 2: wrong usage, 130: stopped, can be resumed.
#include <concord/experiments/bench.h>
#include <concord/experiments/revision.h>
#include <concord/experiments/verbs.h>
#include <concord/tensor/check.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>

namespace {

namespace ex = concord::experiments;

std::string program_name() {
  const char* launcher = std::getenv("CONCORD_LAUNCHER");  // set by ./concord
  return launcher ? launcher : "concord";
}

/// CLI11 reports an unknown command as an extra argument; people get the nearest names instead.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == argv[1]) return;
    names.push_back(command->get_name());
  }
  concord::throw_unknown("command", argv[1], names);
}

int parse_and_call(int argc, char** argv) {
  const std::string program = program_name();
  CLI::App app("Multitask deep learning on gradient buffers.", program);
  app.set_version_flag("--version",
                       std::string(ex::kVersion) + ", revision " + std::string(ex::revision()));
  app.get_formatter()->column_width(34);
  app.require_subcommand(1);
  std::function<int()> verb;
  const auto command = [&](const char* name, const char* help, std::function<int()> call) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->callback([&verb, call] { verb = call; });
    return sub;
  };
  const auto threads_option = [](CLI::App* sub, int& threads) {
    sub->add_option("--threads", threads, "threads to compute with")->check(CLI::Range(1, 1024));
  };

  ex::RunOptions run;
  // --methods, --net, --seeds, --grid and --device are settings under a shorter name.
  std::string methods, net, seeds, grid, device;
  CLI::App* c = command("run", "run an experiment; without a name, the main comparison", [&] {
    for (const auto& [name, value] : {std::pair{"methods", methods},
                                      {"net", net},
                                      {"seeds", seeds},
                                      {"grid", grid},
                                      {"device", device}}) {
      if (!value.empty()) run.assignments.push_back(std::string(name) + "=" + value);
    }
    return ex::run(run, program);
  });
  c->add_option("experiment", run.experiment, "which one: concord list experiments");
  c->add_option("--methods", methods,
                "multitask methods, with commas, or all: concord list methods");
  c->add_option("--net", net, "network: concord list networks");
  c->add_option("--seeds", seeds, "number of seeds");
  c->add_option("--set", run.assignments, "name=value; all settings: concord list EXPERIMENT")
      ->take_all()
      ->allow_extra_args(false);
  c->add_option("--grid", grid,
                "settings to choose per arm on the validation part: lr=1e-3:3e-3,cagrad.c=0.2:0.4");
  c->add_option("--device", device, "where to train: cpu, cuda, cuda:1 (concord info lists them)");
  c->add_flag("--full", run.full, "the length of the literature instead of minutes");
  c->add_option("--out", run.out, "folder for run folders")->capture_default_str();
  threads_option(c, run.threads);
  c->add_flag("--profile", run.profile,
              "where the time of the first steps goes: a table and a trace");
  c->add_flag("--quiet", run.quiet, "no progress, only the result");

  ex::ResumeOptions resume;
  c = command("resume", "go on with a run that was stopped",
              [&] { return ex::resume(resume, program); });
  c->add_option("run", resume.run, "its folder")->required();
  c->add_flag("--quiet", resume.quiet, "no progress, only the result");

  ex::ReportOptions report;
  c = command("report", "write the report of a run, or compare several",
              [&] { return ex::report(report); });
  c->add_option("runs", report.runs, "run folders")->required();
  c->add_option("--out", report.out, "the HTML file to write");

  ex::EvalOptions eval;
  c = command("eval", "measure the checkpoints of a run on a part of the data",
              [&] { return ex::eval(eval); });
  c->add_option("run", eval.run, "its folder")->required();
  c->add_option("--part", eval.part, "train, validation or test")->capture_default_str();

  ex::SummaryOptions summary;
  c = command("summary", "layers, shapes, parameters and FLOP of a network",
              [&] { return ex::summary(summary); });
  c->add_option("network", summary.network, "concord list networks")->required();
  c->add_option("--input", summary.input, "shape of one sample, with commas: 3,32,32")
      ->delimiter(',');
  c->add_option("--outputs", summary.outputs, "outputs of each task's head, with commas: 10,10")
      ->delimiter(',');
  c->add_option("--dot", summary.dot, "write the recorded graph to this file (Graphviz)");

  std::string topic;
  c = command("list", "experiments, methods, networks, data sets, environments",
              [&] { return ex::list(topic); });
  c->add_option("topic", topic,
                "experiments, methods, networks, data, environments, or an experiment's name");

  ex::AggregateOptions aggregate;
  c = command("aggregate", "apply a multitask method to a matrix of gradients",
              [&] { return ex::aggregate(aggregate); });
  c->add_option("method", aggregate.method, "concord list methods");
  c->add_option("--jacobian", aggregate.jacobian,
                "matrix [tasks, columns]: .npy, or CSV without header");
  c->add_option("--set", aggregate.assignments, "name=value: an option of the method")
      ->take_all()
      ->allow_extra_args(false);
  c->add_option("--losses", aggregate.losses, "one per task, with commas")->delimiter(',');
  c->add_option("--seed", aggregate.seed, "of methods that draw random numbers");
  c->add_flag("--json", aggregate.json, "weights, direction, Gram matrix and residual as JSON");
  c->add_flag(
      "--stream", aggregate.stream,
      "answer JSON lines from stdin instead, each like {\"method\": \"cagrad\", \"options\": "
      "{\"c\": 0.4}, \"matrix\": [[1, 0], [-1, 2]]}; more members: losses, key (keeps the "
      "method's state), step, epoch, seed, tasks, id, gram (instead of matrix)");

  ex::PlayOptions play;
  c = command("play", "play an environment with the arrow keys, or watch chance play it",
              [&] { return ex::play(play); });
  c->add_option("environment", play.environment, "concord list environments")->required();
  c->add_option("--set", play.assignments, "name=value: an option of the environment")
      ->take_all()
      ->allow_extra_args(false);
  c->add_option("--seed", play.seed, "of the environment and of random actions");
  c->add_flag("--random", play.random, "random actions instead of keys");
  c->add_option("--steps", play.steps, "how many random actions")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  c->add_option("--png", play.png, "write the last picture to this file");
  c->add_option("--gif", play.gif, "write all pictures to this file, at most 2000");

  ex::WatchOptions watch;
  c = command("watch", "see a trained policy of a run at play", [&] { return ex::watch(watch); });
  c->add_option("run", watch.run, "its folder")->required();
  c->add_option("--policy", watch.policy, "ppo-breakout-1, say; without a name, the first");
  c->add_option("--seed", watch.seed, "of the environment");
  c->add_option("--steps", watch.steps, "how many to watch")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  c->add_option("--png", watch.png, "write the last picture to this file");
  c->add_option("--gif", watch.gif, "write all pictures to this file, at most 2000");

  ex::BenchOptions bench;
  c = command("bench", "how fast this machine runs kernels, passes and training steps",
              [&] { return ex::bench(bench); });
  c->add_option("names", bench.names, "which benchmarks; without a name, all");
  c->add_flag("--list", bench.list, "only say which there are");
  c->add_flag("--json", bench.json, "one JSON object instead of tables");
  c->add_flag("--model", bench.model, "cuda/...: compute what an H100 takes, measure nothing");
  threads_option(c, bench.threads);

  int info_threads = 0;
  c = command("info", "machine, BLAS, threads, versions", [&] { return ex::info(info_threads); });
  threads_option(c, info_threads);

  check_command(app, argc, argv);
  if (argc < 2) {
    std::fputs(app.help().c_str(), stdout);
    return 0;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::fprintf(stderr, "%s\nTry: %s %s--help\n", e.what(), program.c_str(),
                 argv[1][0] == '-' ? "" : (std::string(argv[1]) + " ").c_str());
    return 2;
  }
  return verb();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return parse_and_call(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
