// Distral: in tables the identities of the paper's section 2, gradients of section 3 by
// differences, and that sharing pays in the two rooms; on networks how columns add up, and the
// fixed points.
#include <concord/rl/agents/distral_a2c.h>
#include <concord/rl/distral.h>
#include <concord/rl/multi_env.h>
#include <concord/rl/tabular/exact.h>
#include <concord/rl/vectorised.h>
#include <concord/rl/worlds.h>
#include <concord/tests/rl/tables.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <string>

using namespace concord;
using namespace concord::rl;
using namespace concord::rl::tabular;

namespace {

/// Section 2.2's alternation, exactly: the best policy for pi_0, then pi_0 as that policy's
/// frequencies in each state.
ActionTable alternate(const Mdp& mdp, double alpha, double beta, double discount, int rounds) {
  ActionTable policy = uniform_policy(mdp.states(), mdp.actions());
  for (int k = 0; k < rounds; ++k) {
    const ActionTable weights = soft_weights(policy, alpha);
    policy = soft_policy(soft_values(mdp, weights, beta, discount), weights, beta);
  }
  return policy;
}

void check_equal(const ActionTable& a, const ActionTable& b, double tolerance) {
  for (std::size_t k = 0; k < a.values().size(); ++k)
    CHECK(std::abs(a.values()[k] - b.values()[k]) < tolerance);
}

/// One step per episode and one state: action a pays pays[a].
struct Bandit {
  std::vector<float> pays;
  struct State {
    int unused;
  };
  using Observed = float;
  using Action = int;
  EnvSpec spec() const {
    const auto actions = static_cast<index_t>(pays.size());
    return {.name = "bandit",
            .observation = {DType::f32, {2}},
            .action = {.count = actions, .names = std::vector<std::string>(pays.size(), "a")}};
  }
  void reset(State&, Draws&) const {}
  Outcome step(State&, Action a, Draws&) const { return {pays[static_cast<std::size_t>(a)], true}; }
  void observe(const State&, float* out) const { out[0] = out[1] = 1; }
  Canvas draw(const State&) const { return Canvas(1, 1); }
};

EnvPtr bandits(const std::vector<std::vector<float>>& pays, index_t each) {
  std::vector<EnvPtr> members;
  for (std::size_t t = 0; t < pays.size(); ++t)
    members.push_back(vectorise(Bandit{pays[t]}, {.size = each, .seed = t + 1}));
  return members.size() == 1 ? std::move(members[0]) : join(std::move(members));
}

/// Probabilities of the first row of each distribution.
std::vector<std::vector<double>> first_rows(const std::vector<Distribution>& all) {
  std::vector<std::vector<double>> rows;
  for (const Distribution& d : all) {
    rows.emplace_back();
    for (index_t a = 0; a < d.log_p.dim(1); ++a)
      rows.back().push_back(std::exp(static_cast<double>(d.log_p.value().data<float>()[a])));
  }
  return rows;
}

struct Policies {
  std::vector<std::vector<double>> own, distilled;  // [task][action]
};

/// What an agent of this form comes to on bandits; means over the last half of the steps.
Policies trained(const char* form, double beta, const std::vector<std::vector<float>>& pays) {
  DistralA2cOptions o;
  o.form = form;
  o.beta = beta;
  o.steps = 1;
  o.trunk.hidden = {7};
  o.learner = {.optimizer = "sgd", .rate = 0.3, .clip_norm = 0};
  DistralA2c agent(bandits(pays, 32), o, 5);
  const Tensor x = Tensor::zeros({static_cast<index_t>(pays.size()), 2});
  x.fill(1);
  Bounds bounds;
  for (std::size_t t = 0; t <= pays.size(); ++t) bounds.push_back(static_cast<index_t>(t));
  Policies mean;
  const int steps = 1500;
  for (int k = 0; k < steps; ++k) {
    agent.iterate();
    if (k < steps / 2) continue;
    std::vector<Distribution> policies, distilled;
    agent.network()({.theta = &agent.learner().theta()}, x, bounds, &policies, &distilled, nullptr);
    const auto add = [&](std::vector<std::vector<double>>& sum, const auto& rows) {
      sum.resize(rows.size(), std::vector<double>(rows[0].size()));
      for (std::size_t t = 0; t < rows.size(); ++t)
        for (std::size_t a = 0; a < rows[t].size(); ++a) sum[t][a] += 2 * rows[t][a] / steps;
    };
    add(mean.own, first_rows(policies));
    add(mean.distilled, first_rows(distilled));
  }
  return mean;
}

/// softmax(beta pays)
std::vector<double> boltzmann(double beta, const std::vector<float>& pays) {
  std::vector<double> p;
  double sum = 0;
  for (const float r : pays) p.push_back(std::exp(beta * r)), sum += p.back();
  for (double& x : p) x /= sum;
  return p;
}

void check_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  REQUIRE(a.size() == b.size());
  for (std::size_t k = 0; k < a.size(); ++k) {
    CAPTURE(a[k]);
    CAPTURE(b[k]);
    CHECK(std::abs(a[k] - b[k]) < tolerance);
  }
}

}  // namespace

TEST_CASE("alpha = 0 is alpha = 1 towards a uniform pi_0 with log|A|/beta more reward per step") {
  const index_t states = 5, actions = 3;
  const double beta = 3, discount = 0.9, bonus = std::log(3.0) / beta;
  const Mdp mdp = small_mdp(1, states, actions);
  Mdp richer = mdp;
  for (index_t s = 0; s < states; ++s) {
    for (index_t a = 0; a < actions; ++a) {
      std::vector<Consequence> list(mdp.at(s, a).begin(), mdp.at(s, a).end());
      for (Consequence& c : list) c.reward += static_cast<float>(bonus);
      richer.set(s, a, list);
    }
  }
  const ActionTable uniform = uniform_policy(states, actions);
  const ActionTable entropy = soft_weights(uniform, 0), kl = soft_weights(uniform, 1);
  const ActionTable q0 = soft_values(mdp, entropy, beta, discount);
  const ActionTable q1 = soft_values(richer, kl, beta, discount);
  check_equal(soft_policy(q0, entropy, beta), soft_policy(q1, kl, beta), 1e-6);
  // V is the same as well; Q has the bonus of its own step on top.
  for (index_t s = 0; s < states; ++s) {
    CHECK(soft_value(q0[s], entropy[s], beta) ==
          doctest::Approx(soft_value(q1[s], kl[s], beta)).epsilon(1e-6));
    for (index_t a = 0; a < actions; ++a)
      CHECK(q0[s][a] + bonus == doctest::Approx(q1[s][a]).epsilon(1e-6));
  }
}

TEST_CASE("one task, alpha = 1: the alternation becomes greedy") {
  const Mdp mdp = small_mdp(2, 4, 3);
  const double discount = 0.8;
  const ActionTable policy = alternate(mdp, 1, 2, discount, 2000);
  const ActionTable best = optimal_values(mdp, discount);
  for (index_t s = 0; s < 3; ++s) {
    const auto a = std::max_element(best[s].begin(), best[s].end()) - best[s].begin();
    CHECK(policy[s][a] > 0.999);
  }
}

TEST_CASE("one task, alpha < 1: the fixed point is softmax(beta' Q), beta' = beta / (1 - alpha)") {
  const Mdp mdp = small_mdp(3, 5, 3);
  const double alpha = 0.5, beta = 2, discount = 0.8, cold = beta / (1 - alpha);
  const ActionTable policy = alternate(mdp, alpha, beta, discount, 200);
  const ActionTable flat = soft_weights(policy, 0);
  check_equal(policy, soft_policy(soft_values(mdp, flat, cold, discount), flat, cold), 1e-9);
}

TEST_CASE("columns: gradients of J for all seven forms, both columns, by differences") {
  const double beta = 2, discount = 0.9;
  const std::vector<Mdp> tasks{small_mdp(4, 3, 4), small_mdp(5, 3, 4)};
  CHECK(column_forms().size() == 7);
  for (const ColumnForm& form : column_forms()) {
    CAPTURE(std::string(form.name));
    rl::Columns at(2, 3, 4);
    at.shared = random_table(3, 4, 6);
    at.own = {random_table(3, 4, 7), random_table(3, 4, 8)};
    const auto objective = [&] { return column_objective(tasks, form, at, beta, discount); };
    const rl::Columns gradient = column_gradient(tasks, form, at, beta, discount);
    check_gradient(objective, at.shared, gradient.shared);
    check_gradient(objective, at.own[0], gradient.own[0]);
    check_gradient(objective, at.own[1], gradient.own[1]);
  }
}

TEST_CASE("columns: at the centroid of equally visited policies nothing pulls on pi_0") {
  // Two tasks in which actions change nothing but the reward, so that visits are equal.
  const index_t states = 3, actions = 4;
  std::vector<Mdp> tasks(2, Mdp("idle", states, {"a", "b", "c", "d"}));
  for (Mdp& task : tasks)
    for (index_t s = 0; s < states; ++s)
      for (index_t a = 0; a < actions; ++a)
        task.set(s, a, {{0.5, static_cast<std::int32_t>((s + 1) % states)}, {0.5, 0, 0, true}});
  const ColumnForm& form = column_forms()[3];
  REQUIRE(form.name == "KL_1col");
  rl::Columns at(2, states, actions);
  at.own = {random_table(states, actions, 1), random_table(states, actions, 2)};
  const ActionTable p0 = column_policy(form, at, 0), p1 = column_policy(form, at, 1);
  for (std::size_t k = 0; k < p0.values().size(); ++k)
    at.shared.values()[k] = std::log((p0.values()[k] + p1.values()[k]) / 2);
  const rl::Columns gradient = column_gradient(tasks, form, at, 2, 0.9);
  for (const double g : gradient.shared.values()) CHECK(std::abs(g) < 1e-12);
  at.shared[1][2] += 0.3;
  CHECK(column_gradient(tasks, form, at, 2, 0.9).shared[1][2] < -1e-3);
}

TEST_CASE("two rooms: Distral beats tasks on their own, and keeps its direction in the corridor") {
  std::vector<Mdp> tasks;
  for (const index_t goal : {0, 11, 30, 49, 60}) tasks.push_back(two_rooms(goal));
  const ActionTable uniform = uniform_policy(tasks[0].states(), tasks[0].actions());
  const auto last_return = [&](Sharing sharing, ActionTable* distilled) {
    Distral learner(tasks, uniform, {.sharing = sharing}, Rng(1));
    double sum = 0;
    for (int k = 0; k < 300; ++k) {
      const Distral::Outcome outcome = learner.iterate();
      if (k >= 280) sum += outcome.reward / 20;
    }
    *distilled = learner.distilled();
    return sum;
  };
  ActionTable prior = uniform;
  const double alone = last_return(Sharing::nothing, &prior);
  CHECK(prior == uniform);
  const double shared = last_return(Sharing::visits, &prior);
  CHECK(shared > alone + 0.5);
  // In the corridor's middle, having come from the left: to the right (action 4) rather than back.
  const index_t coming = (2 * kTwoRoomsWidth + 6) * kTwoRoomsMemories + 1 + 2 * 4;
  CHECK(prior[coming][4] > 0.7);
  CHECK(prior[coming][3] < 0.15);
}

TEST_CASE("Distral: the same bits with one thread and two") {
  std::vector<Mdp> tasks;
  for (const index_t goal : {3, 40, 61}) tasks.push_back(two_rooms(goal));
  for (const Sharing sharing :
       {Sharing::nothing, Sharing::visits, Sharing::centroid, Sharing::one_policy}) {
    const auto fresh = [&] {
      return Distral(tasks, uniform_policy(tasks[0].states(), 5),
                     {.sharing = sharing, .alpha = 0.8, .rollouts = 3}, Rng(9));
    };
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    Distral one = fresh();
    for (int k = 0; k < 6; ++k) one.iterate();
    omp_set_num_threads(2);
    Distral two = fresh();
    for (int k = 0; k < 6; ++k) two.iterate();
    omp_set_num_threads(threads);
    CHECK(one.distilled() == two.distilled());
    for (std::size_t i = 0; i < 3; ++i) CHECK(one.policy(i) == two.policy(i));
    CHECK((one.policy(0) == one.policy(1)) == (sharing == Sharing::one_policy));
  }
  CHECK_THROWS_AS(Distral(tasks, uniform_policy(7, 5), {}, Rng(1)), ValueError);
}

TEST_CASE(
    "columns on networks: the logits are shared * h + f_i, pi_0's are h, whatever the batch") {
  const EnvPtr env = bandits({{0, 0, 0}, {0, 0, 0}}, 2);
  const auto build = [&](ParameterStore& store, double shared, bool own) {
    return ColumnNetwork(Scope(store), *env, {.hidden = {5}}, shared, own);
  };
  ParameterStore store, same, single;
  const ColumnNetwork both = build(store, 0.5, true), apart = build(same, 0, true);
  const ColumnNetwork one = build(single, 0.5, false);
  Theta theta(store), theta_one(single);
  theta.initialize(Rng(1));
  theta_one.initialize(Rng(1));
  Theta theta_apart(same);
  theta_apart.values().copy_from(theta.values());
  const Tensor x = Tensor::zeros({5, 2});
  for (index_t k = 0; k < 10; ++k) x.data<float>()[k] = static_cast<float>(Rng(2).normal(k));
  const Bounds bounds{0, 2, 5};
  std::vector<Distribution> mixed, f, h;
  std::vector<Var> values;
  both({.theta = &theta}, x, bounds, &mixed, &h, &values);
  apart({.theta = &theta_apart}, x, bounds, &f, nullptr, nullptr);
  const auto rest = [](const Distribution& m, const Distribution& g, const Distribution& d,
                       double shared, index_t k) {
    return m.log_p.value().data<float>()[k] - g.log_p.value().data<float>()[k] -
           shared * d.log_p.value().data<float>()[k];
  };
  for (std::size_t t = 0; t < 2; ++t) {
    const index_t rows = bounds[t + 1] - bounds[t];
    CHECK(values[t].value().shape() == Shape{rows});
    REQUIRE(mixed[t].log_p.value().shape() == Shape{rows, 3});
    // Equal up to each row's normalisation.
    for (index_t i = 0; i < rows; ++i)
      for (index_t a = 1; a < 3; ++a)
        CHECK(std::abs(rest(mixed[t], f[t], h[t], 0.5, 3 * i + a) -
                       rest(mixed[t], f[t], h[t], 0.5, 3 * i)) < 1e-5);
  }
  // Rows of one task alone: the same policy; nothing for the task without rows.
  std::vector<Distribution> alone;
  both({.theta = &theta}, x.rows(2, 5), {0, 0, 3}, &alone, nullptr, nullptr);
  CHECK_FALSE(alone[0].log_p.value().defined());
  for (index_t k = 0; k < 9; ++k)
    CHECK(alone[1].log_p.value().data<float>()[k] ==
          doctest::Approx(mixed[1].log_p.value().data<float>()[k]).epsilon(1e-6));
  // No columns of their own: one policy, a value for each.
  one({.theta = &theta_one}, x.rows(0, 2), {0, 1, 2}, &alone, nullptr, &values);
  std::vector<Distribution> swapped;
  one({.theta = &theta_one}, x.rows(0, 2), {0, 0, 2}, &swapped, nullptr, nullptr);
  for (index_t a = 0; a < 3; ++a)
    CHECK(alone[0].log_p.value().data<float>()[a] ==
          doctest::Approx(swapped[1].log_p.value().data<float>()[a]).epsilon(1e-6));
  ParameterStore none;
  CHECK_THROWS_AS(build(none, 0, false), ValueError);
}

TEST_CASE("Distral on networks: the fixed points of bandits") {
  const std::vector<float> pays{0, 0.25F, 0.5F};
  // Entropy alone: softmax(beta R). One task, alpha = 1/2: softmax(beta' R), beta' = 2 beta, which
  // pi_0 becomes as well.
  check_near(trained("A3C", 4, {pays}).own[0], boltzmann(4, pays), 0.03);
  for (const char* form : {"KL+ent_1col", "KL+ent_2col"}) {
    CAPTURE(std::string(form));
    const Policies p = trained(form, 4, {pays});
    check_near(p.own[0], boltzmann(8, pays), 0.04);
    check_near(p.distilled[0], p.own[0], 0.04);
  }
  // One policy for two tasks: softmax(beta mean R).
  const std::vector<float> other{0.5F, 0.1F, 0}, middle{0.25F, 0.175F, 0.25F};
  check_near(trained("A3C_multitask", 4, {pays, other}).own[1], boltzmann(4, middle), 0.03);
  // Two tasks, alpha = 1: pi_i = pi_0 exp(beta R_i) normalised, pi_0 the mean of the two.
  for (const char* form : {"KL_1col", "KL_2col"}) {
    CAPTURE(std::string(form));
    const Policies p = trained(form, 4, {{0.3F, 0, 0.1F}, {0, 0.3F, 0.1F}});
    for (std::size_t t = 0; t < 2; ++t) {
      std::vector<double> expected, centroid;
      double sum = 0;
      for (std::size_t a = 0; a < 3; ++a) {
        const double reward = a == 2 ? 0.1 : a == t ? 0.3 : 0;
        expected.push_back(p.distilled[0][a] * std::exp(4 * reward));
        sum += expected.back();
        centroid.push_back((p.own[0][a] + p.own[1][a]) / 2);
      }
      for (double& x : expected) x /= sum;
      check_near(p.own[t], expected, 0.05);
      check_near(p.distilled[t], centroid, 0.05);
    }
  }
}

TEST_CASE("Distral on networks: forms by name, what it cannot do") {
  CHECK(find_column_form("KL_2col").alpha == 1);
  const auto error = [](DistralA2cOptions o) {
    return testing::error_text<ValueError>([&] { DistralA2c(bandits({{0, 1}}, 1), o, 1); });
  };
  DistralA2cOptions o;
  o.form = "KL_3col";
  CHECK(error(o).find("unknown form 'KL_3col'") == 0);
  o = {};
  o.beta = 0;
  CHECK(error(o) == "distral: beta is 0, expected more than 0");
}
