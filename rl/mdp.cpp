#include <concord/rl/mdp.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::rl {

Mdp::Mdp(std::string name, index_t states, std::vector<std::string> actions)
    : name(std::move(name)), action_names(std::move(actions)), states_(states) {
  if (states < 1 || action_names.empty()) {
    throw ValueError(fmt::format("mdp '{}': {} states and {} actions, expected at least 1 of each",
                                 this->name, states, action_names.size()));
  }
  start.assign(states, 0.0);
  start[0] = 1;
  for (index_t s = 0; s < states; ++s)
    for (std::size_t a = 0; a < action_names.size(); ++a)
      table_.push_back({{1, static_cast<std::int32_t>(s), 0, false}});
}

void Mdp::set(index_t s, index_t a, std::vector<Consequence> consequences) {
  double sum = 0;
  std::vector<Consequence> joined;
  for (const Consequence& c : consequences) {
    if (c.probability < 0 || c.next < 0 || c.next >= states_) {
      throw ValueError(fmt::format(
          "mdp '{}': action {} in state {} leads to state {} with probability {}, expected states "
          "below {} and no negative probability",
          name, a, s, c.next, c.probability, states_));
    }
    sum += c.probability;
    if (c.probability == 0) continue;
    const auto same = std::find_if(joined.begin(), joined.end(), [&](const Consequence& o) {
      return o.next == c.next && o.reward == c.reward && o.terminal == c.terminal;
    });
    if (same == joined.end()) {
      joined.push_back(c);
    } else {
      same->probability += c.probability;
    }
  }
  if (std::abs(sum - 1) > 1e-9) {
    throw ValueError(fmt::format(
        "mdp '{}': the probabilities after action {} in state {} add up to {}, expected 1", name, a,
        s, sum));
  }
  table_[s * actions() + a] = std::move(joined);
}

Tensor Mdp::transitions() const {
  const Tensor p = Tensor::zeros({states_, actions(), states_}, DType::f64);
  for (std::size_t k = 0; k < table_.size(); ++k)
    for (const Consequence& c : table_[k])
      if (!c.terminal) p.data<double>()[k * states_ + c.next] += c.probability;
  return p;
}

Tensor Mdp::rewards() const {
  const Tensor r = Tensor::zeros({states_, actions()}, DType::f64);
  for (std::size_t k = 0; k < table_.size(); ++k)
    for (const Consequence& c : table_[k]) r.data<double>()[k] += c.probability * c.reward;
  return r;
}

namespace {

/// The table as a game plays it: every list of alternatives by upper bounds of a 32-bit word.
struct Alternative {
  std::uint32_t below;  // chosen by words < below; the last one of a list by all that remain
  std::int32_t next;
  float reward;
  bool terminal;
};

std::uint32_t bound(double probability) {
  return static_cast<std::uint32_t>(std::min(std::ldexp(probability, 32), 4294967295.0));
}

/// O: int64_t (the state's number), float or uint8_t (its row of the observations).
template <class O>
struct Player {
  struct State {
    std::int32_t state;
  };
  using Observed = O;
  using Action = int;

  explicit Player(const Mdp& source) : mdp(source), actions(static_cast<int>(source.actions())) {
    for (index_t s = 0; s < mdp.states(); ++s) {
      for (int a = 0; a < actions; ++a) {
        first.push_back(static_cast<std::int32_t>(alternatives.size()));
        double sum = 0;
        for (const Consequence& c : mdp.at(s, a)) {
          sum += c.probability;
          alternatives.push_back({bound(sum), c.next, c.reward, c.terminal});
        }
      }
    }
    first.push_back(static_cast<std::int32_t>(alternatives.size()));
    double sum = 0;
    for (std::size_t s = 0; s < mdp.start.size(); ++s) {
      if (mdp.start[s] <= 0) continue;
      sum += mdp.start[s];
      starts.push_back({bound(sum), static_cast<std::int32_t>(s), 0, false});
    }
    if (starts.empty() || std::abs(sum - 1) > 1e-9) {
      throw ValueError(fmt::format("mdp '{}': the start's probabilities add up to {}, expected 1",
                                   mdp.name, sum));
    }
    if constexpr (!std::is_same_v<O, std::int64_t>) {
      rows = mdp.observations.template data<O>();
      width = mdp.observations.numel() / mdp.states();
    }
  }

  EnvSpec spec() const {
    ObservationSpec seen{DType::i64, {}, mdp.states()};
    if (mdp.observations.defined())
      seen = {mdp.observations.dtype(), mdp.observations.shape().without(0), 0};
    return {mdp.name, seen, {.count = mdp.actions(), .names = mdp.action_names}, mdp.max_steps};
  }

  void reset(State& s, Draws& draws) const {
    const auto last = starts.end() - 1;
    s.state = starts.size() == 1 ? starts[0].next
                                 : std::upper_bound(starts.begin(), last, draws.bits(),
                                                    [](std::uint32_t word, const Alternative& a) {
                                                      return word < a.below;
                                                    })
                                       ->next;
  }

  Outcome step(State& s, Action action, Draws& draws) const {
    const std::int32_t entry = s.state * actions + action;
    const Alternative* chosen = &alternatives[first[entry]];
    const Alternative* last = &alternatives[first[entry + 1] - 1];
    if (chosen != last) {
      const std::uint32_t word = draws.bits();
      while (chosen != last && word >= chosen->below) ++chosen;
    }
    s.state = chosen->next;
    return {chosen->reward, chosen->terminal};
  }

  bool valid(const State& s) const { return within(0, mdp.states() - 1, s.state); }

  void observe(const State& s, Observed* out) const {
    if constexpr (std::is_same_v<O, std::int64_t>) {
      *out = s.state;
    } else {
      std::copy_n(rows + s.state * width, width, out);
    }
  }

  Canvas draw(const State& s) const {
    constexpr int kCell = 12;
    if (!mdp.scene.empty()) {
      Canvas canvas = mdp.scene[0];
      const auto [x, y] = mdp.places[s.state];
      canvas.disc(x, y, 3.4, kBlue);
      return canvas;
    }
    Canvas canvas(static_cast<int>(mdp.states()) * kCell, kCell);
    for (int k = 0; k < mdp.states(); ++k)
      canvas.rectangle(k * kCell + 1, 1, kCell - 2, kCell - 2, kFaint);
    canvas.disc((s.state + 0.5) * kCell, kCell / 2.0, 3.4, kBlue);
    return canvas;
  }

  Mdp mdp;
  int actions;
  std::vector<std::int32_t> first;  // [S*A+1], into alternatives
  std::vector<Alternative> alternatives, starts;
  const O* rows = nullptr;
  index_t width = 0;
};

}  // namespace

EnvPtr make_mdp_env(const Mdp& mdp, const EnvCount& count) {
  const Tensor& seen = mdp.observations;
  if (!seen.defined()) return vectorise(Player<std::int64_t>(mdp), count);
  if (seen.rank() < 1 || seen.dim(0) != mdp.states()) {
    throw ShapeError(fmt::format("mdp '{}': {} states, expected one row of observations for each",
                                 mdp.name, mdp.states()),
                     {{"observations", describe(seen)}});
  }
  if (seen.dtype() == DType::f32) return vectorise(Player<float>(mdp), count);
  if (seen.dtype() == DType::u8) return vectorise(Player<std::uint8_t>(mdp), count);
  throw DTypeError(fmt::format("mdp '{}': observations must be f32 or u8", mdp.name),
                   {{"observations", describe(seen)}});
}

}  // namespace concord::rl
