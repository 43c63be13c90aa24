#include <concord/experiments/game_runs.h>
#include <concord/experiments/grid_picture.h>
#include <concord/experiments/progress.h>
#include <concord/multitask/telemetry.h>
#include <concord/rl/agents/registry.h>
#include <concord/rl/multi_env.h>
#include <concord/tensor/check.h>
#include <concord/tensor/serialize.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

namespace concord::experiments {
namespace {

// A policy without noise may play for ever (Breakout's ball can fall into a circle), so episodes
// are measured up to this step; Freeway's take 2500.
constexpr index_t kMeasuredSteps = 5000;
constexpr auto kBetweenCheckpoints = std::chrono::seconds(30);

rl::EnvPtr make_games(const Player& p, index_t environments, const Rng& rng) {
  std::vector<rl::EnvPtr> members;
  for (const std::string& game : p.games)
    members.push_back(p.make_game(game, {.size = environments, .seed = rng.fork(game).stream()}));
  return members.size() == 1 ? std::move(members[0]) : rl::join(std::move(members));
}

rl::EnvPtr make_games_of(const Player& p) {
  return make_games(p, p.environments, Rng(static_cast<std::uint64_t>(p.seed)).fork("games"));
}

rl::Evaluation measure(const rl::Agent& agent, const Player& p, bool greedy) {
  const auto seed = static_cast<std::uint64_t>(p.seed);
  const rl::EnvPtr env = make_games(p, p.measured, Rng(seed).fork("measured games"));
  return rl::evaluate(agent, *env, p.measured, greedy, seed, kMeasuredSteps);
}

/// Where a player stands: its checkpoint, which says how many rows of the metrics it has seen. Once
/// done it holds theta alone, which is all that playing needs: a replay takes 40 MB and more.
struct Place {
  TensorFile file;
  bool exists = false, done = false;
  std::int64_t rows = 0;

  explicit Place(const std::filesystem::path& path) : exists(std::filesystem::exists(path)) {
    if (!exists) return;
    file = load_safetensors(path);
    const auto value = [&](const char* name) {
      const auto found = file.metadata.find(name);
      if (found == file.metadata.end())
        throw FileError(
            fmt::format("{}: has no '{}', expected a player's checkpoint", path.string(), name));
      return std::stoll(found->second);
    };
    done = value("done") != 0;
    rows = value("rows");
  }
};

/// What the checkpoint holds; with theta alone the agent can only play.
void restore(rl::Agent& agent, const Place& place) {
  if (place.done)
    rl::Archive::load(place.file)("theta", agent.learner().theta().values());
  else
    agent.archive(rl::Archive::load(place.file));
}

/// The policies of finished players of one game each.
rl::Teacher teacher_of(const Player& student, const std::vector<Player>& players,
                       const RunFolder& folder) {
  auto agents = std::make_shared<std::vector<std::unique_ptr<rl::Ppo>>>();
  for (const std::string& name : student.teachers) {
    const Player& p = *std::find_if(players.begin(), players.end(),
                                    [&](const Player& q) { return q.name() == name; });
    agents->push_back(std::make_unique<rl::Ppo>(make_games_of(p), rl::ppo_options(p.options), 0));
    restore(*agents->back(), Place(folder.checkpoint(name)));
  }
  rl::Teacher teacher;
  teacher.apart = true;
  teacher.policy = [agents](const Tensor& observation, int task) {
    const rl::Ppo& agent = *(*agents)[static_cast<std::size_t>(task)];
    // Among several games, the planes behind a game's own are padding.
    const Var planes = slice(observation, 1, 0, agent.env().spec().observation.shape[0]);
    std::vector<rl::Distribution> policy;
    agent.network()({.theta = &agent.learner().theta()}, planes, {0, observation.dim(0)}, &policy,
                    nullptr);
    return policy[0];
  };
  return teacher;
}

std::unique_ptr<rl::Agent> make_player(const Player& p, const std::vector<Player>& players,
                                       const RunFolder& folder) {
  const auto seed = static_cast<std::uint64_t>(p.seed);
  if (p.teachers.empty()) return rl::make_agent(p.agent, make_games_of(p), p.options, seed);
  rl::PpoOptions options = rl::ppo_options(p.options);
  options.teacher = teacher_of(p, players, folder);
  return std::make_unique<rl::Ppo>(make_games_of(p), options, seed);
}

/// How the gradients got along in the steps that the telemetry holds: rows are the games', then,
/// with teachers, the teachers'.
struct Harmony {
  double cosine = 0, conflict = 0;  ///< means over the pairs of games
  double open = 0;                  ///< mean over the games, of themselves and their teacher
};
Harmony harmony(const multitask::Telemetry& telemetry, int games, bool taught) {
  const auto& names = telemetry.columns();
  const auto cosine = [&](int back, int i, int j) {
    const auto at = std::find(names.begin(), names.end(), fmt::format("cos_{}_{}", i, j));
    return telemetry.row(back)[static_cast<std::size_t>(at - names.begin())];
  };
  Harmony h;
  const double pairs = telemetry.held() * games * (games - 1) / 2.0;
  for (int back = 0; back < telemetry.held(); ++back) {
    for (int i = 0; i < games; ++i) {
      for (int j = i + 1; j < games; ++j) {
        const double c = cosine(back, i, j);
        h.cosine += c / pairs;
        h.conflict += (c < 0) / pairs;
      }
      if (taught) h.open += (cosine(back, i, games + i) >= 0) / (1.0 * telemetry.held() * games);
    }
  }
  return h;
}

void save(rl::Agent& agent, bool done, CsvLog& metrics, const std::filesystem::path& path) {
  metrics.sync();
  TensorFile file;
  if (done)
    file.tensors["theta"] = agent.learner().theta().values().to(kCpu);
  else
    agent.archive(rl::Archive::save(file));
  file.metadata["done"] = std::to_string(static_cast<int>(done));
  file.metadata["rows"] = std::to_string(metrics.rows());
  save_safetensors(path, file);
}

/// False: a stop was requested.
bool train_player(Job& job, const std::vector<Player>& players, std::size_t k, const Place& place,
                  CsvLog& metrics, std::int64_t report_every) {
  using Clock = std::chrono::steady_clock;
  const Player& p = players[k];
  const std::filesystem::path path = job.folder.checkpoint(p.name());
  const auto games = static_cast<std::int64_t>(p.games.size());
  const std::unique_ptr<rl::Agent> agent = make_player(p, players, job.folder);
  if (place.exists) restore(*agent, place);
  job.progress.part(p.name());
  job.progress.advance(agent->steps());
  Clock::time_point saved = Clock::now();
  const auto row = [&](std::string_view game, std::string_view kind, double value) {
    metrics.append({std::string_view(p.arm), game, p.seed, agent->steps() / games, kind, value});
  };
  while (agent->steps() < p.steps * games) {
    if (stop_requested() || Clock::now() - saved > kBetweenCheckpoints) {
      save(*agent, false, metrics, path);
      if (stop_requested()) return false;
      saved = Clock::now();
    }
    const std::int64_t before = agent->steps();
    agent->iterate();
    agent->episodes().take();  // the means are enough
    job.progress.advance(agent->steps() - before);
    if (agent->steps() / games / report_every == before / games / report_every &&
        agent->steps() < p.steps * games)
      continue;
    std::string note;
    for (std::size_t task = 0; task < p.games.size(); ++task) {
      if (agent->episodes().finished(static_cast<int>(task)) == 0) continue;
      const double score = agent->episodes().mean_score(static_cast<int>(task));
      row(p.games[task], "training", score);
      note += fmt::format("{}{} {:.1f}", note.empty() ? "" : "  ", p.games[task], score);
    }
    job.progress.note(note);
    if (games == 1) continue;
    const bool taught = !p.teachers.empty();
    const Harmony h = harmony(agent->learner().telemetry(), static_cast<int>(games), taught);
    row(kAllGames, "cosine", h.cosine);
    row(kAllGames, "conflict", h.conflict);
    if (taught) row(kAllGames, "open", h.open);
  }
  const rl::Evaluation greedy = measure(*agent, p, true);
  std::string line;
  for (std::size_t task = 0; task < p.games.size(); ++task) {
    row(p.games[task], "greedy", greedy.score[task]);
    row(p.games[task], "cut", static_cast<double>(greedy.cut[task]));
    line += fmt::format("  {} {:.2f}", p.games[task], greedy.score[task]);
  }
  save(*agent, true, metrics, path);
  job.progress.line(p.name() + line);
  return true;
}

std::string no_policy(const char* verb, const RunFolder& folder) {
  return fmt::format(
      "{}: {} holds no policy yet, expected a run that got as far as its first checkpoint", verb,
      folder.path().string());
}

std::string policy_name(const Player& p, const std::string& game) {
  return fmt::format("{}-{}-{}", p.arm, game, p.seed);
}

}  // namespace

std::span<const GameFacts> minatar_games() {
  static constexpr GameFacts kGames[] = {{"breakout", 0.512, 10, 17.5, 50},
                                         {"asterix", 0.511, 17, 19, 23.5},
                                         {"freeway", 0.133, 50, 47, 63},
                                         {"seaquest", 0.098, 20, 16, 54},
                                         {"space_invaders", 2.834, 44, 185, 147.5}};
  return kGames;
}

std::vector<std::string> minatar_names() {
  std::vector<std::string> names;
  for (const GameFacts& game : minatar_games()) names.emplace_back(game.name);
  return names;
}

const GameFacts& facts_of(const std::string& name) {
  for (const GameFacts& game : minatar_games())
    if (game.name == name) return game;
  throw_unknown("game", name, minatar_names());
}

double normalised(const GameFacts& game, double score) {
  return (score - game.random) / (game.dqn - game.random);
}

std::string Player::name() const {
  return games.size() == 1 ? policy_name(*this, games[0]) : fmt::format("{}-{}", arm, seed);
}

bool train_players(Job& job, const std::vector<Player>& players, std::int64_t report_every) {
  std::vector<Place> places;
  std::int64_t total = 0, rows = 0;
  for (const Player& p : players) {
    places.emplace_back(job.folder.checkpoint(p.name()));
    rows = std::max(rows, places.back().rows);
    total += p.steps * static_cast<std::int64_t>(p.games.size());
  }
  std::int64_t done = 0;
  for (std::size_t k = 0; k < players.size(); ++k)
    if (places[k].done)
      done += players[k].steps * static_cast<std::int64_t>(players[k].games.size());
  CsvLog metrics(job.folder.metrics(), {"arm", "game", "seed", "steps", "kind", "value"}, rows);
  job.progress.begin(total, done, "steps");
  for (std::size_t k = 0; k < players.size(); ++k)
    if (!places[k].done && !train_player(job, players, k, places[k], metrics, report_every))
      return false;
  return true;
}

Table evaluate_players(const RunFolder& folder, const std::vector<Player>& players,
                       const std::string& part) {
  if (part != "test")
    throw ValueError(
        fmt::format("eval: {} has no {} part, expected test: games that were not trained on",
                    folder.experiment(), part));
  Table table({"<policy", "steps", "episodes", "greedy", "cut", "drawn", "cut"});
  for (const Player& p : players) {
    const std::filesystem::path path = folder.checkpoint(p.name());
    if (!std::filesystem::exists(path)) continue;
    const Place place(path);
    const std::unique_ptr<rl::Agent> agent = make_player(p, players, folder);
    restore(*agent, place);
    const auto games = static_cast<std::int64_t>(p.games.size());
    const std::int64_t steps = place.done ? p.steps : agent->steps() / games;
    const rl::Evaluation greedy = measure(*agent, p, true), drawn = measure(*agent, p, false);
    for (std::size_t task = 0; task < p.games.size(); ++task)
      table.add({policy_name(p, p.games[task]), with_commas(steps), fmt::format("{}", p.measured),
                 fmt::format("{:.2f}", greedy.score[task]), fmt::format("{}", greedy.cut[task]),
                 fmt::format("{:.2f}", drawn.score[task]), fmt::format("{}", drawn.cut[task])});
  }
  if (table.empty()) throw ValueError(no_policy("eval", folder));
  return table;
}

Trained load_trained(const RunFolder& folder, const std::vector<Player>& players,
                     const std::string& which, std::uint64_t seed) {
  std::vector<std::string> names;
  for (const Player& p : players) {
    const std::filesystem::path path = folder.checkpoint(p.name());
    if (!std::filesystem::exists(path)) continue;
    for (std::size_t task = 0; task < p.games.size(); ++task) {
      names.push_back(policy_name(p, p.games[task]));
      if (!which.empty() && which != names.back()) continue;
      Trained trained{.name = names.back(),
                      .agent = make_player(p, players, folder),
                      .env = make_games(p, 1, Rng(seed).fork("watched games")),
                      .shown = static_cast<index_t>(task)};
      restore(*trained.agent, Place(path));
      return trained;
    }
  }
  if (names.empty()) throw ValueError(no_policy("watch", folder));
  throw_unknown("policy", which, names);
}

void play_trained(Trained& trained, int steps, const std::function<bool(const Watched&)>& see) {
  rl::VecEnv& env = *trained.env;
  const rl::Bounds bounds = rl::task_bounds(env);
  const rl::StepBuffers out = env.buffers();
  const Tensor actions = env.actions();
  env.reset(out.observation);
  const index_t i = trained.shown;
  double score = 0;
  bool more = see({env.render(i), score, false});
  for (int step = 0; step < steps && more; ++step) {
    trained.agent->act(out.observation, bounds, Rng(), true, actions);
    env.step(actions, out);
    score += out.reward.data<float>()[i];
    const bool ended =
        (out.terminated.data<std::uint8_t>()[i] | out.truncated.data<std::uint8_t>()[i]) != 0;
    more = see({env.render(i), score, ended});
    if (ended) score = 0;
  }
}

GameResults::GameResults(const RunFolder& folder) {
  const CsvTable m = CsvTable::load(folder.metrics());
  for (std::size_t r = 0; r < m.rows.size(); ++r)
    curves_[{m.text(r, "arm"), m.text(r, "game"), m.text(r, "kind")}]
           [static_cast<std::int64_t>(m.number(r, "steps"))]
               .push_back(m.number(r, "value"));
}

const Curve& GameResults::curve(const std::string& arm, const std::string& game,
                                const std::string& kind) const {
  static const Curve kNone;
  const auto found = curves_.find({arm, game, kind});
  return found == curves_.end() ? kNone : found->second;
}

std::vector<double> GameResults::at_the_end(const std::string& arm, const std::string& game,
                                            const std::string& kind) const {
  const Curve& c = curve(arm, game, kind);
  return c.empty() ? std::vector<double>{} : c.rbegin()->second;
}

Series series_of(const std::string& name, const Curve& curve) {
  Series series{.name = name};
  for (const auto& [steps, values] : curve) {
    const Mean m = mean_of(values);
    series.x.push_back(static_cast<double>(steps));
    series.y.push_back(m.mean);
    if (values.size() > 1) series.error.push_back(half_width_95(m));
  }
  // A seed whose first episode ended late leaves points without an interval.
  if (series.error.size() != series.x.size()) series.error.clear();
  return series;
}

Drawing film(Trained trained, const std::filesystem::path& base) {
  constexpr int kFrames = 200;
  std::vector<rl::Canvas> frames;
  play_trained(trained, kFrames, [&](const Watched& w) {
    frames.push_back(w.picture.scaled(2));
    return true;
  });
  return draw_episodes(frames, 8, fmt::format("{}: {} steps", trained.name, kFrames), base);
}

}  // namespace concord::experiments
