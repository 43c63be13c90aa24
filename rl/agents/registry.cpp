#include <concord/multitask/registry.h>
#include <concord/multitask/step_options.h>
#include <concord/rl/agents/a2c.h>
#include <concord/rl/agents/distral_a2c.h>
#include <concord/rl/agents/dqn.h>
#include <concord/rl/agents/impala.h>
#include <concord/rl/agents/pqn.h>
#include <concord/rl/agents/registry.h>
#include <concord/rl/agents/reinforce.h>
#include <concord/rl/agents/sac.h>
#include <concord/rl/registry.h>
#include <concord/tensor/device.h>

#include <fmt/format.h>

#include <array>
#include <limits>

namespace concord::rl {
namespace {

constexpr double kMost = std::numeric_limits<double>::infinity();

// Each reader gives a field its option's value; the field's own is the default.
void read(Options& o, const char* name, double& x, double low = 0, double high = kMost) {
  x = o.number(name, x, low, high);
}
void read(Options& o, const char* name, index_t& x, int low = 0) {
  x = o.integer(name, static_cast<int>(x), low, std::numeric_limits<int>::max());
}
void read(Options& o, const char* name, bool& x) {
  x = o.choice(name, {"true", "false"}, x ? "true" : "false") == "true";
}
void read(Options& o, const char* name, std::string& x) { x = o.text(name, x); }

void read(Options& o, TrunkOptions& t) {
  read(o, "network", t.name);
  read(o, "activation", t.activation);
  read(o, "layer_norm", t.layer_norm);
  const std::vector<double> hidden = o.numbers("hidden");
  if (!hidden.empty()) t.hidden.assign(hidden.begin(), hidden.end());
}

void read(Options& o, LearnerOptions& l, const std::string& prefix = "") {
  const auto name = [&](const std::string& field) { return prefix + field; };
  read(o, name("method").c_str(), l.method);
  read(o, name("optimizer").c_str(), l.optimizer);
  read(o, name("rate").c_str(), l.rate);
  read(o, name("eps").c_str(), l.eps);
  read(o, name("clip_norm").c_str(), l.clip_norm);
  l.device = device_from(o.text("device", "cpu"));
  Options known(l.method);
  multitask::read_step_options(known, {});
  auto names = known.read();
  for (const auto& own : multitask::default_options(l.method)) names.push_back(own);
  for (const auto& [option, standard] : names)
    if (const std::string value = o.text(name("method." + option), ""); !value.empty())
      l.method_options[option] = value;
}

void read(Options& o, Exploration& e) {
  read(o, "epsilon_start", e.start, 0, 1);
  read(o, "epsilon_end", e.end, 0, 1);
  read(o, "epsilon_steps", e.steps);
}

void read(Options& o, ReplayOptions& r) {
  read(o, "capacity", r.capacity, 1);
  read(o, "n", r.n, 1);
  read(o, "gamma", r.gamma, 0, 1);
}

void read(Options& o, OnPolicyOptions& p) {
  read(o, p.network.trunk);
  read(o, "separate", p.network.separate);
  read(o, "shared_heads", p.network.shared_heads);
  read(o, p.learner);
  read(o, "steps", p.steps);
  read(o, "gamma", p.gamma, 0, 1);
  read(o, "entropy", p.entropy);
  read(o, "value", p.value);
  read(o, "reward_clip", p.reward_clip);
  read(o, "popart", p.popart, 0, 1);
  read(o, "standardise", p.standardise);
  read(o, "apart", p.apart);
  read(o, "anneal", p.anneal);
}

PpoOptions read_ppo(Options& o) {
  PpoOptions p;
  read(o, static_cast<OnPolicyOptions&>(p));
  read(o, "lambda", p.lambda, 0, 1);
  read(o, "clip", p.clip);
  read(o, "clip_value", p.clip_value);
  read(o, "epochs", p.epochs, 1);
  read(o, "minibatches", p.minibatches, 1);
  o.finish();
  return p;
}

/// Reads what is common to its base and then, with `own`, the rest.
template <class A, class O, class F>
std::unique_ptr<Agent> make(EnvPtr env, Options& options, std::uint64_t seed, F own) {
  O o;
  if constexpr (std::is_base_of_v<OnPolicyOptions, O>)
    read(options, static_cast<OnPolicyOptions&>(o));
  own(options, o);
  options.finish();
  return env ? std::make_unique<A>(std::move(env), o, seed) : nullptr;
}

}  // namespace

std::span<const AgentEntry> agents() {
  static const std::array kAll{
      AgentEntry{"ppo", "clipped policy gradient, several epochs on each stretch",
                 "Schulman et al., 1707.06347", true, true,
                 [](EnvPtr env, Options& options, std::uint64_t seed) -> std::unique_ptr<Agent> {
                   const PpoOptions o = read_ppo(options);
                   return env ? std::make_unique<Ppo>(std::move(env), o, seed) : nullptr;
                 }},
      AgentEntry{"a2c", "advantage actor-critic, one step on each short stretch",
                 "Mnih et al., 1602.01783", true, true,
                 [](EnvPtr env, Options& options, std::uint64_t seed) {
                   return make<A2c, A2cOptions>(
                       std::move(env), options, seed,
                       [](Options& o, A2cOptions& p) { read(o, "lambda", p.lambda, 0, 1); });
                 }},
      AgentEntry{"reinforce", "policy gradient on the returns of whole episodes", "Williams 1992",
                 true, true,
                 [](EnvPtr env, Options& options, std::uint64_t seed) {
                   return make<Reinforce, ReinforceOptions>(std::move(env), options, seed,
                                                            [](Options&, ReinforceOptions&) {});
                 }},
      AgentEntry{"impala", "actor-critic with lagging actors, corrected by V-trace",
                 "Espeholt et al., 1802.01561", true, true,
                 [](EnvPtr env, Options& options, std::uint64_t seed) {
                   return make<Impala, ImpalaOptions>(std::move(env), options, seed,
                                                      [](Options& o, ImpalaOptions& p) {
                                                        read(o, "lag", p.lag);
                                                        read(o, "lambda", p.lambda, 0, 1);
                                                        read(o, "rho", p.rho);
                                                        read(o, "c", p.c);
                                                      });
                 }},
      AgentEntry{"distral", "A2C of columns that share a distilled policy",
                 "Teh et al., 1707.04175", false, true,
                 [](EnvPtr env, Options& options, std::uint64_t seed) {
                   return make<DistralA2c, DistralA2cOptions>(std::move(env), options, seed,
                                                              [](Options& o, DistralA2cOptions& p) {
                                                                read(o, "form", p.form);
                                                                read(o, "beta", p.beta);
                                                                read(o, p.trunk);
                                                                read(o, p.learner);
                                                                read(o, "steps", p.steps, 1);
                                                                read(o, "gamma", p.gamma, 0, 1);
                                                                read(o, "lambda", p.lambda, 0, 1);
                                                                read(o, "value", p.value);
                                                                read(o, "anneal", p.anneal);
                                                              });
                 }},
      AgentEntry{"dqn", "Q-learning from a replay, with a target network", "Mnih et al., 2015",
                 false, true,
                 [](EnvPtr env, Options& options, std::uint64_t seed) {
                   return make<Dqn, DqnOptions>(std::move(env), options, seed,
                                                [](Options& o, DqnOptions& p) {
                                                  read(o, p.trunk);
                                                  read(o, p.learner);
                                                  read(o, p.replay);
                                                  read(o, "alpha", p.replay.alpha, 0, 1);
                                                  read(o, "beta", p.beta, 0, 1);
                                                  read(o, "batch", p.batch, 1);
                                                  read(o, "start", p.start);
                                                  read(o, "train_every", p.train_every, 1);
                                                  read(o, "target_every", p.target_every, 1);
                                                  read(o, p.exploration);
                                                  read(o, "double_q", p.double_q);
                                                  read(o, "huber", p.huber);
                                                  read(o, "reward_clip", p.reward_clip);
                                                });
                 }},
      AgentEntry{"pqn", "Q-learning with lambda-returns, without replay or target network",
                 "Gallici et al., 2407.04811", false, true,
                 [](EnvPtr env, Options& options, std::uint64_t seed) {
                   return make<Pqn, PqnOptions>(std::move(env), options, seed,
                                                [](Options& o, PqnOptions& p) {
                                                  read(o, p.trunk);
                                                  read(o, p.learner);
                                                  read(o, "steps", p.steps, 1);
                                                  read(o, "gamma", p.gamma, 0, 1);
                                                  read(o, "lambda", p.lambda, 0, 1);
                                                  read(o, "epochs", p.epochs, 1);
                                                  read(o, "minibatches", p.minibatches, 1);
                                                  read(o, p.exploration);
                                                  read(o, "reward_clip", p.reward_clip);
                                                  read(o, "anneal", p.anneal);
                                                });
                 }},
      AgentEntry{"sac", "soft actor-critic with a learned temperature",
                 "Haarnoja et al., 1812.05905", true, false,
                 [](EnvPtr env, Options& options, std::uint64_t seed) {
                   return make<Sac, SacOptions>(
                       std::move(env), options, seed, [](Options& o, SacOptions& p) {
                         read(o, p.trunk);
                         read(o, p.actor, "actor.");
                         read(o, p.critic, "critic.");
                         read(o, "temperature.rate", p.temperature.rate);
                         read(o, p.replay);
                         read(o, "batch", p.batch, 1);
                         read(o, "start", p.start);
                         read(o, "train_every", p.train_every, 1);
                         read(o, "tau", p.tau, 0, 1);
                         read(o, "alpha", p.alpha);
                         read(o, "target_entropy", p.target_entropy, -kMost);
                       });
                 }}};
  return kAll;
}

const AgentEntry& find_agent(std::string_view name) {
  std::vector<std::string> names;
  for (const AgentEntry& e : agents()) {
    if (e.name == name) return e;
    names.emplace_back(e.name);
  }
  throw_unknown("agent", name, names);
}

std::unique_ptr<Agent> make_agent(std::string_view name, EnvPtr env, const OptionMap& options,
                                  std::uint64_t seed) {
  Options o(std::string(name), options);
  return find_agent(name).make(std::move(env), o, seed);
}

PpoOptions ppo_options(const OptionMap& options) {
  Options o("ppo", options);
  return read_ppo(o);
}

std::vector<std::pair<std::string, std::string>> default_options_of_agent(std::string_view name) {
  Options o{std::string(name)};
  find_agent(name).make(nullptr, o, 0);
  return o.read();
}

}  // namespace concord::rl
