#include <concord/experiments/game_runs.h>
#include <concord/experiments/minatar.h>
#include <concord/experiments/toy.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::experiments {
namespace {

/// The network of the paper: 16 channels of 3x3, then 128 units.
rl::OptionMap network_options() {
  return {{"network", "minatar"}, {"hidden", "128"}, {"activation", "relu"}};
}

rl::OptionMap options_of(const std::string& agent, std::int64_t all_steps, const Settings& s) {
  rl::OptionMap o = network_options();
  o.emplace("device", s.text("device"));
  if (agent == "dqn") {
    // Young and Tian's, apart from Adam, and from a step of the learner every 4 frames.
    o.insert({{"batch", "32"},
              {"capacity", "100000"},
              {"start", "5000"},
              {"train_every", "4"},
              {"target_every", "4000"},
              {"epsilon_end", "0.1"},
              {"epsilon_steps", "100000"},
              {"rate", "0.00025"},
              {"double_q", "false"},
              {"huber", "1"}});
  } else {
    o.insert({{"separate", "false"}, {"anneal", std::to_string(all_steps)}});
    if (agent == "ppo") o.insert({{"steps", "32"}, {"minibatches", "8"}, {"rate", "0.0025"}});
  }
  return o;
}

std::string number(double x, int digits = 1) {
  return std::isnan(x) ? "-" : fmt::format("{:.{}f}", x, digits);
}

std::string with_interval(const std::vector<double>& scores) {
  const Mean m = mean_of(scores);
  if (m.count == 0) return "-";
  if (m.count == 1) return number(m.mean);
  return fmt::format("{:.1f} ± {:.1f}", m.mean, half_width_95(m));
}

/// "3 of 40" greedy episodes.
std::string share_cut(const GameResults& results, const std::string& arm, const std::string& game,
                      const Settings& s) {
  double cut = 0;
  for (const double of_seed : results.at_the_end(arm, game, "cut")) cut += of_seed;
  return fmt::format("{:.0f} of {}", cut, s.integer("measured") * s.integer("seeds"));
}

/// How much an interval over so few seeds is worth.
std::string caution(const Settings& s) {
  return s.integer("seeds") < 5 ? " Over fewer than five seeds intervals are rough: take them as a "
                                  "hint, not as a test."
                                : "";
}

const char* kVariant =
    "Variant: six actions, sticky actions with probability 0.1, difficulty ramping, no limit on an "
    "episode's length, raw scores. Greedy: episodes without noise in games of their own, up to "
    "step 5000; cut: how many of them had not ended there. Printed: the random policy over 1 M "
    "steps of the authors' program; DQN and AC "
    "(lambda 0.8) at 5 M frames, read by eye from the figure of Young and Tian 2019 (Seaquest "
    "before a correction of its rules); PPO of pgx at 20 M steps, from its plots.";

// --- minatar: one agent per game

Settings settings() {
  Settings s("minatar");
  s.add("games",
        Choices{.standard = {"breakout"},
                .valid = minatar_names(),
                .full = minatar_names(),
                .kind = "game"},
        "to learn");
  s.add("agents",
        Choices{.standard = {"ppo", "dqn"},
                .valid = {"ppo", "dqn", "a2c"},
                .full = std::vector<std::string>{"ppo", "dqn", "a2c"},
                .kind = "agent"},
        "that learn them");
  s.add("seeds", Integer{.standard = 2, .full = 5, .low = 1, .high = 1000}, "per game and agent");
  s.add("steps", Integer{.standard = 200'000, .full = 5'000'000, .low = 1, .high = 1'000'000'000},
        "of each game, agent and seed");
  s.add("environments", Integer{.standard = 64, .low = 1, .high = 65536},
        "that play at once for PPO and A2C; DQN has 4");
  s.add("points", Integer{.standard = 30, .full = 50, .low = 1, .high = 10000},
        "of a learning curve");
  s.add("measured", Integer{.standard = 20, .low = 1, .high = 10000},
        "greedy episodes of each game, in the end");
  add_device(s);
  return s;
}

std::vector<Player> players(const Settings& s) {
  std::vector<Player> all;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed)
    for (const std::string& game : s.list("games"))
      for (const std::string& agent : s.list("agents"))
        all.push_back({.arm = agent,
                       .games = {game},
                       .seed = seed,
                       .agent = agent,
                       .options = options_of(agent, s.integer("steps"), s),
                       .environments = agent == "dqn" ? 4 : s.integer("environments"),
                       .steps = s.integer("steps"),
                       .measured = s.integer("measured")});
  return all;
}

std::int64_t between_points(const Settings& s) {
  return std::max<std::int64_t>(1, s.integer("steps") / s.integer("points"));
}

bool run(Job& job) {
  return train_players(job, players(job.settings), between_points(job.settings));
}

std::vector<Section> sections(const Settings& s, const RunFolder& folder,
                              const std::filesystem::path& plot) {
  const GameResults results(folder);
  Section result{.title = "Result"};
  result.paragraphs = {
      fmt::format(
          "{} seed{} of {} steps each{}. Training is the mean of the last 100 episodes. ± is "
          "the 95 % interval of the mean over seeds.{}",
          s.integer("seeds"), s.integer("seeds") == 1 ? "" : "s", with_commas(s.integer("steps")),
          s.full() ? ""
                   : ". The protocol of the literature, five games, three agents and five "
                     "seeds of 5 M steps, is --full: about eight hours on two cores",
          caution(s)),
      "DQN is Young and Tian's, which is Mnih et al.'s at MinAtar's size, but with Adam instead of "
      "centred RMSProp, four environments instead of one, and a step of the learner every 4 frames "
      "instead of every frame; exploration, replay, target network and error clipping are theirs.",
      kVariant};
  Table table({"<game", "<agent", "training", "greedy", "cut", "random", "DQN 5 M", "AC 5 M",
               "pgx PPO 20 M"});
  Section films{.title = "At play"};
  for (const std::string& game : s.list("games")) {
    const GameFacts& facts = facts_of(game);
    LinePlot lines{.title = game, .x = {.label = "steps"}, .y = {.label = "score"}};
    for (const std::string& agent : s.list("agents")) {
      table.add({game, agent, with_interval(results.at_the_end(agent, game, "training")),
                 with_interval(results.at_the_end(agent, game, "greedy")),
                 share_cut(results, agent, game, s), number(facts.random, 2), number(facts.dqn),
                 number(facts.ac), number(facts.pgx)});
      lines.series.push_back(series_of(agent, results.curve(agent, game, "training")));
    }
    result.drawings.push_back(draw(lines, plot.string() + "curve-" + game));
    const std::string& shown = s.list("agents").front();
    const std::string name = shown + "-" + game;
    films.drawings.push_back(
        film(load_trained(folder, players(s), name + "-1", 1), plot.string() + name));
  }
  result.tables = {table};
  return {result, films};
}

Report report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(runs, plots, settings, "MinAtar",
                    "Agents learn Atari's games in miniature, one network per game.", sections);
}

std::vector<Player> players_of(const RunFolder& run) {
  Settings s = settings();
  s.from_json(run.config()["settings"]);
  return players(s);
}

Table evaluate(const RunFolder& run, const std::string& part) {
  return evaluate_players(run, players_of(run), part);
}

Trained trained(const RunFolder& run, const std::string& which, std::uint64_t seed) {
  return load_trained(run, players_of(run), which, seed);
}

// --- mt-minatar: one network for five games

constexpr const char* kSingle = "single";

/// What stands between the losses and the optimiser of PPO: those of the games and, when `taught`,
/// behind them those of a teacher for each game, the policy of the single arm.
struct Arm {
  const char* name;
  rl::OptionMap options;
  bool taught = false;
};
const Arm kArms[] = {
    {"equal", {{"method", "equal"}}},
    {"pcgrad", {{"method", "pcgrad"}}},
    {"cagrad", {{"method", "cagrad"}}},
    {"popart", {{"method", "equal"}, {"popart", "0.0003"}}},
    {kSingle, {}},
    {"distilled", {{"method", "sum"}}, true},
    {"cosine_gate", {{"method", "cosine_gate"}, {"method.mains", "0,1,2,3,4,0,1,2,3,4"}}, true}};

const Arm& arm_called(const std::string& name) {
  return *std::find_if(std::begin(kArms), std::end(kArms),
                       [&](const Arm& a) { return a.name == name; });
}

std::vector<std::string> arm_names() {
  std::vector<std::string> names;
  for (const Arm& arm : kArms) names.emplace_back(arm.name);
  return names;
}

Settings mt_settings() {
  Settings s("mt-minatar");
  s.add("arms",
        Choices{.standard = {"equal", "pcgrad"},
                .valid = arm_names(),
                .full = arm_names(),
                .kind = "arm"},
        "single: a network per game; popart: equal with values on one scale; distilled, "
        "cosine_gate: with the single networks as teachers, always or behind Du et al.'s gate");
  s.add("seeds", Integer{.standard = 2, .full = 5, .low = 1, .high = 1000}, "per arm");
  s.add("steps", Integer{.standard = 40'000, .full = 2'000'000, .low = 1, .high = 1'000'000'000},
        "of each game, arm and seed");
  s.add("environments", Integer{.standard = 32, .low = 1, .high = 65536},
        "of each game that play at once");
  s.add("points", Integer{.standard = 20, .full = 50, .low = 1, .high = 10000},
        "of a learning curve");
  s.add("measured", Integer{.standard = 20, .low = 1, .high = 10000},
        "greedy episodes of each game, in the end");
  add_device(s);
  return s;
}

/// Those asked for; teachers are trained before their students.
std::vector<std::string> mt_arms(const Settings& s) {
  std::vector<std::string> arms = s.list("arms");
  if (std::any_of(arms.begin(), arms.end(), [](auto& name) { return arm_called(name).taught; })) {
    arms.erase(std::remove(arms.begin(), arms.end(), kSingle), arms.end());
    arms.insert(arms.begin(), kSingle);
  }
  return arms;
}

std::vector<Player> mt_players(const Settings& s) {
  const std::vector<std::string> games = minatar_names();
  const std::int64_t steps = s.integer("steps");
  std::vector<Player> all;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
    std::vector<std::string> singles;
    for (const std::string& name : mt_arms(s)) {
      const Arm& arm = arm_called(name);
      Player p{.arm = name,
               .games = games,
               .seed = seed,
               .agent = "ppo",
               .environments = s.integer("environments"),
               .steps = steps,
               .measured = s.integer("measured")};
      if (name == kSingle) {
        for (const std::string& game : games) {
          p.games = {game};
          p.options = options_of("ppo", steps, s);
          all.push_back(p);
          singles.push_back(p.name());
        }
      } else {
        p.options = options_of("ppo", steps * static_cast<std::int64_t>(games.size()), s);
        p.options.insert(arm.options.begin(), arm.options.end());
        if (arm.taught) p.teachers = singles;
        all.push_back(p);
      }
    }
  }
  return all;
}

bool mt_run(Job& job) {
  return train_players(job, mt_players(job.settings), between_points(job.settings));
}

Section mt_result(const Settings& s, const GameResults& results) {
  Section result{.title = "Result"};
  result.paragraphs = {
      fmt::format("PPO with one trunk for five games and heads of their own; {} seed{} of {} steps "
                  "of every game. Scores are greedy.{}",
                  s.integer("seeds"), s.integer("seeds") == 1 ? "" : "s",
                  with_commas(s.integer("steps")),
                  s.full() ? ""
                           : " This is a glimpse: at this length little is learned, and the "
                             "order of the arms says nothing. The comparison is --full: seven "
                             "arms, five seeds of 2 M steps, about 16 hours on two cores."),
      "Normalised: (score - random) / (DQN - random) with the figure's DQN at 5 M frames. IQM: the "
      "mean of the middle half of the normalised scores of all games and seeds; its 95 % interval "
      "is a bootstrap, stratified by game (Agarwal et al. 2021), which needs two seeds." +
          caution(s),
      "The single arm has as many steps of each game, in five networks. Distilled and cosine_gate "
      "have its policies as teachers: the loss KL(teacher || student) in the states that the "
      "student visits, weight 1, always or as Du et al. gate it, each teacher's gradient against "
      "that of its own game. So they build on twice the steps.",
      kVariant};
  std::vector<std::string> columns{"<arm"};
  for (const std::string& game : minatar_names()) columns.push_back(game);
  Table raw(columns), scaled(columns);
  Table iqm({"<arm", "IQM", "95 % interval", "mean", "cut"});
  for (const std::string& arm : mt_arms(s)) {
    std::vector<std::string> raw_cells{arm}, scaled_cells{arm};
    Scores scores;
    double cut = 0;
    for (const GameFacts& game : minatar_games()) {
      const std::vector<double> greedy = results.at_the_end(arm, game.name, "greedy");
      scores.emplace_back();
      for (const double x : greedy) scores.back().push_back(normalised(game, x));
      raw_cells.push_back(with_interval(greedy));
      scaled_cells.push_back(number(mean_of(scores.back()).mean, 3));
      for (const double of_seed : results.at_the_end(arm, game.name, "cut")) cut += of_seed;
    }
    raw.add(raw_cells);
    scaled.add(scaled_cells);
    const Interval interval = bootstrap_95(scores, pooled_iqm, Rng(1).fork("bootstrap"));
    double mean = 0;
    for (const auto& game : scores) mean += mean_of(game).mean / static_cast<double>(scores.size());
    iqm.add({arm, number(pooled_iqm(scores), 3),
             std::isnan(interval.low)
                 ? "-"
                 : fmt::format("[{:.3f}, {:.3f}]", interval.low, interval.high),
             number(mean, 3), number(cut, 0)});
  }
  raw.rule();
  for (const auto& [name, of] :
       {std::pair("random", &GameFacts::random), std::pair("DQN 5 M", &GameFacts::dqn),
        std::pair("AC 5 M", &GameFacts::ac), std::pair("pgx PPO 20 M", &GameFacts::pgx)}) {
    std::vector<std::string> cells{name};
    for (const GameFacts& game : minatar_games()) cells.push_back(number(game.*of));
    raw.add(cells);
  }
  result.tables = {iqm, raw, scaled};
  return result;
}

/// How the games' gradients got along.
Section mt_conflicts(const Settings& s, const GameResults& results,
                     const std::filesystem::path& plot) {
  constexpr std::pair<const char*, const char*> kKinds[] = {
      {"cosine", "mean cosine of two games' gradients"},
      {"conflict", "pairs of games with a negative cosine (share)"},
      {"open", "games whose teacher agrees (share)"}};
  Section section{.title = "Conflicts"};
  section.paragraphs = {
      "Cosines between the gradients of two games on the shared trunk, per step of the learner: "
      "their mean over the ten pairs, and the share below 0 (Yu et al. 2020, def. 1). In arms with "
      "teachers, the share of games whose teacher's gradient does not point against theirs: where "
      "Du et al.'s gate is open. Tables: means over the run."};
  Table table({"<arm", "mean cosine", "in conflict (%)", "teacher agrees (%)"});
  std::vector<LinePlot> lines;
  for (const auto& [kind, label] : kKinds)
    lines.push_back({.title = label, .x = {.label = "steps of each game"}, .y = {.label = kind}});
  for (const std::string& arm : mt_arms(s)) {
    std::vector<std::string> cells{arm};
    for (std::size_t k = 0; k < std::size(kKinds); ++k) {
      const Curve& curve = results.curve(arm, kAllGames, kKinds[k].first);
      std::vector<double> all;
      for (const auto& [steps, values] : curve) all.insert(all.end(), values.begin(), values.end());
      const double mean = mean_of(all).mean;
      cells.push_back(all.empty() ? "-" : k == 0 ? number(mean, 3) : number(100 * mean));
      if (!curve.empty()) lines[k].series.push_back(series_of(arm, curve));
    }
    if (arm != kSingle) table.add(std::move(cells));
  }
  section.tables = {table};
  for (std::size_t k = 0; k < lines.size(); ++k)
    if (!lines[k].series.empty())
      section.drawings.push_back(draw(lines[k], plot.string() + kKinds[k].first));
  return section;
}

std::vector<Section> mt_sections(const Settings& s, const RunFolder& folder,
                                 const std::filesystem::path& plot) {
  const GameResults results(folder);
  Section curves{.title = "Learning curves"}, films{.title = "At play"};
  for (const std::string& game : minatar_names()) {
    LinePlot lines{.title = game, .x = {.label = "steps of this game"}, .y = {.label = "score"}};
    for (const std::string& arm : mt_arms(s))
      if (const Curve& curve = results.curve(arm, game, "training"); !curve.empty())
        lines.series.push_back(series_of(arm, curve));
    if (lines.series.empty())
      curves.paragraphs.push_back("No episode of " + game + " ended in training.");
    else
      curves.drawings.push_back(draw(lines, plot.string() + "curve-" + game));
    const std::string name = mt_arms(s).front() + "-" + game;
    films.drawings.push_back(
        film(load_trained(folder, mt_players(s), name + "-1", 1), plot.string() + name));
  }
  return {mt_result(s, results), mt_conflicts(s, results, plot), curves, films};
}

Report mt_report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(runs, plots, mt_settings, "One network for MinAtar's five games",
                    "The games' gradients meet in one trunk, and a multitask method stands between "
                    "them and the optimiser.",
                    mt_sections);
}

std::vector<Player> mt_players_of(const RunFolder& run) {
  Settings s = mt_settings();
  s.from_json(run.config()["settings"]);
  return mt_players(s);
}

Table mt_evaluate(const RunFolder& run, const std::string& part) {
  return evaluate_players(run, mt_players_of(run), part);
}

Trained mt_trained(const RunFolder& run, const std::string& which, std::uint64_t seed) {
  return load_trained(run, mt_players_of(run), which, seed);
}

}  // namespace

Experiment minatar() {
  return {.name = "minatar",
          .help = "PPO, DQN and A2C on MinAtar's games, one network per game",
          .source = "Young and Tian 2019, arXiv 1903.03176",
          .settings = settings,
          .run = run,
          .report = report,
          .evaluate = evaluate,
          .trained = trained};
}

Experiment mt_minatar() {
  return {.name = "mt-minatar",
          .help = "one network for MinAtar's five games: methods compared on PPO's gradients",
          .source = "Young and Tian 2019; Hessel et al. 2019, arXiv 1809.04474 (PopArt)",
          .settings = mt_settings,
          .run = mt_run,
          .report = mt_report,
          .evaluate = mt_evaluate,
          .trained = mt_trained};
}

}  // namespace concord::experiments
