#include <concord/experiments/distral.h>
#include <concord/experiments/game_runs.h>
#include <concord/experiments/grid_picture.h>
#include <concord/experiments/toy.h>
#include <concord/rl/agents/distral_a2c.h>
#include <concord/rl/distral.h>
#include <concord/rl/tabular/exact.h>
#include <concord/rl/worlds.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace concord::experiments {

namespace {

using rl::tabular::ActionTable;

constexpr const char *kAlone = "A3C", *kOnePolicy = "A3C_multitask", *kAdded = "A3C_2col";
constexpr const char *kKl1 = "KL_1col", *kKl2 = "KL_2col";
constexpr const char *kMixed1 = "KL+ent_1col", *kMixed2 = "KL+ent_2col";

std::vector<std::string> form_names() {
  std::vector<std::string> names;
  for (const rl::ColumnForm& form : rl::column_forms()) names.emplace_back(form.name);
  return names;
}

Settings settings() {
  Settings s("distral-deep");
  s.add("arms",
        Choices{.standard = {kAlone, kOnePolicy, kMixed2},
                .valid = form_names(),
                .full = form_names(),
                .kind = "arm"},
        "forms of table 1 that are compared");
  s.add("seeds", Integer{.standard = 3, .full = 10, .low = 1, .high = 1000},
        "seeds 1, 2, ...; arms of one seed share their tasks");
  s.add("tasks", Integer{.standard = 4, .low = 2, .high = 40}, "goals, one room after the other");
  s.add("steps", Integer{.standard = 40'000, .full = 60'000, .low = 1, .high = 1'000'000'000},
        "of each task");
  s.add("environments", Integer{.standard = 8, .low = 1, .high = 65536},
        "of each task that play at once");
  s.add("rate", Real{.standard = 2e-3, .low = 0, .high = 1}, "of RMSprop");
  s.add("beta", Real{.standard = 100, .low = 1e-9, .high = 1e9}, "1 / (c_KL + c_Ent)");
  s.add("discount", Real{.standard = 0.95, .low = 0, .high = 0.9999}, "of later rewards");
  s.add("step_reward", Real{.standard = -0.02, .low = -100, .high = 100},
        "of every step; the goal pays 1 on top");
  s.add("limit", Integer{.standard = 100, .low = 1, .high = 1'000'000}, "steps of an episode");
  s.add("hidden", Integer{.standard = 32, .low = 1, .high = 4096},
        "units of a column, after a convolution of 16 channels of 3x3");
  s.add("points", Integer{.standard = 20, .low = 2, .high = 10000}, "of a learning curve");
  s.add("measured", Integer{.standard = 40, .low = 1, .high = 10000},
        "greedy episodes of each task, in the end");
  return s;
}

/// Task 0 has its goal in the upper left room, task 1 in the upper right one, and so on in turns.
rl::Mdp task_at(const Settings& s, std::int64_t seed, int task) {
  const std::vector<index_t> cells = rl::four_rooms_cells(task % 4);
  std::vector<index_t> order(cells.size());
  Rng(static_cast<std::uint64_t>(seed)).fork("goals").fork(task % 4).permutation(order);
  return rl::four_rooms({.goal = cells[order[task / 4]],
                         .step = static_cast<float>(s.real("step_reward")),
                         .max_steps = s.integer("limit")});
}

std::vector<std::string> task_names(const Settings& s) {
  std::vector<std::string> names;
  for (std::int64_t t = 1; t <= s.integer("tasks"); ++t) names.push_back(fmt::format("goal{}", t));
  return names;
}

std::vector<Player> players(const Settings& s) {
  const std::vector<std::string> tasks = task_names(s);
  std::vector<Player> all;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
    const auto make = [s, tasks, seed](const std::string& name, const rl::EnvCount& count) {
      const auto task = std::find(tasks.begin(), tasks.end(), name) - tasks.begin();
      return rl::make_mdp_env(task_at(s, seed, static_cast<int>(task)), count);
    };
    for (const std::string& arm : s.list("arms"))
      all.push_back({.arm = arm,
                     .games = tasks,
                     .seed = seed,
                     .agent = "distral",
                     .options = {{"form", arm},
                                 {"beta", fmt::format("{}", s.real("beta"))},
                                 {"rate", fmt::format("{}", s.real("rate"))},
                                 {"gamma", fmt::format("{}", s.real("discount"))},
                                 {"network", "minatar"},
                                 {"hidden", std::to_string(s.integer("hidden"))},
                                 {"activation", "relu"},
                                 // Without it single tasks stay where they began for good.
                                 {"layer_norm", "true"}},
                     .environments = s.integer("environments"),
                     .steps = s.integer("steps"),
                     .measured = s.integer("measured"),
                     .make_game = make});
  }
  return all;
}

bool run(Job& job) {
  const Settings& s = job.settings;
  return train_players(job, players(s),
                       std::max<std::int64_t>(1, s.integer("steps") / s.integer("points")));
}

// --- Report --------------------------------------------------------------------------------------

using BySeed = std::vector<double>;

/// What a policy earns: the expected discounted return, solved, not played.
double worth(const rl::Mdp& task, const ActionTable& policy, double discount) {
  return rl::tabular::expected_return(task, rl::tabular::state_values(task, policy, discount));
}

/// An arm's learner of one seed after training, as tables over the cells.
class Learned {
 public:
  Learned(const RunFolder& folder, const Settings& s, const std::string& arm, std::int64_t seed)
      : trained_(load_trained(folder, players(s), fmt::format("{}-goal1-{}", arm, seed), 1)),
        agent_(dynamic_cast<const rl::DistralA2c&>(*trained_.agent)) {}

  /// Whether pi_0 was learned.
  bool has_distilled() const { return agent_.form().shared != 0 || agent_.form().alpha > 0; }
  ActionTable policy(const rl::Mdp& task, int number) const { return table(task, number, false); }
  ActionTable distilled(const rl::Mdp& any) const { return table(any, 0, true); }

 private:
  ActionTable table(const rl::Mdp& task, int number, bool distilled) const {
    rl::Bounds bounds(static_cast<std::size_t>(agent_.network().tasks()) + 1, 0);
    std::fill(bounds.begin() + number + 1, bounds.end(), task.states());
    std::vector<rl::Distribution> out;
    agent_.network()({.theta = &agent_.learner().theta()}, rl::to_input(task.observations), bounds,
                     distilled ? nullptr : &out, distilled ? &out : nullptr, nullptr);
    ActionTable p(task.states(), task.actions());
    const float* log_p = out[static_cast<std::size_t>(number)].log_p.value().data<float>();
    for (double& x : p.values()) x = std::exp(static_cast<double>(*log_p++));
    return p;
  }

  Trained trained_;
  const rl::DistralA2c& agent_;
};

/// One arm; means over its tasks, an entry per seed.
struct ArmResult {
  Curve training;                      ///< by steps per task, once every task had an episode
  BySeed greedy, policies, distilled;  ///< the last two by worth()

  /// At this share of the run; empty when no point is left.
  BySeed at(double share) const {
    return training.empty() ? BySeed{} : training.lower_bound(steps_at(share))->second;
  }
  /// The mean of the curve up to there.
  BySeed over(double share) const {
    BySeed sum;
    double points = 0;
    for (const auto& [steps, values] : training) {
      if (steps > steps_at(share)) break;
      sum.resize(values.size());
      for (std::size_t k = 0; k < values.size(); ++k) sum[k] += values[k];
      ++points;
    }
    for (double& x : sum) x /= points;
    return sum;
  }

 private:
  std::int64_t steps_at(double share) const {
    return static_cast<std::int64_t>(share * static_cast<double>(training.rbegin()->first));
  }
};
using ArmResults = std::map<std::string, ArmResult>;

ArmResults results_of(const RunFolder& folder, const Settings& s) {
  const GameResults games(folder);
  const std::vector<std::string> tasks = task_names(s);
  const double share = 1 / static_cast<double>(tasks.size());
  const auto seeds = static_cast<std::size_t>(s.integer("seeds"));
  // Means over the tasks, where all of them have a value for every seed.
  const auto mean_over_tasks = [&](const std::string& arm, const char* kind) {
    Curve mean = games.curve(arm, tasks[0], kind);
    for (auto& [steps, values] : mean) {
      values.assign(seeds, 0);
      for (const std::string& task : tasks) {
        const Curve& curve = games.curve(arm, task, kind);
        const auto point = curve.find(steps);
        if (point == curve.end() || point->second.size() < seeds) {
          values.clear();
          break;
        }
        for (std::size_t k = 0; k < seeds; ++k) values[k] += share * point->second[k];
      }
    }
    std::erase_if(mean, [](const auto& point) { return point.second.empty(); });
    return mean;
  };
  ArmResults results;
  for (const std::string& name : s.list("arms")) {
    ArmResult& arm = results[name];
    arm.training = mean_over_tasks(name, "training");
    if (const Curve greedy = mean_over_tasks(name, "greedy"); !greedy.empty())
      arm.greedy = greedy.rbegin()->second;
    for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
      const Learned learned(folder, s, name, seed);
      double policies = 0, distilled = 0;
      for (int t = 0; t < s.integer("tasks"); ++t) {
        const rl::Mdp task = task_at(s, seed, t);
        policies += share * worth(task, learned.policy(task, t), s.real("discount"));
        if (learned.has_distilled())
          distilled += share * worth(task, learned.distilled(task), s.real("discount"));
      }
      arm.policies.push_back(policies);
      if (learned.has_distilled()) arm.distilled.push_back(distilled);
    }
  }
  return results;
}

Table result_table(const ArmResults& results, const Settings& s) {
  Table table({"<arm", "logits", "alpha", "first quarter", "half", "end", "greedy", "pi_i, exact",
               "pi_0, exact"});
  const auto cell = [](const BySeed& values) {
    return values.empty() ? std::string("-") : to_string(mean_of(values));
  };
  for (const std::string& arm : s.list("arms")) {
    const ArmResult& r = results.at(arm);
    const rl::ColumnForm& form = rl::find_column_form(arm);
    const std::string h = form.shared == 0   ? ""
                          : form.shared == 1 ? "h"
                                             : fmt::format("{:g} h", form.shared);
    table.add({arm, h + (h.empty() || !form.own ? "" : " + ") + (form.own ? "f_i" : ""),
               fmt::format("{:g}", form.alpha), cell(r.at(0.25)), cell(r.at(0.5)), cell(r.at(1)),
               cell(r.greedy), cell(r.policies), cell(r.distilled)});
  }
  // What can be had at all, and for nothing.
  BySeed best, uniform;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
    for (int t = 0; t < s.integer("tasks"); ++t) {
      const rl::Mdp task = task_at(s, seed, t);
      const ActionTable q = rl::tabular::optimal_values(task, s.real("discount"));
      ActionTable greedy(q.states(), q.actions());
      for (index_t c = 0; c < q.states(); ++c)
        greedy[c][std::max_element(q[c].begin(), q[c].end()) - q[c].begin()] = 1;
      best.push_back(worth(task, greedy, s.real("discount")));
      uniform.push_back(
          worth(task, rl::tabular::uniform_policy(q.states(), q.actions()), s.real("discount")));
    }
  }
  table.rule();
  table.add({"best policy", "", "", "", "", "", "", fmt::format("{:.2f}", mean_of(best).mean), ""});
  table.add(
      {"uniform policy", "", "", "", "", "", "", fmt::format("{:.2f}", mean_of(uniform).mean), ""});
  return table;
}

/// The paper's findings on its mazes (section 4.2) beside what the run shows, pairs of arms that
/// were both run.
Table claims(const ArmResults& results) {
  Table table({"<statement", "<measure", "<first", "<second", "first - second, 95 %", "<seen"});
  const auto compare = [&](const char* statement, const char* measure, const char* first,
                           const char* second, const auto& values) {
    if (!results.count(first) || !results.count(second)) return;
    BySeed difference = values(results.at(first));
    const BySeed other = values(results.at(second));
    if (difference.empty() || other.empty()) return;
    for (std::size_t k = 0; k < difference.size(); ++k) difference[k] -= other[k];
    const Mean m = mean_of(difference);
    const double half = half_width_95(m);
    table.add({statement, measure, first, second,
               m.count > 1 ? fmt::format("{:+.2f} ± {:.2f}", m.mean, half)
                           : fmt::format("{:+.2f}", m.mean),
               m.mean - half > 0   ? "yes"
               : m.mean + half < 0 ? "the opposite"
                                   : "not told apart"});
  };
  const auto early = [](const ArmResult& r) { return r.over(0.5); };
  const auto end = [](const ArmResult& r) { return r.at(1); };
  const auto distilled = [](const ArmResult& r) { return r.distilled; };
  for (const char* baseline : {kAlone, kOnePolicy, kAdded})
    compare("Distral learns faster", "mean of the first half", kMixed2, baseline, early);
  for (const char* baseline : {kAlone, kOnePolicy, kAdded})
    compare("Distral ends better", "end", kMixed2, baseline, end);
  compare("two columns learn faster than one", "mean of the first half", kKl2, kKl1, early);
  compare("two columns learn faster than one", "mean of the first half", kMixed2, kMixed1, early);
  compare("without entropy a faster start", "mean of the first half", kKl2, kMixed2, early);
  compare("... and a lower end", "end", kMixed2, kKl2, end);
  compare("pi_0 is better with two columns", "pi_0, exact", kKl2, kKl1, distilled);
  compare("pi_0 is better with two columns", "pi_0, exact", kMixed2, kMixed1, distilled);
  compare("pi_0 is better without entropy", "pi_0, exact", kKl1, kMixed1, distilled);
  compare("pi_0 is better without entropy", "pi_0, exact", kKl2, kMixed2, distilled);
  return table;
}

Drawing curves(const ArmResults& results, const Settings& s, const std::filesystem::path& base) {
  LinePlot plot{.title = "Return in training",
                .x = {.label = "steps of each task"},
                .y = {.label = "return of an episode"}};
  for (const std::string& arm : s.list("arms"))
    if (const ArmResult& r = results.at(arm); !r.training.empty())
      plot.series.push_back(series_of(arm, r.training));
  return draw(plot, base);
}

std::function<MoveProbabilities(index_t)> arrows(ActionTable policy) {
  return [policy = std::move(policy)](index_t cell) {
    MoveProbabilities p{};  // nobody can stay
    std::copy(policy[cell].begin(), policy[cell].end(), p.begin() + 1);
    return p;
  };
}

std::vector<Section> sections(const Settings& s, const RunFolder& folder,
                              const std::filesystem::path& plot) {
  const ArmResults results = results_of(folder, s);
  Section result{.title = "Result"};
  result.tables.push_back(result_table(results, s));
  if (Table table = claims(results); !table.empty()) result.tables.push_back(std::move(table));
  result.paragraphs = {
      fmt::format("{} tasks, {} steps each, {} seeds; means over tasks, ± standard error over "
                  "seeds; bands are 95 % intervals of the mean. Training: plain sums of rewards, "
                  "the last 100 episodes of each task. Exact: the expected discounted return of "
                  "the policy as it is, drawn actions and all, solved on the known MDP.{}",
                  s.integer("tasks"), with_commas(s.integer("steps")), s.integer("seeds"),
                  s.full()
                      ? ""
                      : " This is a glimpse; the comparison of all forms with ten seeds is --full, "
                        "about a quarter of an hour of one core."),
      "The statements are the paper's on its mazes, where the curves tell them; here they are "
      "differences paired by seed."};
  if (std::any_of(results.begin(), results.end(),
                  [](const auto& arm) { return !arm.second.training.empty(); }))
    result.drawings.push_back(curves(results, s, plot.string() + "training"));

  const std::string shown = results.count(kMixed2) ? kMixed2 : s.list("arms").front();
  const Learned learned(folder, s, shown, 1);
  Section picture{.title = "Policies of " + shown};
  const rl::Mdp first = task_at(s, 1, 0);
  std::vector<PolicyPanel> panels;
  if (learned.has_distilled()) panels.push_back({"pi_0", arrows(learned.distilled(first))});
  panels.push_back({"pi_1, goal in the upper left room", arrows(learned.policy(first, 0))});
  picture.drawings.push_back(
      draw_policies(rl::four_rooms_world(), panels, plot.string() + "policies"));
  picture.drawings.push_back(draw_episodes(play_frames(first, learned.policy(first, 0), 4, 40), 12,
                                           "Four episodes of the first task, the goal in green.",
                                           plot.string() + "episodes"));
  picture.paragraphs.push_back("Arrows are as long as their action is probable. Seed 1.");

  Section differences{
      .title = "What differs from print",
      .paragraphs = {
          "From the paper: the seven forms of table 1, the regularised reward, the gradients of "
          "both columns. A3C_2col adds h and f_i, although alpha h with its alpha = 0 would drop "
          "h.",
          "Ours: the four rooms of Sutton, Precup, Singh in place of 3-D mazes, seen as planes of "
          "pixels (walls, agent; the goal is not seen, so that a policy for all tasks cannot know "
          "it); A2C in place of A3C; columns of one convolution and one layer without memory; a "
          "value per task in every arm; one learning rate and beta for all arms, where the paper "
          "takes the best of a grid for each; no annealing, no tie between the values."}};
  return {result, picture, differences};
}

Report report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(runs, plots, settings, "Distral in four rooms, from pixels",
                    "Policies made of columns, one shared by all tasks and one per task (Teh et "
                    "al. 2017, section 3), trained by A2C on goals in different rooms.",
                    sections);
}

Trained trained(const RunFolder& run, const std::string& which, std::uint64_t seed) {
  Settings s = settings();
  s.from_json(run.config()["settings"]);
  return load_trained(run, players(s), which, seed);
}

}  // namespace

Experiment distral_deep() {
  return {.name = "distral-deep",
          .help = "Distral on networks: the seven forms of its columns in four rooms, from pixels",
          .source = "Teh et al. 2017, arXiv 1707.04175",
          .settings = settings,
          .run = run,
          .report = report,
          .evaluate = no_evaluation,
          .trained = trained};
}

}  // namespace concord::experiments
