#include <concord/experiments/distral.h>
#include <concord/experiments/grid_picture.h>
#include <concord/experiments/parts.h>
#include <concord/experiments/toy.h>
#include <concord/rl/distral.h>
#include <concord/rl/worlds.h>
#include <concord/tensor/serialize.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace concord::experiments {

namespace {

using rl::Sharing;
using rl::tabular::ActionTable;

constexpr std::int64_t kEvery = 10;  // iterations per row of metrics.csv
constexpr index_t kMoves = 5;        // stay, up, down, left, right
constexpr index_t kUp = 1, kDown = 2, kLeft = 3, kRight = 4;
constexpr const char *kAlone = "separate", *kDistral = "distral_kl";

/// c_KL = alpha / beta and c_Ent = (1 - alpha) / beta.
struct DistralArm {
  const char* name;
  Sharing sharing;
  double alpha, beta;
  const char* help;
};
const DistralArm kArms[] = {
    {kAlone, Sharing::nothing, 1, 5, "pi_0 stays uniform"},
    {kDistral, Sharing::visits, 1, 5, "the paper's"},
    {"distral_kl_ent", Sharing::visits, 0.5, 10, "c_KL = c_Ent = 0.05"},
    {"distral_kl_ent_5", Sharing::visits, 0.5, 5, "c_KL = c_Ent = 0.1"},
    {"centroid", Sharing::centroid, 1, 5, "pi_0 the mean of the tasks' policies"},
    {"one_policy", Sharing::one_policy, 1, 5, "one table for all tasks, pi_0 uniform"}};

const DistralArm& arm_named(std::string_view name) {
  return *std::find_if(std::begin(kArms), std::end(kArms),
                       [&](const DistralArm& a) { return a.name == name; });
}

Settings settings() {
  std::vector<std::string> arms;
  for (const DistralArm& arm : kArms) arms.emplace_back(arm.name);
  Settings s("distral");
  s.add("arms", Choices{.standard = arms, .valid = arms, .kind = "arm"}, "what is compared");
  s.add("seeds", Integer{.standard = 10, .full = 20, .low = 1, .high = 1000},
        "seeds 1, 2, ...; arms of one seed share their tasks");
  s.add("tasks", Integer{.standard = 10, .low = 1, .high = 25},
        "training tasks, and as many test tasks: goals outside the corridor");
  s.add("iterations", Integer{.standard = 1000, .low = 20, .high = 1'000'000},
        "of training: rollouts of all tasks, then distillation");
  s.add("test_iterations", Integer{.standard = 200, .full = 1000, .low = 20, .high = 1'000'000},
        "of learning the test tasks anew, with pi_0 as it came from training");
  s.add("rollouts", Integer{.standard = 10, .low = 1, .high = 10000}, "per task and iteration");
  s.add("steps", Integer{.standard = 100, .low = 1, .high = 100000}, "of a rollout, at most");
  s.add("rate", Real{.standard = 0.1, .low = 0, .high = 1}, "of soft Q-learning");
  s.add("discount", Real{.standard = 0.95, .low = 0, .high = 0.9999}, "of later rewards");
  s.add("pseudocount", Real{.standard = 1, .low = 1e-9, .high = 1e9},
        "of each action in each state, in pi_0");
  return s;
}

struct Part {
  std::int64_t seed;
  const DistralArm* arm;
};

std::vector<Part> parts_of(const Settings& s) {
  std::vector<Part> parts;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed)
    for (const std::string& arm : s.list("arms")) parts.push_back({seed, &arm_named(arm)});
  return parts;
}

/// pi_0 after training, and what the first training task came to.
std::filesystem::path policies_of(const RunFolder& folder, const Part& part) {
  return folder.checkpoint(fmt::format("{}-seed{}", part.arm->name, part.seed));
}

/// Training tasks, then as many test tasks.
std::vector<index_t> goals_of(std::int64_t seed, std::int64_t tasks) {
  const std::vector<index_t> cells = rl::two_rooms_goals();
  std::vector<index_t> order(cells.size());
  Rng(static_cast<std::uint64_t>(seed)).fork("goals").permutation(order);
  std::vector<index_t> goals;
  for (std::int64_t i = 0; i < 2 * tasks; ++i) goals.push_back(cells[order[i]]);
  return goals;
}

std::vector<rl::Mdp> tasks_at(std::span<const index_t> goals) {
  std::vector<rl::Mdp> tasks;
  for (const index_t goal : goals) tasks.push_back(rl::two_rooms(goal));
  return tasks;
}

/// One line of metrics.csv for every kEvery iterations. False: a stop was requested.
bool learn(Job& job, Parts& parts, const Part& part, rl::Distral& learner, const char* phase,
           std::int64_t iterations) {
  rl::Distral::Outcome sum;
  while (learner.iterations() < iterations) {
    const rl::Distral::Outcome outcome = learner.iterate();
    sum.reward += outcome.reward / kEvery;
    sum.ended += outcome.ended / kEvery;
    job.progress.advance(1);
    if (stop_requested()) return false;
    if (learner.iterations() % kEvery != 0) continue;
    parts.metrics().append({std::string_view(part.arm->name), part.seed, std::string_view(phase),
                            learner.iterations(), sum.reward, sum.ended});
    job.progress.note(fmt::format("{}: return {:.2f}", phase, sum.reward));
    sum = {};
  }
  return true;
}

bool run_part(Job& job, Parts& parts, const Part& part) {
  const Settings& s = job.settings;
  rl::DistralOptions options{.sharing = part.arm->sharing,
                             .alpha = part.arm->alpha,
                             .pseudocount = s.real("pseudocount"),
                             .rollouts = s.integer("rollouts"),
                             .learner = {.beta = part.arm->beta,
                                         .discount = s.real("discount"),
                                         .rate = s.real("rate"),
                                         .max_steps = s.integer("steps")}};
  const std::vector<index_t> goals = goals_of(part.seed, s.integer("tasks"));
  const auto half = static_cast<std::size_t>(s.integer("tasks"));
  const Rng rng(static_cast<std::uint64_t>(part.seed));
  const std::vector<rl::Mdp> tasks = tasks_at(std::span(goals).first(half));
  rl::Distral training(tasks, rl::tabular::uniform_policy(tasks[0].states(), kMoves), options,
                       rng.fork("training"));
  if (!learn(job, parts, part, training, "training", s.integer("iterations"))) return false;
  if (part.arm->sharing != Sharing::one_policy) {
    options.sharing = Sharing::nothing;
    rl::Distral test(tasks_at(std::span(goals).last(half)), training.distilled(), options,
                     rng.fork("test"));
    if (!learn(job, parts, part, test, "test", s.integer("test_iterations"))) return false;
  }
  const auto tensor = [](const ActionTable& t) {
    return Tensor::from(t.values(), {t.states(), t.actions()});
  };
  save_safetensors(policies_of(job.folder, part), {{{"distilled", tensor(training.distilled())},
                                                    {"first_task", tensor(training.policy(0))}},
                                                   {}});
  parts.finish();
  return true;
}

bool run(Job& job) {
  const Settings& s = job.settings;
  const std::vector<Part> all = parts_of(s);
  Parts parts(job.folder, {"arm", "seed", "phase", "iteration", "return", "ended"});
  const auto work = [&](std::int64_t first, std::int64_t last) {
    std::int64_t sum = 0;
    for (std::int64_t i = first; i < last; ++i) {
      sum += s.integer("iterations");
      if (all[i].arm->sharing != Sharing::one_policy) sum += s.integer("test_iterations");
    }
    return sum;
  };
  const auto count = static_cast<std::int64_t>(all.size());
  job.progress.begin(work(0, count), work(0, parts.finished()), "iterations");
  for (std::int64_t i = parts.finished(); i < count; ++i) {
    job.progress.part(
        fmt::format("{}, seed {} of {}", all[i].arm->name, all[i].seed, s.integer("seeds")));
    if (!run_part(job, parts, all[i])) return false;
  }
  return true;
}

// --- Report --------------------------------------------------------------------------------------

/// [arm][phase][iteration][seed - 1], from metrics.csv.
struct Results {
  using Curve = std::map<std::int64_t, std::vector<double>>;
  std::map<std::string, std::map<std::string, Curve>> reward, ended;

  explicit Results(const RunFolder& folder) {
    const CsvTable m = CsvTable::load(folder.metrics());
    for (std::size_t r = 0; r < m.rows.size(); ++r) {
      const auto iteration = static_cast<std::int64_t>(m.number(r, "iteration"));
      reward[m.text(r, "arm")][m.text(r, "phase")][iteration].push_back(m.number(r, "return"));
      ended[m.text(r, "arm")][m.text(r, "phase")][iteration].push_back(m.number(r, "ended"));
    }
  }

  /// Means over the 20 iterations up to a mark (10 at the first mark), by seed.
  static std::vector<double> at(const Curve& curve, std::int64_t mark) {
    std::vector<double> values = curve.at(mark);
    const auto before = curve.find(mark - kEvery);
    if (before == curve.end()) return values;
    for (std::size_t k = 0; k < values.size(); ++k) values[k] = (values[k] + before->second[k]) / 2;
    return values;
  }
};

std::vector<double> difference(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t k = 0; k < a.size(); ++k) a[k] -= b[k];
  return a;
}

/// The marks at which returns are shown, the last iteration included.
std::vector<std::int64_t> marks_up_to(std::int64_t iterations) {
  const std::int64_t last = iterations / kEvery * kEvery;
  std::vector<std::int64_t> marks;
  for (const std::int64_t mark : {10, 50, 100, 200, 400, 700})
    if (mark < last) marks.push_back(mark);
  marks.push_back(last);
  return marks;
}

/// The same protocol simulated by a separate program, 20 seeds: return at 50, 100 ... 1000.
const std::map<std::string, std::map<std::int64_t, double>> kReference = {
    {kAlone, {{50, -6.5}, {100, -5.4}, {200, -3.6}, {400, -1.7}, {700, -0.81}, {1000, -0.52}}},
    {kDistral, {{50, -5.6}, {100, -4.1}, {200, -1.4}, {400, -0.06}, {700, 0.24}, {1000, 0.32}}}};

Table return_table(const Results& results, const Settings& s, const char* phase,
                   std::int64_t iterations) {
  const std::vector<std::int64_t> marks = marks_up_to(iterations);
  std::vector<std::string> columns{"<arm", "alpha", "beta"};
  for (const std::int64_t mark : marks) columns.push_back(std::to_string(mark));
  columns.emplace_back("reach the goal (%)");
  Table table(std::move(columns));
  for (const std::string& arm : s.list("arms")) {
    const auto found = results.reward.at(arm).find(phase);
    if (found == results.reward.at(arm).end()) continue;
    std::vector<std::string> cells{arm, fmt::format("{:g}", arm_named(arm).alpha),
                                   fmt::format("{:g}", arm_named(arm).beta)};
    for (const std::int64_t mark : marks)
      cells.push_back(to_string(mean_of(Results::at(found->second, mark))));
    cells.push_back(fmt::format(
        "{:.1f}", 100 * mean_of(Results::at(results.ended.at(arm).at(phase), marks.back())).mean));
    table.add(std::move(cells));
  }
  return table;
}

Drawing curves(const Results& results, const Settings& s, const char* phase,
               const std::filesystem::path& base) {
  LinePlot plot{.title = fmt::format("Return on the {} tasks", phase),
                .x = {.label = "iteration"},
                .y = {.label = "return of an episode"}};
  for (const std::string& arm : s.list("arms")) {
    Series series{.name = arm};
    const auto found = results.reward.at(arm).find(phase);
    if (found != results.reward.at(arm).end()) {
      for (const auto& [iteration, values] : found->second) {
        const Mean m = mean_of(values);
        series.x.push_back(static_cast<double>(iteration));
        series.y.push_back(m.mean);
        series.error.push_back(m.count > 1 ? half_width_95(m) : 0);
      }
      plot.series.push_back(std::move(series));
    }
  }
  return draw(plot, base);
}

/// pi_0 in a cell given the previous action, which hit no wall.
MoveProbabilities distilled_at(const ActionTable& distilled, index_t cell, index_t previous) {
  MoveProbabilities p;
  const auto row = distilled[cell * rl::kTwoRoomsMemories + 1 + 2 * previous];
  std::copy(row.begin(), row.end(), p.begin());
  return p;
}

ActionTable table_of(const RunFolder& folder, const Part& part, const std::string& name) {
  const TensorFile file = load_safetensors(policies_of(folder, part));
  const Tensor& t = file.tensors.at(name);
  ActionTable table(t.dim(0), t.dim(1));
  std::copy_n(t.data<double>(), t.numel(), table.values().begin());
  return table;
}

/// pi_0 of Distral after training, the mean over the seeds.
ActionTable mean_distilled(const RunFolder& folder, const Settings& s) {
  ActionTable mean(rl::two_rooms_world().cells() * rl::kTwoRoomsMemories, kMoves);
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
    const ActionTable one = table_of(folder, {seed, &arm_named(kDistral)}, "distilled");
    for (std::size_t k = 0; k < mean.values().size(); ++k)
      mean.values()[k] += one.values()[k] / static_cast<double>(s.integer("seeds"));
  }
  return mean;
}

constexpr index_t kCorridor = 2 * rl::kTwoRoomsWidth + 6;  // its middle

std::string yes(bool holds) { return holds ? "yes" : "no"; }

/// The paper's statements beside what the run shows.
Table claims(const Results& results, const RunFolder& folder, const Settings& s) {
  Table table({"<statement", "<here", "<holds"});
  const auto compare = [&](const char* statement, const char* phase, std::int64_t mark) {
    const Mean m = mean_of(difference(Results::at(results.reward.at(kDistral).at(phase), mark),
                                      Results::at(results.reward.at(kAlone).at(phase), mark)));
    const double half = half_width_95(m);
    table.add({statement,
               fmt::format("{} tasks, iteration {}: distral_kl - separate = {:.2f} ± {:.2f} (95 %)",
                           phase, mark, m.mean, half),
               yes(m.mean - half > 0)});
  };
  for (const auto& [phase, iterations] : {std::pair("training", s.integer("iterations")),
                                          std::pair("test", s.integer("test_iterations"))}) {
    const std::int64_t last = iterations / kEvery * kEvery;
    if (last > 200) compare("Distral learns faster", phase, 200);
    if (last > 400) compare("Distral learns faster", phase, 400);
    compare("Distral ends better", phase, last);
  }
  const auto spread = [&](const char* arm) {
    // Of the tasks' mean return from one row of ten iterations to the next, over the second half.
    std::vector<double> steps;
    const Results::Curve& curve = results.reward.at(arm).at("training");
    for (auto next = std::next(curve.begin()); next != curve.end(); ++next)
      for (std::size_t k = 0; 2 * next->first > s.integer("iterations") && k < next->second.size();
           ++k)
        steps.push_back(std::abs(next->second[k] - std::prev(next)->second[k]));
    return mean_of(steps).mean;
  };
  const double shared = spread(kDistral), alone = spread(kAlone);
  table.add({"Distral is more stable",
             fmt::format("mean change of the return within ten iterations, second half of "
                         "training: {:.3f} against {:.3f}",
                         shared, alone),
             yes(shared < alone)});
  const ActionTable p = mean_distilled(folder, s);
  const MoveProbabilities right = distilled_at(p, kCorridor, kRight),
                          left = distilled_at(p, kCorridor, kLeft);
  const double keep = (right[kRight] + left[kLeft]) / 2, turn = (right[kLeft] + left[kRight]) / 2;
  const double aside = (right[kUp] + right[kDown] + left[kUp] + left[kDown]) / 2;
  table.add({"in the corridor pi_0 keeps the direction",
             fmt::format("keeps it with probability {:.3f}, turns back with {:.3f}", keep, turn),
             yes(keep > 0.8)});
  table.add({"up and down are negligible there", fmt::format("together {:.3f}", aside),
             yes(aside < 0.1)});
  return table;
}

std::vector<Section> sections(const Settings& s, const RunFolder& folder,
                              const std::filesystem::path& plot) {
  const Results results(folder);
  const auto chosen = [&](const char* arm) {
    const auto& arms = s.list("arms");
    return std::find(arms.begin(), arms.end(), arm) != arms.end();
  };
  const bool both = chosen(kDistral) && chosen(kAlone);
  std::vector<Section> out;
  Section result{.title = "Training tasks"};
  result.tables.push_back(return_table(results, s, "training", s.integer("iterations")));
  if (both) result.tables.push_back(claims(results, folder, s));
  result.paragraphs.push_back(fmt::format(
      "Mean return of an episode (plain sum of its rewards) over the 20 iterations before each "
      "mark, all {} tasks and {} seeds, ± standard error over seeds; bands in the figures are 95 % "
      "intervals of the mean.",
      s.integer("tasks"), s.integer("seeds")));
  result.drawings.push_back(curves(results, s, "training", plot.string() + "training"));
  out.push_back(std::move(result));

  Section test{.title = "Test tasks"};
  test.tables.push_back(return_table(results, s, "test", s.integer("test_iterations")));
  test.paragraphs.push_back(
      "New goals, learned from nothing with pi_0 as training left it and frozen; separate has its "
      "uniform pi_0 here too.");
  test.drawings.push_back(curves(results, s, "test", plot.string() + "test"));
  out.push_back(std::move(test));

  if (chosen(kDistral)) {
    const ActionTable p = mean_distilled(folder, s);
    const PolicyPanel panels[] = {{"pi_0 after a step to the right",
                                   [&](index_t cell) { return distilled_at(p, cell, kRight); }},
                                  {"pi_0 after a step to the left",
                                   [&](index_t cell) { return distilled_at(p, cell, kLeft); }}};
    Section picture{.title = "The distilled policy"};
    picture.paragraphs.push_back(
        "Arrows are as long as their action is probable; the dot is for staying. In the corridor "
        "pi_0 goes on the way it came: which way is the goal's matter, but no goal lies there. "
        "Mean over seeds.");
    picture.drawings.push_back(
        draw_policies(rl::two_rooms_world(), panels, plot.string() + "distilled"));
    picture.drawings.push_back(draw_episodes(
        play_frames(rl::two_rooms(goals_of(1, 1)[0]),
                    table_of(folder, {1, &arm_named(kDistral)}, "first_task"), 3, 40),
        18, "A trained task: three episodes, the goal in green.", plot.string() + "episodes"));
    out.push_back(std::move(picture));
  }

  Section reference{.title = "Against a separate simulation"};
  Table table({"<arm", "iteration", "here", "reference"});
  for (const auto& [arm, values] : kReference) {
    if (!chosen(arm.c_str())) continue;
    table.rule();
    for (const auto& [mark, value] : values) {
      const Results::Curve& curve = results.reward.at(arm).at("training");
      if (curve.count(mark))
        table.add({arm, std::to_string(mark), to_string(mean_of(Results::at(curve, mark))),
                   fmt::format("{:g}", value)});
    }
  }
  reference.tables.push_back(std::move(table));
  reference.paragraphs.push_back(
      "The reference is a separate program with the same protocol and 20 other seeds (own "
      "calculation, not the paper's numbers: the paper has curves only).");
  out.push_back(std::move(reference));

  out.push_back(
      {.title = "What differs from print",
       .paragraphs = {
           "From the paper: the state (cell, previous action, previous reward), five actions, "
           "rewards -0.1, -0.5 and +1, learning rate 0.1, discount 0.95, beta 5, one pseudocount, "
           "1000 iterations of 10 rollouts of length 100 as figure 3's axis says (the text has one "
           "rollout of length 10).",
           "Not to be had, and ours: rooms of 5x5 cells, a corridor of three, 10 tasks with goals "
           "outside the corridor, -0.5 and +1 instead of -0.1 rather than on top, previous reward "
           "as none, -0.1 or -0.5, Q learned after each step, pi_0 from undiscounted visits and "
           "constant within an iteration; and all of the test phase.",
           "The paper's grid world has alpha = 1 alone. For the arms with entropy the bonus "
           "counts: "
           "a uniform step earns c_Ent log 5, with c_Ent = 0.1 that is 0.16 and more than the step "
           "costs, so that staying away from the goal pays; with 0.05 it is 0.08."}});
  return out;
}

Report report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(runs, plots, settings, "Distral in two rooms",
                    "Tasks that differ in their goal share a distilled policy (Teh et al. 2017): "
                    "soft Q-learning with pi_0 against the same learners on their own.",
                    sections);
}

}  // namespace

Experiment distral() {
  return {.name = "distral",
          .help = "a policy distilled from all tasks speeds each of them up, in two rooms",
          .source = "Teh et al. 2017, arXiv 1707.04175",
          .settings = settings,
          .run = run,
          .report = report,
          .evaluate = no_evaluation};
}

}  // namespace concord::experiments
