// Game runs: what the studies with agents of rl/agents share. A study is a list of players, trained
// one after the other; this file trains them, keeps their place on disk, and reads back what came
// of it.
#pragma once

#include <concord/experiments/experiment.h>
#include <concord/experiments/statistics.h>
#include <concord/experiments/trained.h>
#include <concord/rl/registry.h>

#include <array>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace concord::experiments {

/// A game, and what others report for it.
struct GameFacts {
  const char* name;
  double random;  ///< mean return of uniform actions, 1 M steps of the reference program
  double dqn;     ///< DQN at 5 M frames, read by eye from the figure of Young and Tian 2019
  double ac;      ///< actor-critic, lambda 0.8, same figure
  double pgx;     ///< PPO of pgx at 20 M steps, from its plots
};
std::span<const GameFacts> minatar_games();
std::vector<std::string> minatar_names();
const GameFacts& facts_of(const std::string& game);
/// 0: as uniform actions; 1: as DQN in the figure.
double normalised(const GameFacts& game, double score);

/// One learner of a study: an agent that plays one game, or several at once.
struct Player {
  std::string arm;                 ///< its name in tables
  std::vector<std::string> games;  ///< its tasks, in order
  std::int64_t seed = 1;
  std::string agent;  ///< rl/agents/registry.h
  rl::OptionMap options;
  index_t environments = 1;           ///< per game
  std::int64_t steps = 0;             ///< per game
  index_t measured = 20;              ///< greedy episodes per game, in the end
  std::vector<std::string> teachers;  ///< PPO: by game, the name() of its teacher; empty: none
  /// The environments behind a game's name; by default those of rl/registry.h.
  std::function<rl::EnvPtr(const std::string& game, const rl::EnvCount&)> make_game =
      [](const std::string& game, const rl::EnvCount& count) { return rl::make_env(game, count); };

  /// "ppo-breakout-1", with several games "pcgrad-1": its checkpoint.
  std::string name() const;
};

/// Trains those that are not done; a teacher stands before its students. Their rows go to
/// metrics.csv: arm, game, seed, steps (per game), kind, value. Kinds of one game:
/// - training: the mean score of the last 100 episodes, left out before the first has ended
/// - greedy: the mean score at the end, in games of its own, up to step 5000 of each
/// - cut: how many of these had not ended there
/// and of all games together, with game "all":
/// - cosine, conflict: of the gradients of two games, mean over the pairs and the last 256 steps of
///   the learner (at most), and the share below 0
/// - open: with teachers, the share of games whose teacher's gradient has a cosine >= 0 with theirs
/// False: stopped, with a checkpoint.
bool train_players(Job& job, const std::vector<Player>& players, std::int64_t report_every);

/// Measures all players with a checkpoint again: greedy, in the same games as at the end of their
/// training, and with actions as drawn in training. Throws ValueError for a part other than "test",
/// and when there is none yet.
Table evaluate_players(const RunFolder& folder, const std::vector<Player>& players,
                       const std::string& part);

/// The policy called `which` ("ppo-breakout-1", "pcgrad-breakout-1"); empty: the first; `seed` is
/// that of the games it plays. Throws ValueError for another name, and when there is none yet.
Trained load_trained(const RunFolder& folder, const std::vector<Player>& players,
                     const std::string& which, std::uint64_t seed);

/// metrics.csv by arm, game and kind: by steps one value per seed.
using Curve = std::map<std::int64_t, std::vector<double>>;
class GameResults {
 public:
  explicit GameResults(const RunFolder& folder);
  /// Empty where there are no such rows.
  const Curve& curve(const std::string& arm, const std::string& game,
                     const std::string& kind) const;
  /// The values at its last steps.
  std::vector<double> at_the_end(const std::string& arm, const std::string& game,
                                 const std::string& kind) const;

 private:
  std::map<std::array<std::string, 3>, Curve> curves_;
};
inline constexpr const char* kAllGames = "all";

/// Mean over seeds with its 95 % interval.
Series series_of(const std::string& name, const Curve& curve);
/// The policy at play, as an animation.
Drawing film(Trained trained, const std::filesystem::path& base);

}  // namespace concord::experiments
