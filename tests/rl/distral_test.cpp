// Distral in tables: the identities of the paper's section 2, gradients of section 3 by
// differences, and that sharing pays in the two rooms.
#include <concord/rl/distral.h>
#include <concord/rl/tabular/exact.h>
#include <concord/rl/worlds.h>
#include <concord/tests/rl/tables.h>
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
    Columns at(2, 3, 4);
    at.shared = random_table(3, 4, 6);
    at.own = {random_table(3, 4, 7), random_table(3, 4, 8)};
    const auto objective = [&] { return column_objective(tasks, form, at, beta, discount); };
    const Columns gradient = column_gradient(tasks, form, at, beta, discount);
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
  Columns at(2, states, actions);
  at.own = {random_table(states, actions, 1), random_table(states, actions, 2)};
  const ActionTable p0 = column_policy(form, at, 0), p1 = column_policy(form, at, 1);
  for (std::size_t k = 0; k < p0.values().size(); ++k)
    at.shared.values()[k] = std::log((p0.values()[k] + p1.values()[k]) / 2);
  const Columns gradient = column_gradient(tasks, form, at, 2, 0.9);
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
