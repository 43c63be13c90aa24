// Tabular methods: exact values against hand-made ones and against each other, gradients against
// differences, learners against the exact solution.
#include <concord/rl/tabular/exact.h>
#include <concord/rl/tabular/q_learning.h>
#include <concord/rl/tabular/reinforce.h>
#include <concord/rl/tabular/soft_q.h>
#include <concord/rl/worlds.h>
#include <concord/tests/rl/tables.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

using namespace concord;
using namespace concord::rl;
using namespace concord::rl::tabular;

TEST_CASE("exact: values, visits and return of a chain by hand") {
  // 0 -(reward 1)-> 1 -(reward 2)-> end; action 1 stays in place.
  Mdp mdp("row", 3, {"go", "stay"});
  mdp.set(0, 0, {{1, 1, 1}});
  mdp.set(1, 0, {{1, 2, 2, true}});
  ActionTable go(3, 2);
  for (index_t s = 0; s < 3; ++s) go[s][0] = 1;
  const double g = 0.5;
  const std::vector<double> v = state_values(mdp, go, g);
  CHECK(v == std::vector<double>{2, 2, 0});
  CHECK(expected_return(mdp, v) == 2);
  CHECK(visits(mdp, go, g) == std::vector<double>{1, 0.5, 0});
  const ActionTable q = action_values(mdp, v, g);
  CHECK(q[0][0] == 2);
  CHECK(q[0][1] == 1);
  const ActionTable best = optimal_values(mdp, g);
  CHECK(best == q);
  // Half of the time in place: V(1) = 1 + V(1)/4, V(0) = 1/2 + V(1)/4 + V(0)/4.
  const std::vector<double> half = state_values(mdp, uniform_policy(3, 2), g);
  CHECK(half[1] == doctest::Approx(4.0 / 3));
  CHECK(half[0] == doctest::Approx(10.0 / 9));
}

TEST_CASE("exact: the return is the visits' reward, and its gradient that of differences") {
  const Mdp mdp = small_mdp(3, 5, 3);
  const double g = 0.9;
  ActionTable logits = random_table(5, 3, 11);
  const auto objective = [&] {
    return expected_return(mdp, state_values(mdp, softmax(logits), g));
  };
  const ActionTable policy = softmax(logits);
  const std::vector<double> d = visits(mdp, policy, g);
  const Tensor rewards = mdp.rewards();
  double sum = 0;
  for (index_t s = 0; s < 5; ++s)
    for (index_t a = 0; a < 3; ++a) sum += d[s] * policy[s][a] * rewards.at({s, a});
  CHECK(sum == doctest::Approx(objective()).epsilon(1e-10));

  const ActionTable gradient = policy_gradient(mdp, policy, g);
  check_gradient(objective, logits, gradient);
}

TEST_CASE("exact: an MDP without end and without discount is refused") {
  Mdp mdp("for_ever", 2, {"on"});
  mdp.set(0, 0, {{1, 0, 1}});
  CHECK_THROWS_AS(state_values(mdp, uniform_policy(2, 1), 1), NumericError);
}

TEST_CASE("Q-learning finds the optimum of a random world") {
  const World world = random_world({.side = 7, .walls = 0.15, .seed = 4});
  const Mdp mdp = make_mdp("w", world, {.noise = 0.1, .end = 0.01});
  const double g = 0.95;
  Draws draws{Rng(1)};
  const ActionTable q = q_learning(
      mdp, {.discount = g, .rate = 0.05, .explore = 0.3, .initial = 10, .episodes = 5000}, draws);
  const double best =
      expected_return(mdp, state_values(mdp, policy_of(optimal_values(mdp, g), 0), g));
  const double found = expected_return(mdp, state_values(mdp, policy_of(q, 0), g));
  CHECK(found <= best + 1e-9);
  CHECK(found > 0.95 * best);
  const ActionTable optimal = optimal_values(mdp, g);
  double value = 0;
  for (const double v : optimal[world.start]) value = std::max(value, v);
  CHECK(best == doctest::Approx(value).epsilon(1e-9));
}

TEST_CASE("soft values: the equations hold, and learning arrives at them") {
  const Mdp mdp = small_mdp(8, 4, 3);
  const double beta = 2, g = 0.8;
  const ActionTable weights = soft_weights(softmax(random_table(4, 3, 5)), 0.7);
  const ActionTable q = soft_values(mdp, weights, beta, g);
  const ActionTable policy = soft_policy(q, weights, beta);
  std::vector<double> v(4);
  for (index_t s = 0; s < 4; ++s) {
    v[s] = soft_value(q[s], weights[s], beta);
    CHECK(std::accumulate(policy[s].begin(), policy[s].end(), 0.0) == doctest::Approx(1));
    for (index_t a = 0; a < 3; ++a)
      CHECK(policy[s][a] ==
            doctest::Approx(weights[s][a] * std::exp(beta * (q[s][a] - v[s]))).epsilon(1e-10));
  }
  const ActionTable again = action_values(mdp, v, g);
  for (std::size_t k = 0; k < q.values().size(); ++k)
    CHECK(q.values()[k] == doctest::Approx(again.values()[k]).epsilon(1e-10));
  // The same V is the value of that policy under the regularised reward.
  ActionTable bonus(4, 3);
  for (std::size_t k = 0; k < q.values().size(); ++k)
    bonus.values()[k] = std::log(weights.values()[k] / policy.values()[k]) / beta;
  const std::vector<double> regularised = state_values(mdp, policy, g, &bonus);
  for (index_t s = 0; s < 4; ++s) CHECK(regularised[s] == doctest::Approx(v[s]).epsilon(1e-9));

  ActionTable learned(4, 3), counts(4, 3);
  Draws draws{Rng(3)};
  const SoftQOptions options{.beta = beta, .discount = g, .rate = 0.005, .max_steps = 50};
  double steps = 0;
  for (int k = 0; k < 100000; ++k)
    steps +=
        static_cast<double>(soft_q_episode(mdp, weights, options, draws, learned, counts).steps);
  CHECK(std::accumulate(counts.values().begin(), counts.values().end(), 0.0) == steps);
  for (std::size_t k = 0; k < 9; ++k)  // episodes end in the last state, nothing is learned there
    CHECK(std::abs(learned.values()[k] - q.values()[k]) < 0.1);
  CHECK(testing::error_text<ValueError>([&] { soft_values(mdp, weights, beta, 1); }) ==
        "soft values of 'small': discount 1, expected one below 1");
}

TEST_CASE("REINFORCE: its mean is the exact gradient; returns by hand") {
  Episode by_hand;
  by_hand.states = {0, 1, 2};
  by_hand.actions = {0, 0, 0};
  by_hand.rewards = {1, 2, 4};
  CHECK(by_hand.returns(0.5) == std::vector<double>{3, 4, 4});

  // Without discount, so that visits are counted as they come. Episodes end by themselves.
  const Mdp mdp = small_mdp(2, 4, 3);
  const ActionTable policy = softmax(random_table(4, 3, 9));
  const ActionTable exact = policy_gradient(mdp, policy, 1);
  constexpr int kEpisodes = 200000;
  std::vector<double> sum(12, 0.0), baseline = state_values(mdp, policy, 1);
  Draws draws{Rng(5)};
  for (int k = 0; k < kEpisodes; ++k) {
    const Episode episode = play_episode(mdp, policy, 1000, draws);
    std::vector<double> advantages = episode.returns(1);
    for (index_t t = 0; t < episode.steps(); ++t) advantages[t] -= baseline[episode.states[t]];
    add_reinforce(episode, policy, advantages, 1.0 / kEpisodes, sum);
  }
  for (std::size_t k = 0; k < sum.size(); ++k) CHECK(std::abs(-sum[k] - exact.values()[k]) < 0.02);
}

TEST_CASE("REINFORCE and distillation: the gradients of their losses") {
  const Mdp mdp = small_mdp(6, 4, 3);
  ActionTable logits = random_table(4, 3, 2);
  const ActionTable teacher = softmax(random_table(4, 3, 3));
  Draws draws{Rng(7)};
  const Episode episode = play_episode(mdp, softmax(logits), 9, draws);
  const std::vector<double> advantages = episode.returns(0.9);

  ActionTable gradient(4, 3);
  add_reinforce(episode, softmax(logits), advantages, 0.5, gradient.values());
  check_gradient(
      [&] {
        const ActionTable p = softmax(logits);
        double loss = 0;
        for (index_t t = 0; t < episode.steps(); ++t)
          loss -= 0.5 * advantages[t] * std::log(p[episode.states[t]][episode.actions[t]]);
        return loss;
      },
      logits, gradient);

  ActionTable pull(4, 3);
  add_distillation(episode, softmax(logits), teacher, 2, pull.values());
  check_gradient(
      [&] {
        const ActionTable p = softmax(logits);
        double loss = 0;
        for (const index_t s : episode.states)
          for (index_t a = 0; a < 3; ++a)
            loss += 2 * teacher[s][a] * std::log(teacher[s][a] / p[s][a]);
        return loss;
      },
      logits, pull);
}

TEST_CASE("drawing: impossible outcomes never come, frequencies are the probabilities") {
  const double p[] = {0, 0.25, 0, 0.75, 0};
  int count[5] = {};
  Draws draws{Rng(1)};
  for (int k = 0; k < 40000; ++k) ++count[draw(p, draws)];
  CHECK(count[0] + count[2] + count[4] == 0);
  CHECK(std::abs(count[1] / 40000.0 - 0.25) < 0.01);
}
