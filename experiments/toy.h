// Toy: what the papers' toy problems share. Two losses of two numbers with hand-written gradients
// in double, walked down with a method of the registry: the direction comes from the same
// Aggregator, through the same Gram matrix, as in training a network.
#pragma once

#include <concord/experiments/experiment.h>
#include <concord/multitask/aggregator.h>
#include <concord/multitask/options.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concord::experiments {

using Point = std::array<double, 2>;

struct LossAt {
  double value;  ///< NaN for a vector field that is the gradient of nothing
  Point gradient;
};
using LossPair = std::array<LossAt, 2>;
using Landscape = std::function<LossPair(const Point&)>;

/// x <- x - rate * d, or Adam (0.9, 0.999, 1e-8; Kingma and Ba, ICLR 2015, Algorithm 1) fed with d.
enum class Rule { descent, adam };

/// A method on its way down a landscape.
class Walk {
 public:
  Walk(Landscape landscape, std::unique_ptr<multitask::Aggregator> method, Rule rule, double rate,
       const Point& start);

  void step();

  // Where it stands, and what it sees from there.
  std::int64_t steps() const { return steps_; }
  const Point& at() const { return at_; }
  const LossPair& losses() const { return losses_; }
  double mean_loss() const { return (losses_[0].value + losses_[1].value) / 2; }
  double cosine() const { return gram_.cosine(0, 1); }  ///< of the two gradients

 private:
  void look();

  Landscape landscape_;
  std::unique_ptr<multitask::Aggregator> method_;
  Rule rule_;
  double rate_;
  Point at_;
  LossPair losses_{};
  multitask::Gram gram_{2};
  multitask::Direction answer_;
  std::int64_t steps_ = 0;
  Point first_moment_{}, second_moment_{};
  Point first_decay_{1, 1};  // beta_1^t, beta_2^t
};

/// A line of a toy's metrics.csv: where a walk stood when something happened.
struct Milestone {
  std::string problem, arm;
  std::int64_t start = 0;  ///< number of the start point
  std::string event;       ///< "start", "end", or what the experiment calls it
  std::int64_t step = 0;
  Point at{};
  std::array<double, 2> losses{};
  double cosine = 0;

  double mean_loss() const { return (losses[0] + losses[1]) / 2; }
};

/// The way of one walk, from paths.csv.
struct WalkedPath {
  std::string problem, arm;
  std::int64_t start = 0;
  std::vector<double> step, x1, x2, cosine;
};

/// metrics.csv (milestones) and paths.csv (the ways between them) of a toy. Toys end in seconds, so
/// that a run which was stopped begins again from nothing instead of keeping checkpoints: the files
/// come out the same.
class ToyLog {
 public:
  /// Ways keep the positions at least `resolution` apart.
  ToyLog(const RunFolder& folder, double resolution);

  /// What happened at this step of a walk; empty: nothing worth a line.
  using Event = std::function<std::string_view(const Walk&)>;

  /// Takes `iterations` steps. False: a stop was requested.
  bool record(std::string_view problem, std::string_view arm, std::int64_t start, Walk walk,
              std::int64_t iterations, Progress& progress, const Event& event = {});

 private:
  CsvLog metrics_, paths_;
  double resolution_;
};

/// What a finished run left, for its report.
struct ToyResults {
  explicit ToyResults(const RunFolder& folder);

  /// Throws FileError when there is no such line: the run was not finished.
  const Milestone& at(std::string_view problem, std::string_view arm, std::int64_t start,
                      std::string_view event) const;
  /// Null when it did not happen.
  const Milestone* find(std::string_view problem, std::string_view arm, std::int64_t start,
                        std::string_view event) const;

  std::vector<Milestone> milestones;
  std::vector<WalkedPath> paths;

 private:
  std::string metrics_path_;
};

/// Names of the registry's methods that a toy can take: fixed weights and gradient combinations
/// that need no losses.
std::vector<std::string> toy_methods();

/// "-8.5,7.5;9,9": points, as a setting. Throws ValueError.
std::vector<Point> points_from(std::string_view name, const std::string& text);
/// "(-8.5, 7.5)", with as many digits after the point.
std::string to_string(const Point& p, int digits);

/// f, clamped to [low, high], on a grid over the window as ContourPlot takes it; each value is a
/// mean around its grid point.
std::vector<std::vector<double>> sample(const std::function<double(const Point&)>& f, const Axis& x,
                                        const Axis& y, double low, double high);

/// Paths as a figure draws them: the colour runs from `from` to `to` on the way...
Trajectory coloured_by_progress(const WalkedPath& path, std::uint32_t from, std::uint32_t to);
/// ... or is that of the cosine of the gradients: green 1, amber 0, red -1.
Trajectory coloured_by_cosine(const WalkedPath& path);
inline constexpr std::uint32_t kAligned = 0x1a8f4a, kOrthogonal = 0xf0b429, kOpposed = 0xc8252c;

/// A report of one section list per run, then how to repeat each. `sections` makes a run's own.
Report toy_report(
    std::span<const RunFolder> runs, const std::filesystem::path& plots, Settings (*settings)(),
    std::string title, std::string summary,
    const std::function<std::vector<Section>(const Settings&, const RunFolder&,
                                             const std::filesystem::path& plot)>& sections);

/// Experiment::evaluate of a toy: there are no data to measure on. Throws ValueError.
Table no_evaluation(const RunFolder& run, const std::string& part);

}  // namespace concord::experiments
