#include <concord/rl/distral.h>
#include <concord/rl/tabular/exact.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::rl {

using tabular::ActionTable;

Distral::Distral(std::vector<Mdp> tasks, ActionTable prior, const DistralOptions& options,
                 const Rng& rng)
    : tasks_(std::move(tasks)),
      options_(options),
      rng_(rng),
      prior_(std::move(prior)),
      weights_(tabular::soft_weights(prior_, options.alpha)),
      counts_(prior_.states(), prior_.actions(), options.pseudocount),
      q_(options.sharing == Sharing::one_policy ? 1 : tasks_.size(),
         ActionTable(prior_.states(), prior_.actions())),
      visited_(tasks_.size(), q_[0]) {
  for (const Mdp& task : tasks_) {
    if (task.states() == prior_.states() && task.actions() == prior_.actions()) continue;
    throw ValueError(fmt::format(
        "distral: task '{}' has {} states and {} actions, expected {} and {} as pi_0 has",
        task.name, task.states(), task.actions(), prior_.states(), prior_.actions()));
  }
}

Distral::Outcome Distral::iterate() {
  const auto n = static_cast<int>(tasks_.size());
  std::vector<Outcome> outcomes(tasks_.size());
  // Tasks that learn in one table take turns.
#pragma omp parallel for schedule(dynamic) if (options_.sharing != Sharing::one_policy)
  for (int i = 0; i < n; ++i) {
    Draws draws(
        rng_.fork(static_cast<std::uint64_t>(iterations_)).fork(static_cast<std::uint64_t>(i)));
    std::fill(visited_[i].values().begin(), visited_[i].values().end(), 0.0);
    for (index_t k = 0; k < options_.rollouts; ++k) {
      const tabular::EpisodeOutcome episode = tabular::soft_q_episode(
          tasks_[i], weights_, options_.learner, draws, q_[table_of(i)], visited_[i]);
      outcomes[i].reward += episode.reward;
      outcomes[i].ended += episode.ended;
    }
  }
  ++iterations_;
  update_prior();
  Outcome mean;
  const double share = 1 / static_cast<double>(n * options_.rollouts);
  for (const Outcome& o : outcomes) {
    mean.reward += share * o.reward;
    mean.ended += share * o.ended;
  }
  return mean;
}

void Distral::update_prior() {
  if (options_.sharing == Sharing::visits) {
    for (const ActionTable& visited : visited_)
      for (std::size_t k = 0; k < visited.values().size(); ++k)
        counts_.values()[k] += visited.values()[k];
    prior_ = tabular::normalised(counts_);
  } else if (options_.sharing == Sharing::centroid) {
    ActionTable sum(prior_.states(), prior_.actions());
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      const ActionTable p = policy(i);
      for (std::size_t k = 0; k < p.values().size(); ++k) sum.values()[k] += p.values()[k];
    }
    prior_ = tabular::normalised(sum);
  } else {
    return;
  }
  weights_ = tabular::soft_weights(prior_, options_.alpha);
}

ActionTable Distral::policy(std::size_t task) const {
  return tabular::soft_policy(q_[table_of(task)], weights_, options_.learner.beta);
}

std::span<const ColumnForm> column_forms() {
  static constexpr ColumnForm kForms[] = {{"A3C", 0, true, 0},
                                          {"A3C_multitask", 1, false, 0},
                                          {"A3C_2col", 1, true, 0},
                                          {"KL_1col", 0, true, 1},
                                          {"KL+ent_1col", 0, true, 0.5},
                                          {"KL_2col", 1, true, 1},
                                          {"KL+ent_2col", 0.5, true, 0.5}};
  return kForms;
}

const ColumnForm& find_column_form(std::string_view name) {
  std::vector<std::string> names;
  for (const ColumnForm& form : column_forms()) {
    if (form.name == name) return form;
    names.emplace_back(form.name);
  }
  throw_unknown("form", name, names);
}

namespace {

/// All that J and its gradient need of one task.
struct Regularised {
  ActionTable policy;
  ActionTable bonus;  // (alpha/beta) log pi_0 - (1/beta) log pi_i
};

ActionTable log_softmax(ActionTable logits) {
  for (index_t s = 0; s < logits.states(); ++s) {
    const std::span<double> row = logits[s];
    const double most = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const double v : row) sum += std::exp(v - most);
    for (double& v : row) v -= most + std::log(sum);
  }
  return logits;
}

ActionTable logits_of(const ColumnForm& form, const Columns& columns, std::size_t task) {
  ActionTable logits = columns.shared;
  for (std::size_t k = 0; k < logits.values().size(); ++k) {
    logits.values()[k] *= form.shared;
    if (form.own) logits.values()[k] += columns.own[task].values()[k];
  }
  return logits;
}

Regularised regularised(const ColumnForm& form, const Columns& columns, std::size_t task,
                        const ActionTable& log_distilled, double beta) {
  ActionTable bonus = log_softmax(logits_of(form, columns, task));
  ActionTable policy = bonus;
  for (std::size_t k = 0; k < bonus.values().size(); ++k) {
    policy.values()[k] = std::exp(bonus.values()[k]);
    bonus.values()[k] = (form.alpha * log_distilled.values()[k] - bonus.values()[k]) / beta;
  }
  return {std::move(policy), std::move(bonus)};
}

}  // namespace

ActionTable column_policy(const ColumnForm& form, const Columns& columns, std::size_t task) {
  return tabular::softmax(logits_of(form, columns, task));
}

double column_objective(std::span<const Mdp> tasks, const ColumnForm& form, const Columns& columns,
                        double beta, double discount) {
  const ActionTable log_distilled = log_softmax(columns.shared);
  double sum = 0;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const Regularised r = regularised(form, columns, i, log_distilled, beta);
    sum += tabular::expected_return(tasks[i],
                                    tabular::state_values(tasks[i], r.policy, discount, &r.bonus));
  }
  return sum;
}

Columns column_gradient(std::span<const Mdp> tasks, const ColumnForm& form, const Columns& columns,
                        double beta, double discount) {
  const ActionTable log_distilled = log_softmax(columns.shared);
  const ActionTable distilled = tabular::softmax(columns.shared);
  const index_t actions = distilled.actions();
  Columns gradient(tasks.size(), distilled.states(), actions);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const Regularised r = regularised(form, columns, i, log_distilled, beta);
    const ActionTable g = tabular::policy_gradient(tasks[i], r.policy, discount, &r.bonus);
    const std::vector<double> d = tabular::visits(tasks[i], r.policy, discount);
    if (form.own) gradient.own[i] = g;
    for (index_t s = 0; s < distilled.states(); ++s)
      for (index_t a = 0; a < actions; ++a)
        gradient.shared[s][a] +=
            form.shared * g[s][a] + form.alpha / beta * d[s] * (r.policy[s][a] - distilled[s][a]);
  }
  return gradient;
}

}  // namespace concord::rl
