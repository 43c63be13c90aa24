#include <concord/experiments/toy.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace concord::experiments {

namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
constexpr int kGrid = 141;             // points per axis of a sampled landscape
constexpr int kInCell = 4;             // points per axis that each of them averages
constexpr std::int64_t kBlock = 1024;  // steps between two looks at the wish to stop

std::uint32_t blend(std::uint32_t from, std::uint32_t to, double t) {
  std::uint32_t colour = 0;
  for (const int shift : {16, 8, 0}) {
    const double a = (from >> shift) & 255, b = (to >> shift) & 255;
    colour |= static_cast<std::uint32_t>(std::lround(a + t * (b - a))) << shift;
  }
  return colour;
}

}  // namespace

Walk::Walk(Landscape landscape, std::unique_ptr<multitask::Aggregator> method, Rule rule,
           double rate, const Point& start)
    : landscape_(std::move(landscape)),
      method_(std::move(method)),
      rule_(rule),
      rate_(rate),
      at_(start) {
  look();
}

void Walk::look() {
  losses_ = landscape_(at_);
  const auto dot = [](const Point& a, const Point& b) { return a[0] * b[0] + a[1] * b[1]; };
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j <= i; ++j) {
      gram_.set(i, j,
                dot(losses_[static_cast<std::size_t>(i)].gradient,
                    losses_[static_cast<std::size_t>(j)].gradient));
    }
  }
}

void Walk::step() {
  method_->weights({.gram = gram_, .step = steps_}, answer_);
  ++steps_;
  first_decay_[0] *= kBeta1;
  first_decay_[1] *= kBeta2;
  for (std::size_t k = 0; k < 2; ++k) {
    const double d =
        answer_.weights[0] * losses_[0].gradient[k] + answer_.weights[1] * losses_[1].gradient[k];
    if (rule_ == Rule::descent) {
      at_[k] -= rate_ * d;
      continue;
    }
    first_moment_[k] = kBeta1 * first_moment_[k] + (1 - kBeta1) * d;
    second_moment_[k] = kBeta2 * second_moment_[k] + (1 - kBeta2) * d * d;
    const double root = std::sqrt(second_moment_[k] / (1 - first_decay_[1]));
    at_[k] -= rate_ * first_moment_[k] / (1 - first_decay_[0]) / (root + kEpsilon);
  }
  look();
}

ToyLog::ToyLog(const RunFolder& folder, double resolution)
    : metrics_(folder.metrics(),
               {"problem", "arm", "start", "event", "step", "x1", "x2", "loss1", "loss2", "cosine"},
               0),
      paths_(folder.path() / "paths.csv", {"problem", "arm", "start", "step", "x1", "x2", "cosine"},
             0),
      resolution_(resolution) {}

bool ToyLog::record(std::string_view problem, std::string_view arm, std::int64_t start, Walk walk,
                    std::int64_t iterations, Progress& progress, const Event& event) {
  progress.part(fmt::format("{} {}", problem, arm));
  const auto note = [&](std::string_view what) {
    metrics_.append({problem, arm, start, what, walk.steps(), walk.at()[0], walk.at()[1],
                     walk.losses()[0].value, walk.losses()[1].value, walk.cosine()});
  };
  Point kept = walk.at();
  const auto keep = [&] {
    kept = walk.at();
    paths_.append({problem, arm, start, walk.steps(), kept[0], kept[1], walk.cosine()});
  };
  const auto look = [&] {
    if (!event) return;
    if (const std::string_view what = event(walk); !what.empty()) note(what);
  };
  note("start");
  keep();
  look();
  while (walk.steps() < iterations) {
    const std::int64_t block = std::min(kBlock, iterations - walk.steps());
    for (std::int64_t i = 0; i < block; ++i) {
      walk.step();
      look();
      const double far = std::hypot(walk.at()[0] - kept[0], walk.at()[1] - kept[1]);
      if (far >= resolution_) keep();
    }
    progress.advance(block);
    if (stop_requested()) return false;
  }
  keep();
  note("end");
  return true;
}

ToyResults::ToyResults(const RunFolder& folder) : metrics_path_(folder.metrics().string()) {
  const CsvTable m = CsvTable::load(folder.metrics());
  for (std::size_t r = 0; r < m.rows.size(); ++r) {
    milestones.push_back({.problem = m.text(r, "problem"),
                          .arm = m.text(r, "arm"),
                          .start = static_cast<std::int64_t>(m.number(r, "start")),
                          .event = m.text(r, "event"),
                          .step = static_cast<std::int64_t>(m.number(r, "step")),
                          .at = {m.number(r, "x1"), m.number(r, "x2")},
                          .losses = {m.number(r, "loss1"), m.number(r, "loss2")},
                          .cosine = m.number(r, "cosine")});
  }
  const CsvTable p = CsvTable::load(folder.path() / "paths.csv");
  for (std::size_t r = 0; r < p.rows.size(); ++r) {
    const double step = p.number(r, "step");
    if (step == 0) {
      paths.push_back({.problem = p.text(r, "problem"),
                       .arm = p.text(r, "arm"),
                       .start = static_cast<std::int64_t>(p.number(r, "start"))});
    }
    WalkedPath& path = paths.back();
    path.step.push_back(step);
    path.x1.push_back(p.number(r, "x1"));
    path.x2.push_back(p.number(r, "x2"));
    path.cosine.push_back(p.number(r, "cosine"));
  }
}

const Milestone* ToyResults::find(std::string_view problem, std::string_view arm,
                                  std::int64_t start, std::string_view event) const {
  for (const Milestone& m : milestones) {
    if (m.problem == problem && m.arm == arm && m.start == start && m.event == event) return &m;
  }
  return nullptr;
}

const Milestone& ToyResults::at(std::string_view problem, std::string_view arm, std::int64_t start,
                                std::string_view event) const {
  if (const Milestone* m = find(problem, arm, start, event)) return *m;
  throw FileError(fmt::format("{}: no {} of {} {} from start {}, expected a finished run",
                              metrics_path_, event, problem, arm, start));
}

std::vector<std::string> toy_methods() {
  std::vector<std::string> names;
  for (const multitask::MethodInfo& m : multitask::methods()) {
    if (m.kind == multitask::Kind::weighting || m.name == "constant") continue;
    if (!multitask::make_aggregator(m.name)->needs_losses()) names.emplace_back(m.name);
  }
  return names;
}

std::vector<Point> points_from(std::string_view name, const std::string& text) {
  std::vector<Point> points;
  const char *at = text.data(), *const end = at + text.size();
  while (true) {
    Point p;
    for (std::size_t k = 0; k < 2; ++k) {
      const auto [next, error] = std::from_chars(at, end, p[k]);
      const bool last = k == 1 && next == end;
      if (error != std::errc() || !std::isfinite(p[k]) ||
          !(last || (next != end && *next == (k == 0 ? ',' : ';')))) {
        throw ValueError(fmt::format(
            "setting {} is '{}', expected points as x1,x2 with ; between them", name, text));
      }
      if (last) {
        points.push_back(p);
        return points;
      }
      at = next + 1;
    }
    points.push_back(p);
  }
}

std::string to_string(const Point& p, int digits) {
  const double half = 0.5 * std::pow(10.0, -digits);
  const auto no_minus_zero = [&](double v) { return std::abs(v) < half ? 0.0 : v; };
  return fmt::format("({:.{}f}, {:.{}f})", no_minus_zero(p[0]), digits, no_minus_zero(p[1]),
                     digits);
}

std::vector<std::vector<double>> sample(const std::function<double(const Point&)>& f, const Axis& x,
                                        const Axis& y, double low, double high) {
  const auto on = [](const Axis& axis, double k) {
    return *axis.low + (*axis.high - *axis.low) * k / (kGrid - 1);
  };
  std::vector<std::vector<double>> values(kGrid, std::vector<double>(kGrid));
  for (int r = 0; r < kGrid; ++r) {
    for (int c = 0; c < kGrid; ++c) {
      // The mean over the cell: a valley narrower than the grid keeps its contour in one piece.
      double sum = 0;
      for (int i = 0; i < kInCell * kInCell; ++i) {
        const double across = (i % kInCell + 0.5) / kInCell - 0.5;
        const double up = (i / kInCell + 0.5) / kInCell - 0.5;
        sum += std::clamp(f({on(x, c + across), on(y, r + up)}), low, high);
      }
      values[static_cast<std::size_t>(r)][static_cast<std::size_t>(c)] = sum / (kInCell * kInCell);
    }
  }
  return values;
}

Trajectory coloured_by_progress(const WalkedPath& path, std::uint32_t from, std::uint32_t to) {
  Trajectory drawn{.x = path.x1, .y = path.x2, .ends = true};
  const double last = std::max<double>(1, static_cast<double>(path.x1.size()) - 1);
  for (std::size_t i = 0; i < path.x1.size(); ++i)
    drawn.colours.push_back(blend(from, to, static_cast<double>(i) / last));
  return drawn;
}

Trajectory coloured_by_cosine(const WalkedPath& path) {
  Trajectory drawn{.x = path.x1, .y = path.x2, .ends = true};
  for (const double c : path.cosine)
    drawn.colours.push_back(blend(kOrthogonal, c < 0 ? kOpposed : kAligned, std::abs(c)));
  return drawn;
}

Report toy_report(
    std::span<const RunFolder> runs, const std::filesystem::path& plots, Settings (*settings)(),
    std::string title, std::string summary,
    const std::function<std::vector<Section>(const Settings&, const RunFolder&,
                                             const std::filesystem::path& plot)>& sections) {
  Report report{.title = std::move(title), .summary = std::move(summary)};
  std::vector<Section> ends;
  for (const RunFolder& run : runs) {
    Settings s = settings();
    s.from_json(run.config()["settings"]);
    const std::string name = run.path().filename().string();
    const std::string prefix = runs.size() > 1 ? name + "-" : "";
    for (Section& section : sections(s, run, plots / prefix)) {
      if (runs.size() > 1) section.title = name + ": " + section.title;
      report.sections.push_back(std::move(section));
    }
    ends.push_back(settings_section(s));
    ends.push_back(machine_section(run));
    ends.push_back(repeat_section(run));
  }
  std::move(ends.begin(), ends.end(), std::back_inserter(report.sections));
  return report;
}

Table no_evaluation(const RunFolder& run, const std::string& part) {
  throw ValueError(
      fmt::format("eval: {} has no data and no {} part, expected an experiment that "
                  "trains a network; its end points are in metrics.csv",
                  run.experiment(), part));
}

}  // namespace concord::experiments
