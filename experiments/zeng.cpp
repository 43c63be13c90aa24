#include <concord/experiments/toy.h>
#include <concord/experiments/zeng.h>
#include <concord/experiments/zeng_maps.h>
#include <concord/rl/worlds.h>
#include <concord/tensor/serialize.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

namespace concord::experiments {

namespace {

constexpr const char* kCentre = "centre";

Settings zeng_settings() {
  Settings s("zeng");
  const std::vector<std::string> studies{"chain", "maps", "arms", "sampled", "theory"};
  s.add("studies", Choices{.standard = studies, .valid = studies, .kind = "study"},
        "sections of the report, in order");
  const std::vector<std::string> maps{"a", "b", "c", "d", "e"};
  s.add("maps", Choices{.standard = maps, .valid = maps, .kind = "map"}, "of figure 2");
  const std::vector<std::string> gammas{"0.9", "0.95", "0.97", "0.99"};
  s.add("gammas",
        Choices{.standard = {"0.95", "0.99"},
                .valid = gammas,
                .full = {{"0.95", "0.97", "0.99"}},
                .kind = "gamma"},
        "discounts of the maps");
  s.add("lambdas",
        Choices{.standard = {"0", "0.01"},
                .valid = {"0", "0.001", "0.01", "0.1"},
                .full = {{"0", "0.001", "0.01", "0.1"}},
                .kind = "lambda"},
        "weights of the regulariser on the maps");
  s.add("graph", Choice{.standard = "ring", .valid = rl::graph_names(), .kind = "graph"},
        "who hears whom on the maps");
  s.add("weights",
        Choice{.standard = "degree_plus_one",
               .valid = {"degree", "degree_plus_one"},
               .kind = "form of the weights"},
        "lazy Metropolis with 1/(2 max degree), or one more: on a ring 1/4 or 1/6 per neighbour");
  s.add("alpha", Real{.standard = 1, .low = 0, .high = 1000}, "step size");
  s.add("iterations", Integer{.standard = 10000, .low = 1, .high = 10'000'000},
        "steps with exact gradients");
  s.add("seeds", Integer{.standard = 5, .full = 10, .low = 1, .high = 1000},
        "of the sampled gradients: seeds 1, 2, ...");
  s.add("sampled_steps", Integer{.standard = 1000, .low = 1, .high = 10'000'000},
        "steps with sampled gradients");
  s.add("episodes", Integer{.standard = 10, .low = 1, .high = 100000}, "per sampled gradient");
  s.add("max_steps", Integer{.standard = 500, .low = 1, .high = 1'000'000}, "of a sampled episode");
  s.add("sampled_gamma", Choice{.standard = "0.99", .valid = gammas, .kind = "gamma"},
        "discount of the sampled gradients");
  s.add("sampled_alpha", Real{.standard = 3, .low = 0, .high = 1000},
        "step size with sampled gradients");
  s.add("log_every", Integer{.standard = 100, .low = 1, .high = 1'000'000},
        "steps per row of metrics.csv");
  s.add("checkpoint_seconds", Real{.standard = 10, .low = 0}, "time between checkpoints");
  return s;
}

// --- What is run

/// One training of all agents.
struct Case {
  std::string study;
  std::string problem;  ///< a to e, "chain", or "drift0.7": the second chain with p = 0.7
  std::string arm;      ///< a graph, or "centre"
  rl::Metropolis weights = rl::Metropolis::degree_plus_one;
  double gamma = 0.95, lambda = 0, alpha = 1;
  std::int64_t iterations = 0;
  std::int64_t seed = 0;  ///< of sampled gradients; 0: exact
  bool uniform = false;   ///< episodes begin in any free cell; values count from the map's start

  std::string name() const {
    return fmt::format("{}-{}-{}-{}-gamma{}-lambda{}-alpha{}{}{}", study, problem, arm,
                       weights == rl::Metropolis::degree ? "degree" : "plus_one", gamma, lambda,
                       alpha, uniform ? "-uniform" : "",
                       seed > 0 ? fmt::format("-seed{}", seed) : "");
  }
  bool on_map() const { return problem.size() == 1; }
};

std::vector<rl::TabularTask> tasks_of(const Case& c, bool uniform) {
  std::vector<rl::TabularTask> tasks;
  const int n = c.on_map() ? rl::zeng_environments(c.problem[0]) : 2;
  for (int i = 0; i < n; ++i) {
    rl::Mdp mdp = c.on_map() ? rl::make_mdp("map " + c.problem, rl::zeng_world(c.problem[0], i),
                                            {.random_start = uniform})
                  : c.problem == "chain" ? rl::zeng_chain(i)
                                         : rl::zeng_drift_chain(i, std::stod(c.problem.substr(5)));
    tasks.emplace_back(std::move(mdp), c.gamma, c.lambda);
  }
  return tasks;
}

Tensor weights_of(const Case& c) {
  const int n = c.on_map() ? rl::zeng_environments(c.problem[0]) : 2;
  return c.arm == kCentre ? rl::averaging_weights(n)
                          : rl::mixing_weights(rl::make_graph(c.arm, n, 1), c.weights);
}

// The values of the spec's section 4 and where they hold.
constexpr double kChainGammas[] = {0.9, 0.95, 0.99};
constexpr std::int64_t kChainSteps = 20000;
struct Drift {
  double gamma;
  const char* problem;
  double p;
};
constexpr Drift kDrifts[] = {{0.9, "drift0.7", 0.7}, {0.5, "drift0.8", 0.8}};
constexpr const char* kTheoryMap = "d";
constexpr double kTheoryAlphas[] = {1, 0.5, 0.25};

std::vector<Case> cases_of(const Settings& s) {
  std::vector<Case> cases;
  Case base;
  base.weights =
      s.text("weights") == "degree" ? rl::Metropolis::degree : rl::Metropolis::degree_plus_one;
  base.alpha = s.real("alpha");
  base.iterations = s.integer("iterations");
  const auto add = [&](Case c, const std::string& problem, const std::string& arm) -> Case& {
    c.problem = problem;
    c.arm = arm;
    return cases.emplace_back(std::move(c));
  };
  for (const std::string& study : s.list("studies")) {
    base.study = study;
    if (study == "chain") {
      Case chain = base;
      chain.weights = rl::Metropolis::degree;  // 1/2 for each of the two
      chain.alpha = 1;
      chain.iterations = kChainSteps;
      for (const double gamma : kChainGammas) add(chain, "chain", "complete").gamma = gamma;
      for (const Drift& d : kDrifts) add(chain, d.problem, "complete").gamma = d.gamma;
    } else if (study == "maps") {
      for (const auto& lambda : s.list("lambdas")) {
        for (const auto& gamma : s.list("gammas")) {
          for (const auto& map : s.list("maps")) {
            Case& c = add(base, map, s.text("graph"));
            c.gamma = std::stod(gamma);
            c.lambda = std::stod(lambda);
          }
        }
      }
    } else if (study == "arms") {
      for (const auto& map : s.list("maps")) {
        for (const char* arm : {"ring", "complete", kCentre, "none"}) add(base, map, arm);
        add(base, map, "ring").uniform = true;
      }
    } else if (study == "theory") {
      for (const char* graph : {"complete", "random", "ring", "path"}) {
        for (const double alpha : kTheoryAlphas) add(base, kTheoryMap, graph).alpha = alpha;
      }
    } else {
      for (const auto& map : s.list("maps")) {
        for (std::int64_t seed = 1; seed <= s.integer("seeds"); ++seed) {
          Case& c = add(base, map, s.text("graph"));
          c.gamma = std::stod(s.text("sampled_gamma"));
          c.alpha = s.real("sampled_alpha");
          c.iterations = s.integer("sampled_steps");
          c.seed = seed;
        }
      }
    }
  }
  return cases;
}

// --- What is measured

Tensor mean_policy(const Tensor& theta) {
  const index_t n = theta.dim(0);
  const Tensor mean = Tensor::zeros({theta.dim(1), theta.dim(2)}, DType::f64);
  for (index_t i = 0; i < n; ++i) {
    for (index_t k = 0; k < mean.numel(); ++k)
      mean.data<double>()[k] += theta[i].data<double>()[k] / static_cast<double>(n);
  }
  return mean;
}

/// max_i max_k |theta_i - mean|
double disagreement(const Tensor& theta, const Tensor& mean) {
  double most = 0;
  for (index_t i = 0; i < theta.dim(0); ++i) {
    for (index_t k = 0; k < mean.numel(); ++k)
      most = std::max(most, std::abs(theta[i].data<double>()[k] - mean.data<double>()[k]));
  }
  return most;
}

double sum_of_values(std::vector<rl::TabularTask>& tasks, const Tensor& theta) {
  double sum = 0;
  for (rl::TabularTask& task : tasks) sum += task.value(theta.values<double>());
  return sum;
}

/// What Theorem 1 bounds, for the agent with the largest: max_i |1/N sum_j grad L_j(theta_i)|^2.
double stationarity(std::vector<rl::TabularTask>& tasks, const Tensor& theta) {
  const auto n = static_cast<double>(tasks.size());
  std::vector<double> gradient(static_cast<std::size_t>(tasks.front().parameters()));
  double most = 0;
  for (index_t i = 0; i < theta.dim(0); ++i) {
    std::vector<double> mean(gradient.size(), 0.0);
    for (rl::TabularTask& task : tasks) {
      task.gradient(theta[i].values<double>(), gradient);
      for (std::size_t k = 0; k < mean.size(); ++k) mean[k] += gradient[k] / n;
    }
    double square = 0;
    for (const double g : mean) square += g * g;
    most = std::max(most, square);
  }
  return most;
}

// --- The run

class ZengRun {
 public:
  explicit ZengRun(Job& job)
      : job_(job),
        comm_(*job.comm),
        cases_(cases_of(job.settings)),
        checkpoint_(job.folder.checkpoint("progress")) {
    TensorFile saved;
    std::int64_t rows = 0;
    if (std::filesystem::exists(checkpoint_)) {
      saved = load_safetensors(checkpoint_);
      first_ = static_cast<std::size_t>(std::stoll(saved.metadata.at("case")));
      rows = std::stoll(saved.metadata.at("rows"));
    }
    if (const auto theta = saved.tensors.find("theta"); theta != saved.tensors.end()) {
      theta_ = theta->second;
      steps_ = std::stoll(saved.metadata.at("step"));
    }
    if (comm_.rank() == 0) {
      log_.emplace(job.folder.metrics(),
                   std::vector<std::string>{"case", "step", "value", "agent_value", "disagreement",
                                            "stationarity"},
                   rows);
    }
  }

  bool run() {
    std::int64_t total = 0, done = steps_;
    for (std::size_t k = 0; k < cases_.size(); ++k) {
      total += cases_[k].iterations;
      if (k < first_) done += cases_[k].iterations;
    }
    job_.progress.begin(total, done, "steps");
    for (std::size_t k = first_; k < cases_.size(); ++k) {
      if (!run_case(k)) return false;
    }
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;

  bool run_case(std::size_t index) {
    const Case& c = cases_[index];
    job_.progress.part(fmt::format("{} of {}: {}", index + 1, cases_.size(), c.name()));
    const Settings& s = job_.settings;
    rl::DecentralisedAgents agents(comm_, tasks_of(c, c.uniform), weights_of(c),
                                   {.alpha = c.alpha,
                                    .mix_first = c.arm != kCentre,
                                    .episodes = c.seed > 0 ? s.integer("episodes") : 0,
                                    .max_steps = s.integer("max_steps"),
                                    .seed = static_cast<std::uint64_t>(c.seed)});
    if (theta_.defined()) agents.restore(theta_, steps_);
    theta_ = {};
    auto measured = tasks_of(c, false);
    const std::int64_t every = s.integer("log_every");
    const bool first = comm_.rank() == 0;
    const Tensor* theta = &agents.collect();
    while (true) {
      if (first) log(c, agents.steps(), *theta, measured);
      if (agents.steps() >= c.iterations) break;
      const std::int64_t until = std::min(agents.steps() + every, c.iterations);
      job_.progress.advance(until - agents.steps());
      while (agents.steps() < until) agents.step();
      theta = &agents.collect();
      const bool stop = any(comm_, stop_requested());  // one for all
      const std::chrono::duration<double> since = Clock::now() - saved_at_;
      if (first && (stop || since.count() > s.real("checkpoint_seconds")))
        save(index, theta, agents.steps());
      if (stop) return false;
    }
    if (first) {
      save_safetensors(job_.folder.checkpoint(c.name()), {{{"theta", *theta}}, {}});
      save(index + 1, nullptr, 0);
    }
    return true;
  }

  void log(const Case& c, std::int64_t step, const Tensor& theta,
           std::vector<rl::TabularTask>& tasks) {
    const Tensor mean = mean_policy(theta);
    double least = sum_of_values(tasks, theta[0]);
    for (index_t i = 1; i < theta.dim(0); ++i)
      least = std::min(least, sum_of_values(tasks, theta[i]));
    log_->append({std::string_view(c.name()), step, sum_of_values(tasks, mean), least,
                  disagreement(theta, mean), stationarity(tasks, theta)});
  }

  /// `theta` null: nothing of this case has begun.
  void save(std::size_t index, const Tensor* theta, std::int64_t step) {
    log_->sync();
    TensorFile file{{},
                    {{"case", std::to_string(index)},
                     {"step", std::to_string(step)},
                     {"rows", std::to_string(log_->rows())}}};
    if (theta) file.tensors["theta"] = *theta;
    save_safetensors(checkpoint_, file);
    saved_at_ = Clock::now();
  }

  Job& job_;
  Comm& comm_;
  std::vector<Case> cases_;
  std::filesystem::path checkpoint_;
  std::size_t first_ = 0;
  Tensor theta_;  // of the case that was interrupted
  std::int64_t steps_ = 0;
  std::optional<CsvLog> log_;  // on rank 0
  Clock::time_point saved_at_ = Clock::now();
};

bool run(Job& job) { return ZengRun(job).run(); }

// --- From a run folder to a report

/// A finished case: what the run left of it.
struct Finished {
  Case c;
  Tensor theta, mean;                                                  // [N,S,A], [S,A]
  std::vector<double> step, value, agent, disagreement, stationarity;  // rows of metrics.csv
};

std::vector<Finished> load(const Settings& s, const RunFolder& folder) {
  const CsvTable rows = CsvTable::load(folder.metrics());
  std::map<std::string, std::vector<std::size_t>> rows_of;
  for (std::size_t r = 0; r < rows.rows.size(); ++r) rows_of[rows.text(r, "case")].push_back(r);
  std::vector<Finished> all;
  for (Case& c : cases_of(s)) {
    const auto path = folder.checkpoint(c.name());
    if (!std::filesystem::exists(path)) continue;
    Finished f{.c = std::move(c), .theta = load_safetensors(path).tensors.at("theta")};
    f.mean = mean_policy(f.theta);
    for (const std::size_t r : rows_of[f.c.name()]) {
      f.step.push_back(rows.number(r, "step"));
      f.value.push_back(rows.number(r, "value"));
      f.agent.push_back(rows.number(r, "agent_value"));
      f.disagreement.push_back(rows.number(r, "disagreement"));
      f.stationarity.push_back(rows.number(r, "stationarity"));
    }
    all.push_back(std::move(f));
  }
  return all;
}

std::vector<const Finished*> of_study(const std::vector<Finished>& all, std::string_view study) {
  std::vector<const Finished*> found;
  for (const Finished& f : all)
    if (f.c.study == study) found.push_back(&f);
  return found;
}

MapOutcome outcome_of(const Finished& f, const Tensor& theta) {
  return map_outcome(f.c.problem[0], theta.values<double>());
}

std::string solved_text(const MapOutcome& o) {
  return fmt::format("{} of {}", o.solved(), o.reached.size());
}

std::string percents(const std::vector<double>& shares) {
  std::string text;
  for (const double share : shares)
    text += fmt::format("{}{:.0f}", text.empty() ? "" : " ", 100 * share);
  return text;
}

Section chain_section(const std::vector<Finished>& all) {
  Section section{.title = "Two-task chains"};
  Table table({"<chain", "gamma", "<policy in the middle state", "closed form", "computed",
               "mean policy", "worst agent"});
  const auto learnt = [&](const std::string& problem, double gamma) {
    for (const Finished* f : of_study(all, "chain"))
      if (f->c.problem == problem && f->c.gamma == gamma) return f;
    return static_cast<const Finished*>(nullptr);
  };
  const auto number = [](double v) { return fmt::format("{:.6f}", v); };
  /// theta: left in S2 and S4 (to 1e-17), left with probability p in S3.
  const auto computed = [](const std::string& problem, double gamma, double p) {
    auto tasks = tasks_of({.problem = problem, .gamma = gamma}, false);
    const Tensor theta = Tensor::zeros({5, 2}, DType::f64);
    theta.data<double>()[2] = theta.data<double>()[6] = 40;
    theta.data<double>()[4] = std::log(p / (1 - p));
    return sum_of_values(tasks, theta);
  };
  constexpr double kAlways = 1 - 1e-15;
  for (const double g : kChainGammas) {
    const auto closed = [g](double p) {
      return p * g / (1 - (1 - p) * g * g) + (1 - p) * g / (1 - p * g * g);
    };
    table.rule();
    const Finished* f = learnt("chain", g);
    for (const auto& [what, p] : {std::pair{"one half: the optimum", 0.5},
                                  {"left with 0.3", 0.3},
                                  {"always left", kAlways}}) {
      const bool best = p == 0.5 && f;
      table.add({"reversed", fmt::format("{}", g), what, number(closed(p)),
                 number(computed("chain", g, p)), best ? number(f->value.back()) : "",
                 best ? number(f->agent.back()) : ""});
    }
  }
  for (const Drift& d : kDrifts) {
    const double g = d.gamma, p = d.p, g2 = g * g;
    table.rule();
    const Finished* f = learnt(d.problem, g);
    table.add({fmt::format("drift, p = {}", p), fmt::format("{}", g),
               "always left or right: the maximum",
               number(g * (-2 * g2 * p + g2 + 2 * p - 1) / (g2 * g2 * (p * p - p) + g2 - 1)),
               number(computed(d.problem, g, kAlways)), f ? number(f->value.back()) : "",
               f ? number(f->agent.back()) : ""});
    table.add({fmt::format("drift, p = {}", p), fmt::format("{}", g),
               "one half: stationary, the minimum", number(g * (2 - 4 * p) / (2 - g2)),
               number(computed(d.problem, g, 0.5)), "", ""});
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      "Five states in a row, the outer two end the episode; the sum of both tasks' values at the "
      "middle "
      "one. In the first chain one task has its actions reversed beside the ends: no deterministic "
      "policy "
      "is best. In the second the actions do nothing there, and a stationary point is the worst of "
      "all.",
      fmt::format(
          "Closed form: sections 3.1 and 3.2 of the paper (the supplement's special case has "
          "misplaced "
          "constants in print; the general formulas are used). Computed: exact policy evaluation. "
          "Mean policy: the softmax of the mean theta after {} steps of Algorithm 1 from 0, alpha "
          "= "
          "1, complete graph of two; worst agent: the less of what the two agents' own policies "
          "get "
          "in both tasks. At a constant step they keep a distance from their mean. In the drift "
          "chain the mean stays at one half by symmetry, until rounding lets it go.",
          kChainSteps)};
  return section;
}

/// What a separate program in double precision found for the maps after 10,000 steps with alpha 1
/// and weights 1/6, 2/3, 1/6, lambda 0: solved by the greedy path of the mean, and the sum of
/// values.
struct Reference {
  double gamma;
  char map;
  int solved;
  double value;
};
constexpr Reference kReferences[] = {
    {0.95, 'a', 4, 1.93}, {0.95, 'b', 3, 1.77}, {0.95, 'c', 3, 1.15}, {0.95, 'd', 5, 2.29},
    {0.95, 'e', 6, 3.59}, {0.97, 'a', 4, 2.55}, {0.97, 'b', 3, 2.40}, {0.97, 'c', 1, 1.39},
    {0.97, 'd', 3, 2.75}, {0.97, 'e', 6, 4.37}, {0.99, 'a', 4, 3.42}, {0.99, 'b', 4, 3.45},
    {0.99, 'c', 1, 1.75}, {0.99, 'd', 5, 4.46}, {0.99, 'e', 6, 5.38}};

std::string paper_outcome(char map) {
  switch (map) {
    case 'a':
      return "all 4";
    case 'b':
      return "all 4";
    case 'c':
      return "3 of 4";
    case 'd':
      return "not all";
    default:
      return "all 6";
  }
}

std::string reference_text(const Case& c) {
  if (c.lambda != 0 || c.iterations != 10000 || c.alpha != 1 || c.arm != "ring" ||
      c.weights != rl::Metropolis::degree_plus_one)
    return "";
  for (const Reference& r : kReferences)
    if (r.gamma == c.gamma && r.map == c.problem[0])
      return fmt::format("{} of {}, {:.2f}", r.solved, rl::zeng_environments(r.map), r.value);
  return "";
}

Section maps_section(const std::vector<Finished>& all, const std::filesystem::path& plot) {
  Section section{.title = "Grid worlds, exact gradients"};
  Table table({"lambda", "gamma", "<map", "<paper", "<greedy path", "sum of values", "<reference",
               "<sampled, % per environment", "disagreement"});
  std::map<double, std::vector<MapPanel>> panels;  // by gamma
  const Finished* before = nullptr;
  for (const Finished* f : of_study(all, "maps")) {
    const Case& c = f->c;
    if (before && (before->c.gamma != c.gamma || before->c.lambda != c.lambda)) table.rule();
    before = f;
    const MapOutcome o = outcome_of(*f, f->mean);
    table.add({fmt::format("{}", c.lambda), fmt::format("{}", c.gamma), c.problem,
               paper_outcome(c.problem[0]), solved_text(o), fmt::format("{:.2f}", f->value.back()),
               reference_text(c), percents(o.success),
               fmt::format("{:.4f}", f->disagreement.back())});
    if (c.lambda == 0)
      panels[c.gamma].push_back(
          {fmt::format("{}, gamma {}: {}", c.problem, c.gamma, solved_text(o)), o});
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      "The policy is the softmax of the agents' mean theta. Greedy path: goals that its most "
      "probable "
      "actions reach. Sampled: episodes out of 200 that end at the goal, environment 0 first. Sum "
      "of values: over "
      "environments, at the start. Disagreement: the largest |theta_i - mean| of any agent in any "
      "parameter.",
      "The paper shows the path that its agents take most often, with sampled gradients; gamma, "
      "alpha, "
      "lambda, the length of episodes, what a wall does and where training episodes start are not "
      "in it. "
      "The maps are read off its figure 2. Here: alpha 1 on the unnormalised visits, an agent at "
      "the edge stays, "
      "training starts at the start. Reference: a separate program in double precision with the "
      "same "
      "choices, not the paper.",
      "Pictures: a numbered circle is the goal of that environment, filled when the greedy path "
      "(black) "
      "reaches it; grey cells are obstacles of the environments printed on them; blue is where "
      "sampled "
      "episodes go."};
  for (const auto& [gamma, maps] : panels)
    section.drawings.push_back(draw_maps(maps, fmt::format("{}maps-{}", plot.string(), gamma)));
  return section;
}

std::string arm_text(const Case& c) {
  if (c.uniform) return c.arm + ", uniform starts";
  if (c.arm == "none") return "none: mean of strangers";
  return c.arm == kCentre ? "centre: mean gradient" : c.arm;
}

Section arms_section(const std::vector<Finished>& all, const std::filesystem::path& plot) {
  const auto study = of_study(all, "arms");
  Section section{.title = "Against a centre, and each agent alone"};
  Table table({"<map", "<arm", "<greedy path", "sum of values", "sampled (%)", "disagreement"});
  const Finished* before = nullptr;
  for (const Finished* f : study) {
    if (before && before->c.problem != f->c.problem) table.rule();
    before = f;
    const MapOutcome o = outcome_of(*f, f->mean);
    table.add({f->c.problem, arm_text(f->c), solved_text(o), fmt::format("{:.2f}", f->value.back()),
               fmt::format("{:.0f}", 100 * o.mean_success()),
               fmt::format("{:.4f}", f->disagreement.back())});
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      fmt::format(
          "gamma {}, lambda 0. The centre has one theta and follows the mean of all gradients. "
          "Without "
          "communication every agent learns its own environment; the mean of their theta is the "
          "policy "
          "of nobody. Uniform starts: training episodes begin in any free cell, values still count "
          "from the map's start.",
          Case().gamma),
      "Matrices: success of 200 sampled episodes. A row is a policy, a column an environment; rows "
      "\"alone\" are the agents without communication, the last is the agents' mean on the ring."};
  for (const Finished* alone : study) {
    if (alone->c.arm != "none") continue;
    HeatMap heat{.title = "Map " + alone->c.problem + ": policies in all environments",
                 .label = "success",
                 .low = 0,
                 .high = 1};
    for (index_t i = 0; i < alone->theta.dim(0); ++i) {
      heat.rows.push_back(fmt::format("alone {}", i));
      heat.columns.push_back(fmt::format("env {}", i));
      heat.values.push_back(outcome_of(*alone, alone->theta[i]).success);
    }
    for (const Finished* f : study) {
      if (f->c.problem != alone->c.problem || f->c.arm != "ring" || f->c.uniform) continue;
      heat.rows.emplace_back("together");
      heat.values.push_back(outcome_of(*f, f->mean).success);
    }
    section.drawings.push_back(draw(heat, plot.string() + "alone-" + alone->c.problem));
  }
  return section;
}

Section sampled_section(const std::vector<Finished>& all, const Settings& s,
                        const std::filesystem::path& plot) {
  Section section{.title = "Grid worlds, sampled gradients"};
  Table table({"<map", "<paper", "seeds", "<greedy path, per seed", "sum of values", "sampled (%)",
               "disagreement"});
  std::map<std::string, std::vector<const Finished*>> by_map;
  for (const Finished* f : of_study(all, "sampled")) by_map[f->c.problem].push_back(f);
  std::vector<MapPanel> panels;
  LinePlot curves{.title = "Sum of values of the mean policy",
                  .x = {.label = "step"},
                  .y = {.label = "sum of values at the start"}};
  for (const auto& [map, seeds] : by_map) {
    std::string solved;
    std::vector<double> values, success, apart;
    for (const Finished* f : seeds) {
      const MapOutcome o = outcome_of(*f, f->mean);
      solved += fmt::format("{}{}", solved.empty() ? "" : " ", o.solved());
      values.push_back(f->value.back());
      success.push_back(100 * o.mean_success());
      apart.push_back(f->disagreement.back());
      if (f == seeds.front())
        panels.push_back({fmt::format("{}, sampled, seed 1: {}", map, solved_text(o)), o});
    }
    table.add({map, paper_outcome(map[0]), std::to_string(seeds.size()), solved,
               to_string(mean_of(values)), to_string(mean_of(success), 1),
               to_string(mean_of(apart))});
    Series curve{.name = "map " + map};
    for (std::size_t r = 0; r < seeds.front()->step.size(); ++r) {
      std::vector<double> at;
      for (const Finished* f : seeds) at.push_back(f->value[r]);
      const Mean mean = mean_of(at);
      curve.x.push_back(seeds.front()->step[r]);
      curve.y.push_back(mean.mean);
      curve.error.push_back(std::isnan(mean.error) ? 0 : mean.error);
    }
    curves.series.push_back(std::move(curve));
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      fmt::format("As the paper trains: {} exchanges, each after {} sampled episodes per agent of "
                  "at most {} steps; "
                  "gamma {}, alpha {}, ours since the paper has none. The gradient is that of "
                  "REINFORCE with discounted returns and "
                  "without a baseline. Errors: one standard error over seeds.",
                  s.integer("sampled_steps"), s.integer("episodes"), s.integer("max_steps"),
                  s.text("sampled_gamma"), s.real("sampled_alpha"))};
  section.drawings.push_back(draw(curves, plot.string() + "sampled-values"));
  section.drawings.push_back(draw_maps(panels, plot.string() + "sampled-maps"));
  return section;
}

Section theory_section(const std::vector<Finished>& all, const std::filesystem::path& plot) {
  Section section{.title = "Theorem 1: step size, graph, distance"};
  Table table({"<graph", "1 - sigma_2", "alpha", "disagreement D", "D (1 - sigma_2) / alpha",
               "mean gradient^2", "sum of values"});
  LinePlot apart{
      .title = fmt::format("Map {}, alpha 1: how far agents are from their mean", kTheoryMap),
      .x = {.label = "step"},
      .y = {.label = "max |theta_i - mean|", .logarithmic = true}};
  LinePlot gradient{.title = fmt::format("Map {}, alpha 1: least gradient so far", kTheoryMap),
                    .x = {.label = "step", .logarithmic = true},
                    .y = {.label = "|mean gradient|^2 at the worst agent", .logarithmic = true}};
  const Finished* before = nullptr;
  for (const Finished* f : of_study(all, "theory")) {
    if (before && before->c.arm != f->c.arm) table.rule();
    before = f;
    const double gap = 1 - rl::singular_values(weights_of(f->c))[1];
    const double most = *std::max_element(f->disagreement.begin(), f->disagreement.end());
    const double least = *std::min_element(f->stationarity.begin(), f->stationarity.end());
    table.add({f->c.arm, fmt::format("{:.3f}", gap), fmt::format("{}", f->c.alpha),
               fmt::format("{:.4f}", most), fmt::format("{:.4f}", most * gap / f->c.alpha),
               fmt::format("{:.2e}", least), fmt::format("{:.3f}", f->value.back())});
    if (f->c.alpha != kTheoryAlphas[0]) continue;
    const std::string name = fmt::format("{} ({:.2f})", f->c.arm, gap);
    Series distance{.name = name}, norm{.name = name};
    double so_far = std::numeric_limits<double>::infinity();
    for (std::size_t r = 1; r < f->step.size(); ++r) {  // all agents agree at step 0
      distance.x.push_back(f->step[r]);
      distance.y.push_back(f->disagreement[r]);
      so_far = std::min(so_far, f->stationarity[r]);
      norm.x.push_back(f->step[r]);
      norm.y.push_back(so_far);
    }
    apart.series.push_back(std::move(distance));
    gradient.series.push_back(std::move(norm));
  }
  section.tables.push_back(std::move(table));
  section.paragraphs = {
      "The theorem bounds the least squared norm, over steps, of the mean objective's gradient at "
      "any "
      "agent: of order 1/(K alpha) plus alpha^2 / (1 - sigma_2)^2, sigma_2 the second largest "
      "singular value of "
      "W. The second term is the agents' distance from their mean, which a step of alpha widens "
      "and a mixing "
      "shrinks by sigma_2: of order alpha / (1 - sigma_2).",
      "Disagreement: the largest |theta_i - mean| of any logged step. Mean gradient^2: the least "
      "of any logged step, at the agent where it is largest. The factor with the discounts in the "
      "theorem is not legible in the text at hand and not needed here."};
  section.drawings.push_back(draw(apart, plot.string() + "disagreement"));
  section.drawings.push_back(draw(gradient, plot.string() + "gradient"));
  return section;
}

std::vector<Section> sections(const Settings& s, const RunFolder& folder,
                              const std::filesystem::path& plot) {
  const std::vector<Finished> all = load(s, folder);
  std::vector<Section> out;
  for (const std::string& study : s.list("studies")) {
    if (study == "chain") out.push_back(chain_section(all));
    if (study == "maps") out.push_back(maps_section(all, plot));
    if (study == "arms") out.push_back(arms_section(all, plot));
    if (study == "sampled") out.push_back(sampled_section(all, s, plot));
    if (study == "theory") out.push_back(theory_section(all, plot));
  }
  return out;
}

Report report(std::span<const RunFolder> runs, const std::filesystem::path& plots) {
  return toy_report(
      runs, plots, zeng_settings, "Decentralised policy gradient",
      "Agents in environments of their own, without a centre, exchange parameters with their "
      "neighbours and end with one policy for all (Zeng et al., UAI 2021).",
      sections);
}

}  // namespace

Experiment zeng() {
  return {.name = "zeng",
          .help = "agents without a centre learn one policy for several environments",
          .source = "Zeng et al. 2021, arXiv 2006.04338",
          .settings = zeng_settings,
          .run = run,
          .report = report,
          .evaluate = no_evaluation,
          .ranks = true};
}

}  // namespace concord::experiments
