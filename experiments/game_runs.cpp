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
#include <cmath>

namespace concord::experiments {
namespace {

// A policy without noise may play for ever (Breakout's ball can fall into a circle), so episodes
// are measured up to this step; Freeway's take 2500.
constexpr index_t kMeasuredSteps = 5000;
constexpr auto kBetweenCheckpoints = std::chrono::seconds(30);

rl::EnvPtr make_games(const std::vector<std::string>& games, index_t environments, const Rng& rng) {
  std::vector<rl::EnvPtr> members;
  for (const std::string& game : games)
    members.push_back(rl::make_env(game, {.size = environments, .seed = rng.fork(game).stream()}));
  return members.size() == 1 ? std::move(members[0]) : rl::join(std::move(members));
}

std::unique_ptr<rl::Agent> make_player(const Player& p) {
  const auto seed = static_cast<std::uint64_t>(p.seed);
  return rl::make_agent(p.agent, make_games(p.games, p.environments, Rng(seed).fork("games")),
                        p.options, seed);
}

/// Mean score of greedy play, per game.
std::vector<double> measure(const rl::Agent& agent, const Player& p) {
  const auto seed = static_cast<std::uint64_t>(p.seed);
  const rl::EnvPtr env = make_games(p.games, p.measured, Rng(seed).fork("measured games"));
  const rl::Bounds bounds = rl::task_bounds(*env);
  const rl::StepBuffers out = env->buffers();
  const Tensor actions = env->actions();
  std::vector<double> scores(p.games.size());
  std::vector<bool> over(static_cast<std::size_t>(env->size()));
  index_t running = env->size();
  env->reset(out.observation);
  for (index_t step = 0; step < kMeasuredSteps && running > 0; ++step) {
    agent.act(out.observation, bounds, Rng(seed), true, actions);
    env->step(actions, out);
    for (index_t i = 0; i < env->size(); ++i) {
      if (over[static_cast<std::size_t>(i)]) continue;
      const auto task = static_cast<std::size_t>(env->tasks().data<std::int64_t>()[i]);
      scores[task] += out.reward.data<float>()[i] / static_cast<double>(p.measured);
      if (out.terminated.data<std::uint8_t>()[i] == 0 && out.truncated.data<std::uint8_t>()[i] == 0)
        continue;
      over[static_cast<std::size_t>(i)] = true;
      --running;
    }
  }
  return scores;
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
bool train_player(Job& job, const Player& p, const Place& place, CsvLog& metrics,
                  std::int64_t report_every) {
  using Clock = std::chrono::steady_clock;
  const std::filesystem::path path = job.folder.checkpoint(p.name());
  const auto games = static_cast<std::int64_t>(p.games.size());
  const std::unique_ptr<rl::Agent> agent = make_player(p);
  if (place.exists) agent->archive(rl::Archive::load(place.file));
  job.progress.part(p.name());
  job.progress.advance(agent->steps());
  Clock::time_point saved = Clock::now();
  const auto row = [&](std::size_t task, std::string_view kind, double score) {
    metrics.append({std::string_view(p.arm), std::string_view(p.games[task]), p.seed,
                    agent->steps() / games, kind, score});
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
      row(task, "training", score);
      note += fmt::format("{}{} {:.1f}", note.empty() ? "" : "  ", p.games[task], score);
    }
    job.progress.note(note);
  }
  const std::vector<double> scores = measure(*agent, p);
  std::string line;
  for (std::size_t task = 0; task < p.games.size(); ++task) {
    row(task, "greedy", scores[task]);
    line += fmt::format("  {} {:.2f}", p.games[task], scores[task]);
  }
  save(*agent, true, metrics, path);
  job.progress.line(p.name() + line);
  return true;
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
  CsvLog metrics(job.folder.metrics(), {"arm", "game", "seed", "steps", "kind", "score"}, rows);
  job.progress.begin(total, done, "steps");
  for (std::size_t k = 0; k < players.size(); ++k)
    if (!places[k].done && !train_player(job, players[k], places[k], metrics, report_every))
      return false;
  return true;
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
      const Place place(path);
      Trained trained{.name = names.back(),
                      .agent = make_player(p),
                      .env = make_games(p.games, 1, Rng(seed).fork("watched games")),
                      .shown = static_cast<index_t>(task)};
      if (place.done)
        trained.agent->learner().theta().values().copy_from(place.file.tensors.at("theta"));
      else
        trained.agent->archive(rl::Archive::load(place.file));
      return trained;
    }
  }
  if (names.empty())
    throw ValueError(
        fmt::format("watch: {} holds no policy yet, expected a run that got as far as "
                    "its first checkpoint",
                    folder.path().string()));
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

GameResults load_results(const RunFolder& folder) {
  const CsvTable m = CsvTable::load(folder.metrics());
  GameResults results;
  for (std::size_t r = 0; r < m.rows.size(); ++r) {
    GameCurve& curve = results[{m.text(r, "arm"), m.text(r, "game")}];
    const double score = m.number(r, "score");
    if (m.text(r, "kind") == "greedy")
      curve.greedy.push_back(score);
    else
      curve.training[static_cast<std::int64_t>(m.number(r, "steps"))].push_back(score);
  }
  return results;
}

Series series_of(const std::string& name, const GameCurve& curve) {
  Series series{.name = name};
  for (const auto& [steps, scores] : curve.training) {
    const Mean m = mean_of(scores);
    series.x.push_back(static_cast<double>(steps));
    series.y.push_back(m.mean);
    if (scores.size() > 1) series.error.push_back(half_width_95(m));
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
