// Decentralised policy gradient: weights, gradients, the analytic values of Zeng et al., and the
// two orders of mixing and stepping.
#include <concord/rl/decentralised.h>
#include <concord/rl/worlds.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

using namespace concord;
using namespace concord::rl;
using doctest::Approx;

namespace {

/// Two consequences per action, dense enough that nothing is special; state 3 may end.
Mdp random_mdp(std::uint64_t seed, index_t states = 5, int actions = 3) {
  Mdp mdp("random", states, std::vector<std::string>(static_cast<std::size_t>(actions), "a"));
  Draws draw(Rng(seed).fork("mdp"));
  double sum = 0;
  for (double& p : mdp.start) sum += p = draw.uniform(0.1, 1);
  for (double& p : mdp.start) p /= sum;
  for (index_t s = 0; s < states; ++s) {
    for (int a = 0; a < actions; ++a) {
      const double p = draw.uniform();
      const auto next = [&] { return draw.below(static_cast<int>(states)); };
      const auto reward = [&] { return static_cast<float>(draw.uniform(-1, 1)); };
      mdp.set(s, a, {{p, next(), reward(), s == 3}, {1 - p, next(), reward()}});
    }
  }
  return mdp;
}

std::vector<double> random_theta(std::uint64_t seed, index_t n) {
  std::vector<double> theta(static_cast<std::size_t>(n));
  for (std::size_t k = 0; k < theta.size(); ++k) theta[k] = Rng(seed).fork("theta").normal(k);
  return theta;
}

std::vector<TabularTask> tasks_of(char map, double gamma = 0.95) {
  std::vector<TabularTask> tasks;
  for (int i = 0; i < zeng_environments(map); ++i)
    tasks.emplace_back(make_mdp("map", zeng_world(map, i), {}), gamma);
  return tasks;
}

/// theta of the chain with pi(left|S3) = p, left for sure in S2 and S4 (to 1e-17).
std::vector<double> chain_theta(double p) {
  std::vector<double> theta(10, 0.0);
  theta[2] = theta[6] = 40;
  theta[4] = std::log(p / (1 - p));
  return theta;
}

double sum_of_values(std::vector<TabularTask> tasks, std::span<const double> theta) {
  double sum = 0;
  for (TabularTask& t : tasks) sum += t.value(theta);
  return sum;
}

double spread(const Tensor& theta, const Tensor& mean) {
  double most = 0;
  for (index_t i = 0; i < theta.dim(0); ++i)
    for (index_t k = 0; k < mean.numel(); ++k)
      most = std::max(most, std::abs(theta[i].data<double>()[k] - mean.data<double>()[k]));
  return most;
}

Tensor mean_of(const Tensor& theta) {
  const Tensor mean = Tensor::zeros({theta.dim(1), theta.dim(2)}, DType::f64);
  for (index_t i = 0; i < theta.dim(0); ++i)
    for (index_t k = 0; k < mean.numel(); ++k)
      mean.data<double>()[k] += theta[i].data<double>()[k] / static_cast<double>(theta.dim(0));
  return mean;
}

}  // namespace

TEST_CASE("weights: symmetric, rows and columns add up to 1, lazy, on edges only") {
  for (const std::string& name : graph_names()) {
    for (const int n : {1, 2, 5, 6}) {
      for (const Metropolis form : {Metropolis::degree, Metropolis::degree_plus_one}) {
        CAPTURE(name);
        CAPTURE(n);
        const Graph graph = make_graph(name, n, 3);
        const Tensor w = mixing_weights(graph, form);
        for (int i = 0; i < n; ++i) {
          double row = 0, column = 0;
          for (int j = 0; j < n; ++j) {
            row += w.at({i, j});
            column += w.at({j, i});
            const auto& hears = graph.neighbours[i];
            const bool edge = std::find(hears.begin(), hears.end(), j) != hears.end();
            CHECK((w.at({i, j}) > 0) == (edge || i == j));
          }
          CHECK(row == Approx(1).epsilon(1e-15));
          CHECK(column == Approx(1).epsilon(1e-15));
          CHECK(w.at({i, i}) >= 0.5 - 1e-15);
        }
        const auto sigma = singular_values(w);
        CHECK(sigma[0] == Approx(1).epsilon(1e-12));
        if (n > 1 && name != "none") CHECK(sigma[1] < 1 - 1e-3);
      }
    }
  }
  const auto ring = [](Metropolis form) { return mixing_weights(make_graph("ring", 4), form); };
  CHECK(ring(Metropolis::degree).at({0, 1}) == 0.25);
  CHECK(ring(Metropolis::degree).at({0, 0}) == 0.5);
  CHECK(ring(Metropolis::degree_plus_one).at({0, 3}) == 1.0 / 6);
  // The ring of four: eigenvalues 1 - 2w (1 - cos(2 pi k / 4)) = 1, 1/2, 1/2, 0 for w = 1/4.
  const auto sigma = singular_values(ring(Metropolis::degree));
  CHECK(sigma[1] == Approx(0.5).epsilon(1e-12));
  CHECK(sigma[3] == Approx(0).scale(1).epsilon(1e-7));
  CHECK_THROWS_AS(make_graph("rings", 4), ValueError);
}

TEST_CASE("the exact gradient is that of the value, and of the regulariser") {
  const double lambda = 0.3;
  for (const std::uint64_t seed : {1, 2, 3}) {
    TabularTask task(random_mdp(seed), 0.9, lambda);
    const auto theta = random_theta(seed, task.parameters());
    const auto objective = [&](const std::vector<double>& at) {
      double log_pi = 0;
      for (std::size_t s = 0; s < 5; ++s) {
        double sum = 0;
        for (std::size_t a = 0; a < 3; ++a) sum += std::exp(at[3 * s + a]);
        for (std::size_t a = 0; a < 3; ++a) log_pi += at[3 * s + a] - std::log(sum);
      }
      return task.value(at) - lambda * (-log_pi / 15 - std::log(3.0));
    };
    std::vector<double> gradient(theta.size());
    CHECK(task.gradient(theta, gradient) == task.value(theta));
    for (std::size_t k = 0; k < theta.size(); ++k) {
      auto up = theta, down = theta;
      up[k] += 1e-5;
      down[k] -= 1e-5;
      CHECK(gradient[k] == Approx((objective(up) - objective(down)) / 2e-5).epsilon(1e-8).scale(1));
    }
  }
  CHECK_THROWS_AS(TabularTask(random_mdp(1), 1.0), ValueError);
}

TEST_CASE("values follow Bellman's equation, also where the band is narrow") {
  // A grid of 10 columns: the band is 10 wide, the elimination stays in it.
  TabularTask task(make_mdp("map", zeng_world('d', 2), {.noise = 0.2, .end = 0.01}), 0.95);
  const auto theta = random_theta(5, task.parameters());
  const Mdp& mdp = task.mdp();
  std::vector<double> v(100, 0.0);
  for (int sweep = 0; sweep < 2000; ++sweep) {
    std::vector<double> next(100, 0.0);
    for (index_t s = 0; s < 100; ++s) {
      double sum = 0;
      for (index_t a = 0; a < 4; ++a) sum += std::exp(theta[4 * s + a]);
      for (index_t a = 0; a < 4; ++a)
        for (const Consequence& c : mdp.at(s, a))
          next[s] += std::exp(theta[4 * s + a]) / sum * c.probability *
                     (c.reward + (c.terminal ? 0 : 0.95 * v[c.next]));
    }
    v = next;
  }
  CHECK(task.value(theta) == Approx(v[0]).epsilon(1e-12));
}

TEST_CASE("the sampled gradient is the exact one in the mean") {
  TabularTask task(random_mdp(4), 0.8, 0.1);
  const auto theta = random_theta(4, task.parameters());
  std::vector<double> exact(theta.size()), sampled(theta.size()), sum(theta.size()),
      squares(theta.size());
  task.gradient(theta, exact);
  constexpr int kBatches = 400;
  for (int b = 0; b < kBatches; ++b) {
    task.sampled_gradient(theta, Draws(Rng(9).fork(b)), 50, 120, sampled);
    for (std::size_t k = 0; k < sum.size(); ++k) {
      sum[k] += sampled[k];
      squares[k] += sampled[k] * sampled[k];
    }
  }
  for (std::size_t k = 0; k < sum.size(); ++k) {
    const double mean = sum[k] / kBatches;
    const double error = std::sqrt((squares[k] / kBatches - mean * mean) / kBatches);
    CHECK(std::abs(mean - exact[k]) < 4.5 * error);
    CHECK(error < 0.01);
  }
}

TEST_CASE("the two-task chain has the values of section 3.1") {
  for (const auto& [gamma, best, at_30] : {std::tuple{0.9, 1.512605, 1.455789},
                                           {0.95, 1.731207, 1.685827},
                                           {0.99, 1.941367, 1.927699}}) {
    CAPTURE(gamma);
    const auto value = [gamma = gamma](double p) {
      return sum_of_values({TabularTask(zeng_chain(0), gamma), TabularTask(zeng_chain(1), gamma)},
                           chain_theta(p));
    };
    const auto closed = [g = gamma](double p) {
      return p * g / (1 - (1 - p) * g * g) + (1 - p) * g / (1 - p * g * g);
    };
    CHECK(value(0.5) == Approx(best).epsilon(1e-6));
    CHECK(value(0.5) == Approx(2 * gamma / (2 - gamma * gamma)).epsilon(1e-12));
    CHECK(value(0.3) == Approx(at_30).epsilon(1e-6));
    CHECK(value(0.3) == Approx(closed(0.3)).epsilon(1e-12));
    CHECK(value(1 - 1e-12) == Approx(gamma).epsilon(1e-9));
    for (double p = 0.01; p < 1; p += 0.01) CHECK(value(p) <= value(0.5) + 1e-12);
  }
}

TEST_CASE("the drift chain: its stationary points, the best at the ends, the worst in the middle") {
  for (const auto& [g, p, end, middle] :
       {std::tuple{0.9, 0.7, -0.208676, -0.605042}, {0.5, 0.8, -0.296053, -0.342857}}) {
    std::vector<TabularTask> tasks;
    for (int i = 0; i < 2; ++i) tasks.emplace_back(zeng_drift_chain(i, p), g);
    CHECK(sum_of_values(tasks, chain_theta(1 - 1e-12)) == Approx(end).epsilon(2e-6));
    CHECK(
        sum_of_values(tasks, chain_theta(1 - 1e-12)) ==
        Approx(g * (-2 * g * g * p + g * g + 2 * p - 1) / (g * g * g * g * (p * p - p) + g * g - 1))
            .epsilon(1e-10));
    CHECK(sum_of_values(tasks, chain_theta(0.5)) == Approx(middle).epsilon(2e-6));
    CHECK(sum_of_values(tasks, chain_theta(0.5)) ==
          Approx(g * (2 - 4 * p) / (2 - g * g)).epsilon(1e-12));
    // Stationary: the gradients of the two tasks cancel.
    std::vector<double> one(10), two(10);
    tasks[0].gradient(chain_theta(0.5), one);
    tasks[1].gradient(chain_theta(0.5), two);
    for (std::size_t k = 0; k < 10; ++k)
      CHECK(one[k] + two[k] == Approx(0).scale(1).epsilon(1e-15));
  }
}

TEST_CASE("on the chain the mean policy comes to the stochastic optimum; the agents stay near it") {
  const auto comm = connect();
  const auto tasks = [] {
    return std::vector<TabularTask>{TabularTask(zeng_chain(0), 0.9),
                                    TabularTask(zeng_chain(1), 0.9)};
  };
  DecentralisedAgents agents(*comm, tasks(),
                             mixing_weights(make_graph("complete", 2), Metropolis::degree),
                             {.alpha = 0.5});
  for (int k = 0; k < 20000; ++k) agents.step();
  const Tensor& theta = agents.collect();
  const double best = 2 * 0.9 / (2 - 0.81);
  const double of_mean = sum_of_values(tasks(), mean_of(theta).values<double>());
  CHECK(of_mean < best);
  // A separate program in double precision printed 1.51239 for the mean, 1.51136 for each agent.
  CHECK(std::abs(of_mean - 1.51239) < 6e-6);
  for (int i = 0; i < 2; ++i)
    CHECK(std::abs(sum_of_values(tasks(), theta[i].values<double>()) - 1.51136) < 6e-6);
}

TEST_CASE("the mean of the agents follows the mean of their gradients") {
  const auto comm = connect();
  const double alpha = 0.7;
  const Tensor w = mixing_weights(make_graph("path", 4), Metropolis::degree);
  DecentralisedAgents agents(*comm, tasks_of('b'), w, {.alpha = alpha});
  auto tasks = tasks_of('b');
  std::vector<double> gradient(400);
  for (int k = 0; k < 30; ++k) {
    const Tensor before = agents.collect().clone();
    const Tensor expected = mean_of(before);
    for (int i = 0; i < 4; ++i) {
      tasks[i].gradient(before[i].values<double>(), gradient);
      for (index_t e = 0; e < 400; ++e) expected.data<double>()[e] += alpha / 4 * gradient[e];
    }
    agents.step();
    CHECK(testing::relative_error(mean_of(agents.collect()), expected) < 1e-13);
  }
}

TEST_CASE("equal tasks from equal starts are policy gradient on one") {
  const auto comm = connect();
  const auto copies = [](int n) {
    return std::vector<TabularTask>(static_cast<std::size_t>(n), tasks_of('a')[1]);
  };
  DecentralisedAgents many(*comm, copies(5),
                           mixing_weights(make_graph("ring", 5), Metropolis::degree_plus_one), {});
  DecentralisedAgents one(*comm, copies(1), averaging_weights(1), {});
  for (int k = 0; k < 100; ++k) {
    many.step();
    one.step();
  }
  for (int i = 0; i < 5; ++i)
    CHECK(testing::relative_error(many.collect()[i], one.collect()[0]) < 1e-10);
}

TEST_CASE(
    "averaging equals the centre in every step if mixed after the step, else in the first only") {
  const auto comm = connect();
  DecentralisedAgents first(*comm, tasks_of('c'), averaging_weights(4), {});
  DecentralisedAgents then(*comm, tasks_of('c'), averaging_weights(4), {.mix_first = false});
  auto tasks = tasks_of('c');
  const Tensor centre = Tensor::zeros({100, 4}, DType::f64);
  std::vector<double> gradient(400);
  for (int k = 0; k < 20; ++k) {
    std::vector<double> sum(400, 0.0);
    for (int i = 0; i < 4; ++i) {
      tasks[i].gradient(centre.values<double>(), gradient);
      for (std::size_t e = 0; e < 400; ++e) sum[e] += gradient[e] / 4;
    }
    for (std::size_t e = 0; e < 400; ++e) centre.data<double>()[e] += sum[e];
    first.step();
    then.step();
    CAPTURE(k);
    CHECK(spread(then.collect(), centre) < 1e-12);
    CHECK(testing::relative_error(mean_of(first.collect()), centre) < (k == 0 ? 1e-13 : 1));
    CHECK(spread(first.collect(), centre) > 1e-4);  // each has its own gradient in it
    if (k == 0) continue;
    CHECK(testing::relative_error(mean_of(first.collect()), centre) > 1e-9);
  }
}

TEST_CASE("steps continue where collect and restore left off") {
  const auto comm = connect();
  const DecentralisedOptions options{.episodes = 2, .max_steps = 60, .seed = 5};
  const Tensor w = mixing_weights(make_graph("random", 6, 1), Metropolis::degree);
  DecentralisedAgents through(*comm, tasks_of('e'), w, options),
      before(*comm, tasks_of('e'), w, options), after(*comm, tasks_of('e'), w, options);
  for (int k = 0; k < 40; ++k) through.step();
  for (int k = 0; k < 17; ++k) before.step();
  after.restore(before.collect(), before.steps());
  for (int k = 17; k < 40; ++k) after.step();
  CHECK(testing::relative_error(after.collect(), through.collect()) == 0);
  CHECK(through.collect().to(DType::f64).at({5, 9, 0}) != 0);
}
