// Agents: the details that implementations get wrong, repeatability, several tasks, and that they
// learn.
#include <concord/rl/agents/a2c.h>
#include <concord/rl/agents/distral_a2c.h>
#include <concord/rl/agents/dqn.h>
#include <concord/rl/agents/impala.h>
#include <concord/rl/agents/ppo.h>
#include <concord/rl/agents/pqn.h>
#include <concord/rl/agents/reinforce.h>
#include <concord/rl/agents/sac.h>
#include <concord/rl/multi_env.h>
#include <concord/rl/registry.h>
#include <concord/rl/vectorised.h>
#include <concord/tests/multitask/counting_new.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>

using namespace concord;
using namespace concord::rl;

namespace {

/// Pays `pay` per step for three steps, then terminates, or is truncated there; shows the number of
/// its step, and what `offset` adds to it.
struct Steady {
  float pay = 5;
  bool truncate = false;
  int offset = 0;
  struct State {
    int count;
  };
  using Observed = float;
  using Action = int;
  EnvSpec spec() const {
    return {.name = "steady",
            .observation = {DType::f32, {1}},
            .action = {.count = 2, .names = {"a", "b"}},
            .max_steps = truncate ? 3 : 0};
  }
  void reset(State& s, Draws&) const { s.count = 0; }
  Outcome step(State& s, Action, Draws&) const { return {pay, ++s.count == 3 && !truncate}; }
  void observe(const State& s, float* out) const { *out = static_cast<float>(s.count + offset); }
  Canvas draw(const State&) const { return Canvas(1, 1); }
};

/// One step per episode: the reward is minus the squared distance of the action from `best`.
struct Aim {
  float best;
  struct State {
    int unused;
  };
  using Observed = float;
  using Action = const float*;
  EnvSpec spec() const {
    return {.name = "aim",
            .observation = {DType::f32, {1}},
            .action = {.dimensions = 1, .low = -2, .high = 2}};
  }
  void reset(State&, Draws&) const {}
  Outcome step(State&, Action a, Draws&) const { return {-(*a - best) * (*a - best), true}; }
  void observe(const State&, float* out) const { *out = 1; }
  Canvas draw(const State&) const { return Canvas(1, 1); }
};

EnvPtr catches(std::uint64_t seed, index_t n) {
  return make_env("catch", {.size = n, .seed = seed});
}

EnvPtr two_tasks(std::uint64_t seed) {
  std::vector<EnvPtr> members;
  members.push_back(vectorise(Steady{.pay = 1}, {.size = 3, .seed = seed}));
  members.push_back(
      vectorise(Steady{.pay = 40, .truncate = true, .offset = 10}, {.size = 2, .seed = seed}));
  return join(std::move(members));
}

/// What a learner sees, for looking at it.
class Probe final : public OnPolicyAgent {
 public:
  Probe(EnvPtr env, const OnPolicyOptions& o) : OnPolicyAgent("probe", std::move(env), o, 1) {}
  void iterate() override {
    collect(learner_->theta());
    evaluate_values();
    lambda_returns(worth_.stretch(), common_.gamma, 1, target_);
    advantages_from_targets();
    update_popart(worth_.rows());
    learn(worth_.rows());
  }
  Var policy_loss(const TaskBatch& b, const Var& log_prob) const override {
    batches.push_back({b.log_prob.clone(), b.advantage.clone(), b.value.clone(), b.target.clone()});
    now.push_back(log_prob.value().clone());
    return OnPolicyAgent::policy_loss(b, log_prob);
  }
  const Rollout& rollout() const { return rollout_; }
  const RolloutValues& worth() const { return worth_; }
  const Tensor& target() const { return target_; }
  using OnPolicyAgent::TaskBatch;
  mutable std::vector<TaskBatch> batches;
  mutable std::vector<Tensor> now;
};

OnPolicyOptions small(index_t steps) {
  OnPolicyOptions o;
  o.steps = steps;
  o.network.trunk.hidden = {8};
  return o;
}

using Make = std::function<std::unique_ptr<Agent>()>;

/// All agents, small.
std::vector<std::pair<const char*, Make>> all_agents() {
  const auto aim = [] { return vectorise(Aim{.best = 0.5f}, {.size = 2, .seed = 3}); };
  return {
      {"ppo",
       [] {
         PpoOptions o;
         o.steps = 16;
         o.popart = 0.01;
         o.learner.method = "gradvac";  // with a state
         o.apart = true;
         return std::make_unique<Ppo>(catches(1, 4), o, 7);
       }},
      {"ppo, continuous",
       [=] {
         PpoOptions o;
         o.steps = 16;
         return std::make_unique<Ppo>(aim(), o, 7);
       }},
      {"a2c", [] { return std::make_unique<A2c>(catches(1, 4), A2cOptions(), 7); }},
      {"reinforce",
       [] {
         ReinforceOptions o;
         o.steps = 10;
         return std::make_unique<Reinforce>(catches(1, 4), o, 7);
       }},
      {"impala",
       [] {
         ImpalaOptions o;
         o.lag = 2;
         return std::make_unique<Impala>(catches(1, 4), o, 7);
       }},
      {"distral",
       [] { return std::make_unique<DistralA2c>(two_tasks(1), DistralA2cOptions(), 7); }},
      {"dqn",
       [] {
         DqnOptions o;
         o.replay = {.capacity = 100, .n = 2, .alpha = 0.5};
         o.batch = 16;
         o.start = 20;
         o.target_every = 30;
         o.double_q = true;
         return std::make_unique<Dqn>(catches(1, 4), o, 7);
       }},
      {"pqn",
       [] {
         PqnOptions o;
         o.minibatches = 4;
         return std::make_unique<Pqn>(catches(1, 4), o, 7);
       }},
      {"sac",
       [=] {
         SacOptions o;
         o.trunk.hidden = {16};
         o.replay.capacity = 100;
         o.batch = 8;
         o.start = 6;
         return std::make_unique<Sac>(aim(), o, 7);
       }},
  };
}

void go(Agent& agent, int iterations) {
  for (int k = 0; k < iterations; ++k) agent.iterate();
}

TensorFile checkpoint(Agent& agent) {
  TensorFile file;
  agent.archive(Archive::save(file));
  for (auto& [name, t] : file.tensors) t = t.clone();
  return file;
}

/// The first name that differs in any bit; empty when none does.
std::string difference(const TensorFile& a, const TensorFile& b) {
  if (a.tensors.size() != b.tensors.size()) return "number of tensors";
  for (const auto& [name, t] : a.tensors) {
    const auto it = b.tensors.find(name);
    if (it == b.tensors.end() || it->second.bytes() != t.bytes()) return name;
    if (t.bytes() > 0 && std::memcmp(t.raw(), it->second.raw(), t.bytes()) != 0) return name;
  }
  return "";
}

}  // namespace

TEST_CASE("truncated episodes are bootstrapped from their own last state, terminated ones not") {
  for (const bool truncate : {false, true}) {
    CAPTURE(truncate);
    const EnvPtr env = vectorise(Steady{.truncate = truncate, .offset = 1}, {.size = 2, .seed = 1});
    const Rollout rollout(*env, 4);
    env->reset(rollout.observation[4]);
    rollout.go_on();
    for (index_t t = 0; t < 4; ++t) env->step(env->actions(), rollout.step(t));
    RolloutValues worth(rollout, {0, 2});
    worth.evaluate([](const Tensor& inputs, const Bounds&, std::span<float> out) {
      for (std::size_t k = 0; k < out.size(); ++k) out[k] = inputs.data<float>()[k];  // V(s) = s
    });
    // Shown: 1 2 3 | 1 2; the last state of the first episode shows 4.
    const float next[4] = {2, 3, truncate ? 4.0f : 0.0f, 2};
    for (index_t t = 0; t < 4; ++t) {
      CHECK(worth.stretch().next_value.at({t, 1}) == next[t]);
      CHECK(worth.stretch().ended.at({t, 1}) == (t == 2));
    }
  }
}

TEST_CASE("scores are raw, of whole episodes; rewards are clipped for learning alone") {
  OnPolicyOptions o = small(7);
  o.reward_clip = 1;
  o.gamma = 1;
  Probe agent(vectorise(Steady{.pay = 5}, {.size = 2, .seed = 1}), o);
  agent.iterate();
  for (const float r : agent.rollout().reward.values<float>()) CHECK(r == 1);
  CHECK(agent.episodes().mean_score(0) == 15);
  CHECK(agent.episodes().finished(0) == 4);
  const std::vector<Episode> episodes = agent.episodes().take();
  CHECK(episodes[2].length == 3);
  CHECK(episodes[2].at == 12);
  CHECK(agent.episodes().take().empty());
  CHECK(agent.target().at({0, 0}) == doctest::Approx(3));
}

TEST_CASE("advantages are standardised in each minibatch and task, when asked") {
  OnPolicyOptions o = small(6);
  o.standardise = true;
  Probe agent(two_tasks(1), o);
  agent.iterate();
  REQUIRE(agent.batches.size() == 2);
  for (const auto& b : agent.batches) {
    double mean = 0, square = 0;
    for (const float a : b.advantage.values<float>()) {
      mean += a;
      square += a * a;
    }
    const auto n = static_cast<double>(b.advantage.numel());
    CHECK(std::abs(mean / n) < 1e-5);
    CHECK(square / (n - 1) == doctest::Approx(1).epsilon(1e-4));
  }
  CHECK(agent.batches[0].advantage.numel() == 18);
  CHECK(agent.batches[1].advantage.numel() == 12);
}

TEST_CASE("the log-probabilities of acting are those of learning, before the first step") {
  Probe agent(two_tasks(1), small(5));
  agent.iterate();
  for (std::size_t t = 0; t < 2; ++t)
    CHECK(testing::relative_error(agent.now[t], agent.batches[t].log_prob) < 1e-5);
}

TEST_CASE("PopArt: values keep their units, losses see the normalised ones") {
  OnPolicyOptions o = small(6);
  o.popart = 0.5;
  Probe agent(two_tasks(1), o);
  agent.iterate();
  const double mean = agent.popart().mean(1), deviation = agent.popart().deviation(1);
  CHECK(mean > 10);
  CHECK(agent.popart().mean(0) < 3);
  // Row 0 of task 1's batch is step 0 of environment 3.
  CHECK(agent.batches[1].target.at({0}) ==
        doctest::Approx((agent.target().at({0, 3}) - mean) / deviation).epsilon(1e-4));
  CHECK(agent.batches[1].advantage.at({0}) ==
        doctest::Approx((agent.target().at({0, 3}) - agent.worth().stretch().value.at({0, 3})) /
                        deviation)
            .epsilon(1e-4));
}

TEST_CASE("weights start orthogonal with gains sqrt(2), 0.01 and 1, biases at zero") {
  OnPolicyOptions o = small(4);
  o.network.trunk.hidden = {12, 5};
  const Probe agent(make_env("cartpole", {.size = 2, .seed = 1}), o);
  const auto check = [&](const std::string& name, double gain) {
    const SliceId id = agent.store().find(name + ".weight");
    REQUIRE(id >= 0);
    const Tensor w = agent.learner().theta()[id];
    const index_t rows = w.dim(0), columns = w.dim(1), few = std::min(rows, columns);
    for (index_t i = 0; i < few; ++i) {
      for (index_t j = 0; j < few; ++j) {
        double dot = 0;
        for (index_t k = 0; k < std::max(rows, columns); ++k)
          dot += rows <= columns ? w.at({i, k}) * w.at({j, k}) : w.at({k, i}) * w.at({k, j});
        CHECK(dot == doctest::Approx(i == j ? gain * gain : 0).epsilon(1e-5));
      }
    }
    for (const float b :
         agent.learner().theta()[agent.store().find(name + ".bias")].values<float>())
      CHECK(b == 0);
  };
  check("actor.layers.0", std::sqrt(2.0));
  check("critic.layers.1", std::sqrt(2.0));
  check("policy.0", 0.01);
  check("value.0", 1);
}

TEST_CASE("learner: Adam's eps is 1e-5, the rate falls linearly, the norm is clipped") {
  ParameterStore store;
  const SliceId id = Scope(store).parameter("x", {1}, nn::init::constant(1));
  LearnerOptions o;
  Learner learner(store, 1, o, Rng(1));
  Stopwatch watch;
  const auto step = [&](double slope, double factor) {
    learner.step(
        [&](const Context& ctx, std::vector<Var>& losses) {
          losses.assign(1, slope * sum(ctx.parameter(id)));
        },
        watch, factor);
  };
  step(1e-5, 0.5);  // the first step of Adam is rate g / (|g| + eps)
  CHECK(learner.theta()[id].item() == doctest::Approx(1 - 2.5e-4 * 0.5 * 0.5).epsilon(1e-6));
  CHECK(learner.optimizer().rate() == doctest::Approx(1.25e-4));
  CHECK(learner.optimizer().clip.norm == 0.5);
  CHECK(linear_decay(0, 100) == 1);
  CHECK(linear_decay(25, 100) == 0.75);
  CHECK(linear_decay(200, 100) == 0);
  CHECK(linear_decay(200, 0) == 1);

  PpoOptions p;
  p.steps = 8;
  p.anneal = 64;
  Ppo agent(catches(1, 4), p, 1);
  agent.iterate();
  CHECK(agent.learner().optimizer().rate() == doctest::Approx(2.5e-4));
  agent.iterate();
  CHECK(agent.learner().optimizer().rate() == doctest::Approx(1.25e-4));
}

TEST_CASE("a run is repeated bit by bit, continued bit by bit, and the same on two threads") {
  const testing::TemporaryFolder folder;
  for (const auto& entry : all_agents()) {  // clang 14 cannot capture structured bindings
    CAPTURE(entry.first);
    const Make& make = entry.second;
    const auto a = make();
    go(*a, 6);
    const auto path = folder.path() / "checkpoint.safetensors";
    save_safetensors(path, checkpoint(*a));
    go(*a, 6);
    const auto b = make();
    b->archive(Archive::load(load_safetensors(path)));
    go(*b, 6);
    CHECK(difference(checkpoint(*a), checkpoint(*b)) == "");
    const int threads = omp_get_max_threads();
    omp_set_num_threads(threads == 1 ? 2 : 1);
    const auto c = make();
    go(*c, 12);
    omp_set_num_threads(threads);
    CHECK(difference(checkpoint(*a), checkpoint(*c)) == "");
  }
}

TEST_CASE("networks that are worth several threads: the same bits on one and on two") {
  const std::pair<const char*, Make> agents[] = {
      {"ppo",
       [] {
         PpoOptions o;
         o.network.trunk = {.name = "minatar", .hidden = {128}, .activation = "relu"};
         o.network.separate = false;
         o.steps = 24;
         return std::make_unique<Ppo>(make_env("breakout", {.size = 33, .seed = 1}), o, 7);
       }},
      {"dqn",
       [] {
         DqnOptions o;
         o.trunk = {.name = "minatar", .hidden = {128}, .activation = "relu"};
         o.start = 100;
         return std::make_unique<Dqn>(make_env("seaquest", {.size = 3, .seed = 1}), o, 7);
       }},
      {"sac", [] {
         SacOptions o;
         o.start = 20;
         o.replay.capacity = 1000;
         return std::make_unique<Sac>(make_env("pendulum", {.size = 5, .seed = 1}), o, 7);
       }}};
  const int threads = omp_get_max_threads();
  for (const auto& entry : agents) {
    CAPTURE(entry.first);
    const auto on = [&, &make = entry.second](int n) {
      omp_set_num_threads(n);
      const auto agent = make();
      while (agent->learner().steps() < 12) agent->iterate();
      return checkpoint(*agent);
    };
    CHECK(difference(on(1), on(2)) == "");
  }
  omp_set_num_threads(threads);
}

TEST_CASE("steady iterations ask for no memory beside the caching allocator") {
  if (!testing::kCountsNew) return;
  for (const auto& entry : all_agents()) {
    const std::string name = entry.first;
    CAPTURE(name);
    const auto agent = entry.second();
    go(*agent, 60);
    const long before = testing::new_calls;
    go(*agent, 20);
    CHECK(testing::new_calls - before <= 10);  // lists of finished episodes grow
  }
}

TEST_CASE("a checkpoint of another run is refused") {
  A2c a(catches(1, 4), A2cOptions(), 1);
  TensorFile file = checkpoint(a);
  A2c other(catches(1, 5), A2cOptions(), 1);
  CHECK(testing::error_text<FileError>([&] {
          other.archive(Archive::load(file));
        }).find("checkpoint: tensor 'env/environments' is of another run") == 0);
  const auto refusal = [&](const char* name, const Tensor& values) {
    TensorFile broken = file;
    broken.tensors.at(name) = values;
    A2c agent(catches(1, 4), A2cOptions(), 1);
    return testing::error_text<FileError>([&] { agent.archive(Archive::load(broken)); });
  };
  CHECK(refusal("episodes/score", Tensor::zeros({3}, DType::f64))
            .find("checkpoint: tensor 'episodes/score' is of another run") == 0);
  CHECK(refusal("episodes/finished", Tensor::full({1}, -1, DType::i64)) ==
        "checkpoint: a negative number of episodes");
  CHECK(refusal("env/layout", Tensor::zeros({3}, DType::i64)) ==
        "catch: the saved environments are of another kind or version");
}

TEST_CASE("double DQN: the online network chooses, the target network values") {
  const Tensor target = Tensor::from<float>({1, 5, 2, 7, 0, 3}, {2, 3});
  const Tensor online = Tensor::from<float>({9, 1, 2, 0, 1, 8}, {2, 3});
  Transitions b;
  b.reward = Tensor::from<float>({0.5f, -1}, {2});
  b.discount = Tensor::from<float>({0.9f, 0}, {2});
  float y[2];
  q_targets(b, target, online, y);
  CHECK(y[0] == doctest::Approx(0.5 + 0.9 * 1));
  CHECK(y[1] == -1);  // terminated
  q_targets(b, target, target, y);
  CHECK(y[0] == doctest::Approx(0.5 + 0.9 * 5));
}

TEST_CASE("epsilon-greedy: shares of random actions, none that does not exist") {
  const index_t n = 20000;
  const Tensor row = Tensor::from<float>({1, 3, 2, -1e9f}, {1, 4});
  const Tensor q = broadcast_to(Var(row), {n, 4}).value();
  const Tensor mask = mask_of(Tensor::from<std::uint8_t>({1, 1, 1, 0}, {4}));
  const Tensor actions = Tensor::empty({n}, DType::i64);
  epsilon_greedy(q, mask, 0.3, Rng(1), 0, actions);
  double count[4] = {};
  for (const auto a : actions.values<std::int64_t>()) ++count[a];
  CHECK(count[3] == 0);
  CHECK(std::abs(count[0] / n - 0.1) < 0.01);
  CHECK(std::abs(count[1] / n - 0.8) < 0.012);
  CHECK(Exploration{.start = 1, .end = 0.1, .steps = 10}(5) == doctest::Approx(0.55));
}

TEST_CASE("several tasks: one row per task, or per task and part; any method stands between") {
  for (const bool apart : {false, true}) {
    for (const char* method : {"sum", "pcgrad", "cagrad", "famo"}) {
      CAPTURE(apart);
      CAPTURE(method);
      PpoOptions o;
      o.steps = 12;
      o.minibatches = 2;
      o.apart = apart;
      o.learner.method = method;
      if (o.learner.method == "famo")  // policy losses may be negative
        o.learner.method_options = {{"low", apart ? "-99,-99,-99,-99" : "-99,-99"}};
      Ppo agent(two_tasks(2), o, 1);
      go(agent, 3);
      const auto& columns = agent.learner().telemetry().columns();
      const std::string last = apart ? "norm_3" : "norm_1";
      CHECK(std::count(columns.begin(), columns.end(), last) == 1);
      CHECK(std::count(columns.begin(), columns.end(), apart ? "norm_4" : "norm_2") == 0);
      CHECK(agent.learner().telemetry().steps() == 3 * 4 * 2);
      CHECK(agent.episodes().mean_score(0) == 3);
      CHECK(agent.episodes().mean_score(1) == 120);
    }
  }
}

TEST_CASE("several tasks: recorded task by task, the networks say what they say at once") {
  const EnvPtr env = two_tasks(1);
  for (const bool separate : {true, false}) {
    ParameterStore store;
    ActorCriticOptions o;
    o.separate = separate;
    const auto groups = head_groups(2);
    const ActorCritic network(Scope(store), *env, o, groups, groups);
    const Theta theta(store);
    theta.initialize(Rng(2));
    const Tensor x = Tensor::from<float>({0.5f, -1, 2, 0.25f, -3}, {5, 1});
    Tape tape;
    std::vector<Distribution> recorded, said;
    std::vector<Var> recorded_values, values;
    network({.theta = &theta, .tape = &tape}, x, {0, 3, 5}, &recorded, &recorded_values);
    network({.theta = &theta}, x, {0, 3, 5}, &said, &values);
    for (const std::size_t t : {0, 1}) {
      CHECK(testing::relative_error(recorded[t].log_p.value(), said[t].log_p.value()) == 0);
      CHECK(testing::relative_error(recorded_values[t].value(), values[t].value()) == 0);
    }
    network({.theta = &theta, .tape = &tape}, x, {0, 0, 5}, &recorded, nullptr);
    CHECK(!recorded[0].log_p.value().defined());
    CHECK(recorded[1].log_p.dim(0) == 5);
  }
}

TEST_CASE("the stopwatch: every moment of an iteration belongs to one phase") {
  Ppo agent(two_tasks(1), PpoOptions(), 1);
  const auto start = std::chrono::steady_clock::now();
  agent.iterate();
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  double sum = 0;
  for (int phase = 0; phase < static_cast<int>(Phase::count); ++phase) {
    CHECK(agent.watch().seconds(Phase{phase}) > 0);
    sum += agent.watch().seconds(Phase{phase});
  }
  CHECK(sum <= elapsed);
  CHECK(sum > 0.8 * elapsed);
}

TEST_CASE("actor and critic apart, the method 'sum': the same run as together") {
  const auto run = [](bool apart) {
    PpoOptions o;
    o.steps = 16;
    o.apart = apart;
    o.network.separate = false;
    auto agent = std::make_unique<Ppo>(catches(1, 4), o, 7);
    go(*agent, 3);
    return agent->learner().theta().values().clone();
  };
  CHECK(testing::relative_error(run(true), run(false)) < 1e-4);
}

TEST_CASE("tasks in disorder, and kinds of actions that an agent cannot take, are named") {
  CHECK(testing::error_text<ValueError>([] {
          Dqn(vectorise(Aim{.best = 0}, {.size = 1, .seed = 1}), DqnOptions(), 1);
        }) == "aim: Q-learning needs a finite set of actions");
  CHECK(testing::error_text<ValueError>([] { Sac(catches(1, 1), SacOptions(), 1); }) ==
        "sac: 'catch' has discrete actions, expected continuous ones");
  CHECK(testing::error_text<ValueError>([] {
          Reinforce(vectorise(Steady(), {.size = 1, .seed = 1}), ReinforceOptions(), 1);
        }) == "reinforce: episodes of 'steady' have no limit, expected `steps` to set one");
}

TEST_CASE("a teacher: the student becomes it when nothing else pays; gated, only where it agrees") {
  const Tensor logits = Tensor::from<float>({0, 3}, {1, 2});
  Teacher teacher;
  teacher.policy = [&](const Tensor& x, int) {
    return categorical(broadcast_to(Var(logits), {x.dim(0), 2}));
  };
  for (const bool cross_entropy : {false, true}) {
    PpoOptions o;
    o.steps = 16;
    o.entropy = 0;
    o.learner.rate = 5e-3;
    o.network.trunk.hidden = {8};
    teacher.cross_entropy = cross_entropy;
    o.teacher = teacher;
    Ppo student(vectorise(Steady{.pay = 0}, {.size = 4, .seed = 1}), o, 1);
    go(student, 30);
    std::vector<Distribution> said;
    student.network()({.theta = &student.learner().theta()}, Var(Tensor::full({1, 1}, 1)), {0, 1},
                      &said, nullptr);
    CHECK(std::exp(said[0].log_p.value().at({0, 1})) == doctest::Approx(0.9526).epsilon(0.02));
  }
  PpoOptions gated;
  gated.steps = 16;
  teacher.apart = true;
  gated.teacher = teacher;
  gated.learner.method = "cosine_gate";
  gated.learner.method_options = {{"mains", "0,1,0,1"}};
  Ppo student(two_tasks(1), gated, 1);
  go(student, 2);
  // Rows 0 and 1 are the rewards of two tasks, 2 and 3 their teachers, each behind its own gate.
  const multitask::Telemetry& telemetry = student.learner().telemetry();
  const auto column = [&](const char* name) {
    const auto& columns = telemetry.columns();
    const auto found = std::find(columns.begin(), columns.end(), name);
    REQUIRE(found != columns.end());
    return static_cast<std::size_t>(found - columns.begin());
  };
  REQUIRE(telemetry.held() == 2 * 4 * 4);
  for (int back = 0; back < telemetry.held(); ++back) {
    const auto row = telemetry.row(back);
    CHECK(row[column("weight_0")] == 1);
    CHECK(row[column("weight_1")] == 1);
    CHECK(row[column("weight_2")] == (row[column("cos_0_2")] >= 0));
    CHECK(row[column("weight_3")] == (row[column("cos_1_3")] >= 0));
  }
}

TEST_CASE("evaluation: whole episodes of every task, as many of each environment") {
  const A2c agent(two_tasks(1), A2cOptions(), 1);
  const EnvPtr env = two_tasks(5);
  const Evaluation all = evaluate(agent, *env, 7, false, 1);
  REQUIRE(all.score.size() == 2);
  CHECK(all.score[0] == doctest::Approx(3));
  CHECK(all.score[1] == doctest::Approx(120));
  CHECK(all.cut == std::vector<index_t>{0, 0});
  // Episodes take 3 steps. After 4 each of the five environments has finished one and begun
  // another; the third that task 0's first environment was to play is left out.
  const Evaluation some = evaluate(agent, *env, 7, false, 1, 4);
  CHECK(some.score[0] == doctest::Approx((3 * 3 + 3 * 1) / 6.0));
  CHECK(some.score[1] == doctest::Approx((2 * 120 + 2 * 40) / 4.0));
  CHECK(some.cut == std::vector<index_t>{3, 2});
  CHECK_THROWS_AS(evaluate(agent, *env, 1, false, 1, 0), ValueError);
}

TEST_CASE("CartPole: PPO learns in 60,000 steps") {
  PpoOptions o;
  o.learner.rate = 1e-3;
  Ppo agent(make_env("cartpole", {.size = 8, .seed = 1}), o, 1);
  while (agent.steps() < 60'000) agent.iterate();
  CHECK(agent.episodes().mean_score(0) > 120);  // a random policy: 22
}

TEST_CASE("Catch: every agent for discrete actions learns it") {
  const auto score = [](Agent& agent, std::int64_t steps) {
    while (agent.steps() < steps) agent.iterate();
    return agent.episodes().mean_score(0);  // a random policy: about -0.6, the best: 1
  };
  PpoOptions ppo;
  ppo.steps = 32;
  ppo.learner.rate = 2e-3;
  Ppo a(catches(1, 16), ppo, 1);
  CHECK(score(a, 20'000) > 0.8);
  A2cOptions a2c;
  a2c.learner.rate = 2e-3;
  A2c b(catches(1, 16), a2c, 1);
  CHECK(score(b, 30'000) > 0.7);
  DistralA2c g(catches(1, 16), DistralA2cOptions(), 1);  // at 2e-3 pi_0 holds it back until 90,000
  CHECK(score(g, 60'000) > 0.7);
  ImpalaOptions impala;
  impala.learner.rate = 2e-3;
  Impala c(catches(1, 16), impala, 1);
  CHECK(score(c, 40'000) > 0.7);
  ReinforceOptions reinforce;
  reinforce.steps = 10;
  reinforce.learner.rate = 5e-3;
  Reinforce d(catches(1, 16), reinforce, 1);
  CHECK(score(d, 40'000) > 0.7);
  DqnOptions dqn;
  dqn.trunk.hidden = {64};
  dqn.start = 500;
  dqn.batch = 32;
  dqn.learner.rate = 1e-3;
  dqn.exploration = {.start = 1, .end = 0.02, .steps = 8'000};
  dqn.replay.n = 3;
  Dqn e(catches(1, 8), dqn, 1);
  CHECK(score(e, 16'000) > 0.7);
  PqnOptions pqn;
  pqn.minibatches = 4;
  pqn.learner.rate = 2e-3;
  pqn.exploration = {.start = 1, .end = 0.02, .steps = 10'000};
  Pqn f(catches(1, 16), pqn, 1);
  CHECK(score(f, 25'000) > 0.7);
}

TEST_CASE("continuous actions: PPO and SAC find the best one") {
  const auto aim = [](float best) { return vectorise(Aim{.best = best}, {.size = 4, .seed = 1}); };
  PpoOptions ppo;
  ppo.steps = 32;
  ppo.entropy = 0;
  ppo.learner.rate = 5e-3;
  Ppo a(aim(1.2f), ppo, 1);
  while (a.steps() < 10'000) a.iterate();
  CHECK(a.episodes().mean_score(0) > -0.15);  // at first -(1.2^2 + 1)
  SacOptions sac;
  sac.trunk.hidden = {32};
  sac.replay.capacity = 5'000;
  sac.batch = 64;
  sac.start = 200;
  sac.train_every = 4;
  sac.actor.rate = sac.critic.rate = sac.temperature.rate = 5e-3;
  Sac b(aim(1.2f), sac, 1);
  while (b.steps() < 6'000) b.iterate();
  CHECK(b.episodes().mean_score(0) > -0.15);
  CHECK(b.temperature(0) < 0.5);
  const EnvPtr test = aim(1.2f);
  CHECK(evaluate(b, *test, 4, true, 1).score[0] > -0.02);
}
