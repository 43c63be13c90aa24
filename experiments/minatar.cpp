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

const GameCurve* find(const GameResults& results, const std::string& arm, const std::string& game) {
  const auto found = results.find({arm, game});
  return found == results.end() ? nullptr : &found->second;
}

/// Scores of the last 100 episodes of training, one per seed.
std::vector<double> at_the_end(const GameCurve& curve) {
  return curve.training.empty() ? std::vector<double>{} : curve.training.rbegin()->second;
}

std::string with_interval(const std::vector<double>& scores) {
  const Mean m = mean_of(scores);
  if (m.count == 0) return "-";
  if (m.count == 1) return number(m.mean);
  return fmt::format("{:.1f} ± {:.1f}", m.mean, half_width_95(m));
}

const char* kVariant =
    "Variant: six actions, sticky actions with probability 0.1, difficulty ramping, no limit on an "
    "episode's length, raw scores. Greedy: episodes without noise in games of their own, up to "
    "step 5000. Printed: the random policy over 1 M steps of the authors' program; DQN and AC "
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
  const GameResults results = load_results(folder);
  Section result{.title = "Result"};
  result.paragraphs = {
      fmt::format(
          "{} seed{} of {} steps each{}. Training is the mean of the last 100 episodes. ± is "
          "the 95 % interval of the mean over seeds, which with two seeds is wide and rough.",
          s.integer("seeds"), s.integer("seeds") == 1 ? "" : "s", with_commas(s.integer("steps")),
          s.full() ? ""
                   : ". The protocol of the literature, five games, three agents and five "
                     "seeds of 5 M steps, is --full: about eight hours on two cores"),
      kVariant};
  Table table(
      {"<game", "<agent", "training", "greedy", "random", "DQN 5 M", "AC 5 M", "pgx PPO 20 M"});
  Section films{.title = "At play"};
  for (const std::string& game : s.list("games")) {
    const GameFacts& facts = facts_of(game);
    LinePlot lines{.title = game, .x = {.label = "steps"}, .y = {.label = "score"}};
    for (const std::string& agent : s.list("agents")) {
      const GameCurve* curve = find(results, agent, game);
      if (curve == nullptr) continue;
      table.add({game, agent, with_interval(at_the_end(*curve)), with_interval(curve->greedy),
                 number(facts.random, 2), number(facts.dqn), number(facts.ac), number(facts.pgx)});
      lines.series.push_back(series_of(agent, *curve));
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

Trained trained(const RunFolder& run, const std::string& which, std::uint64_t seed) {
  Settings s = settings();
  s.from_json(run.config()["settings"]);
  return load_trained(run, players(s), which, seed);
}

// --- mt-minatar: one network for five games

/// What stands between the games' losses and the optimiser of PPO.
struct Arm {
  const char* name;
  rl::OptionMap options;
};
const Arm kArms[] = {{"equal", {{"method", "equal"}}},
                     {"pcgrad", {{"method", "pcgrad"}}},
                     {"cagrad", {{"method", "cagrad"}}},
                     {"cosine_gate", {{"method", "cosine_gate"}}},
                     {"popart", {{"method", "equal"}, {"popart", "0.0003"}}},
                     {"single", {}}};

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
        "single: a network per game; popart: equal with values on one scale");
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

std::vector<Player> mt_players(const Settings& s) {
  const std::vector<std::string> games = minatar_names();
  const std::int64_t steps = s.integer("steps");
  std::vector<Player> all;
  for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed)
    for (const std::string& name : s.list("arms")) {
      const Arm& arm = *std::find_if(std::begin(kArms), std::end(kArms),
                                     [&](const Arm& a) { return a.name == name; });
      Player p{.arm = name,
               .games = games,
               .seed = seed,
               .agent = "ppo",
               .environments = s.integer("environments"),
               .steps = steps,
               .measured = s.integer("measured")};
      if (name == "single") {
        for (const std::string& game : games) {
          p.games = {game};
          p.options = options_of("ppo", steps, s);
          all.push_back(p);
        }
      } else {
        p.options = options_of("ppo", steps * static_cast<std::int64_t>(games.size()), s);
        p.options.insert(arm.options.begin(), arm.options.end());
        all.push_back(p);
      }
    }
  return all;
}

bool mt_run(Job& job) {
  return train_players(job, mt_players(job.settings), between_points(job.settings));
}

std::vector<Section> mt_sections(const Settings& s, const RunFolder& folder,
                                 const std::filesystem::path& plot) {
  const GameResults results = load_results(folder);
  Section result{.title = "Result"};
  result.paragraphs = {
      fmt::format("PPO with one trunk for five games and heads of their own; {} seed{} of {} steps "
                  "of every game. Scores are greedy.{}",
                  s.integer("seeds"), s.integer("seeds") == 1 ? "" : "s",
                  with_commas(s.integer("steps")),
                  s.full() ? ""
                           : " This is a glimpse: at this length little is learned, and the "
                             "order of the arms says nothing. The comparison is --full: six "
                             "arms, five seeds of 2 M steps, about 11 hours on two cores."),
      "Normalised: (score - random) / (DQN - random) with the figure's DQN at 5 M frames. IQM: the "
      "mean of the middle half of the normalised scores of all games and seeds; its 95 % interval "
      "is a bootstrap, stratified by game (Agarwal et al. 2021), which needs two seeds.",
      "The single arm has as many steps of each game, in five networks. The gate's main task is "
      "breakout.",
      kVariant};
  std::vector<std::string> columns{"<arm"};
  for (const std::string& game : minatar_names()) columns.push_back(game);
  Table raw(columns), scaled(columns);
  Table iqm({"<arm", "IQM", "95 % interval", "mean"});
  for (const std::string& arm : s.list("arms")) {
    std::vector<std::string> raw_cells{arm}, scaled_cells{arm};
    Scores scores;
    for (const GameFacts& game : minatar_games()) {
      const GameCurve* curve = find(results, arm, game.name);
      scores.emplace_back();
      if (curve != nullptr)
        for (const double x : curve->greedy) scores.back().push_back(normalised(game, x));
      raw_cells.push_back(curve == nullptr ? "-" : with_interval(curve->greedy));
      scaled_cells.push_back(number(mean_of(scores.back()).mean, 3));
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
             number(mean, 3)});
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
  Section curves{.title = "Learning curves"};
  for (const std::string& game : minatar_names()) {
    LinePlot lines{.title = game, .x = {.label = "steps of this game"}, .y = {.label = "score"}};
    for (const std::string& arm : s.list("arms"))
      if (const GameCurve* curve = find(results, arm, game); curve && !curve->training.empty())
        lines.series.push_back(series_of(arm, *curve));
    if (lines.series.empty())
      curves.paragraphs.push_back("No episode of " + game + " ended in training.");
    else
      curves.drawings.push_back(draw(lines, plot.string() + "curve-" + game));
  }
  Section films{.title = "At play"};
  for (const std::string& game : minatar_names()) {
    const std::string name = s.list("arms").front() + "-" + game;
    films.drawings.push_back(
        film(load_trained(folder, mt_players(s), name + "-1", 1), plot.string() + name));
  }
  return {result, curves, films};
}

Report mt_report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(runs, plots, mt_settings, "One network for MinAtar's five games",
                    "The games' gradients meet in one trunk, and a multitask method stands between "
                    "them and the optimiser.",
                    mt_sections);
}

Trained mt_trained(const RunFolder& run, const std::string& which, std::uint64_t seed) {
  Settings s = mt_settings();
  s.from_json(run.config()["settings"]);
  return load_trained(run, mt_players(s), which, seed);
}

}  // namespace

Experiment minatar() {
  return {.name = "minatar",
          .help = "PPO, DQN and A2C on MinAtar's games, one network per game",
          .source = "Young and Tian 2019, arXiv 1903.03176",
          .settings = settings,
          .run = run,
          .report = report,
          .evaluate = no_evaluation,
          .trained = trained};
}

Experiment mt_minatar() {
  return {.name = "mt-minatar",
          .help = "one network for MinAtar's five games: methods compared on PPO's gradients",
          .source = "Young and Tian 2019; Hessel et al. 2019, arXiv 1809.04474 (PopArt)",
          .settings = mt_settings,
          .run = mt_run,
          .report = mt_report,
          .evaluate = no_evaluation,
          .trained = mt_trained};
}

}  // namespace concord::experiments
