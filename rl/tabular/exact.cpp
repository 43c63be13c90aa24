#include <concord/rl/tabular/exact.h>

#include <algorithm>
#include <cmath>

namespace concord::rl::tabular {
namespace {

constexpr double kSettled = 1e-13;  // change per sweep, relative to the largest number
constexpr int kSweeps = 1000000;

/// Repeats a sweep, which returns the largest change and the largest number, until nothing moves.
template <class Sweep>
void settle(const char* what, const Mdp& mdp, const Sweep& sweep) {
  for (int k = 0; k < kSweeps; ++k) {
    const auto [change, most] = sweep();
    if (change <= kSettled * std::max(1.0, most)) return;
  }
  throw NumericError(std::string(what) + " of '" + mdp.name +
                     "': no end after a million sweeps, expected a discount below 1 or episodes "
                     "that end");
}

struct Change {
  double change = 0, most = 0;
  void set(double& value, double next) {
    change = std::max(change, std::abs(next - value));
    most = std::max(most, std::abs(next));
    value = next;
  }
};

/// The MDP under a policy: where state s goes on, and with which probability.
struct Chain {
  struct Link {
    index_t next;
    double probability;
  };
  std::vector<std::vector<Link>> links;  // by state
  std::vector<double> rewards;           // [S], of one step

  Chain(const Mdp& mdp, const ActionTable& policy, const ActionTable* bonus)
      : links(mdp.states()), rewards(mdp.states(), 0.0) {
    for (index_t s = 0; s < mdp.states(); ++s) {
      for (index_t a = 0; a < mdp.actions(); ++a) {
        const double p = policy[s][a];
        if (bonus) rewards[s] += p * (*bonus)[s][a];
        for (const Consequence& c : mdp.at(s, a)) {
          rewards[s] += p * c.probability * c.reward;
          if (!c.terminal) add(links[s], {c.next, p * c.probability});
        }
      }
    }
  }

 private:
  static void add(std::vector<Link>& list, const Link& link) {
    const auto same =
        std::find_if(list.begin(), list.end(), [&](const Link& l) { return l.next == link.next; });
    if (same == list.end())
      list.push_back(link);
    else
      same->probability += link.probability;
  }
};

}  // namespace

std::vector<double> state_values(const Mdp& mdp, const ActionTable& policy, double discount,
                                 const ActionTable* bonus) {
  const Chain chain(mdp, policy, bonus);
  std::vector<double> v(mdp.states(), 0.0);
  settle("state values", mdp, [&] {
    Change change;
    for (index_t s = 0; s < mdp.states(); ++s) {
      double later = 0;
      for (const Chain::Link& l : chain.links[s]) later += l.probability * v[l.next];
      change.set(v[s], chain.rewards[s] + discount * later);
    }
    return change;
  });
  return v;
}

ActionTable action_values(const Mdp& mdp, const std::vector<double>& values, double discount) {
  ActionTable q(mdp.states(), mdp.actions());
  for (index_t s = 0; s < mdp.states(); ++s)
    for (index_t a = 0; a < mdp.actions(); ++a)
      for (const Consequence& c : mdp.at(s, a))
        q[s][a] += c.probability * (c.reward + (c.terminal ? 0 : discount * values[c.next]));
  return q;
}

std::vector<double> visits(const Mdp& mdp, const ActionTable& policy, double discount) {
  const Chain chain(mdp, policy, nullptr);
  std::vector<double> d = mdp.start, next(mdp.states());
  settle("visits", mdp, [&] {
    next = mdp.start;
    for (index_t s = 0; s < mdp.states(); ++s)
      for (const Chain::Link& l : chain.links[s]) next[l.next] += discount * l.probability * d[s];
    Change change;
    for (index_t s = 0; s < mdp.states(); ++s) change.set(d[s], next[s]);
    return change;
  });
  return d;
}

double expected_return(const Mdp& mdp, const std::vector<double>& values) {
  double sum = 0;
  for (index_t s = 0; s < mdp.states(); ++s) sum += mdp.start[s] * values[s];
  return sum;
}

ActionTable policy_gradient(const Mdp& mdp, const ActionTable& policy, double discount,
                            const ActionTable* bonus) {
  const std::vector<double> v = state_values(mdp, policy, discount, bonus);
  const std::vector<double> d = visits(mdp, policy, discount);
  ActionTable gradient = action_values(mdp, v, discount);
  for (index_t s = 0; s < mdp.states(); ++s) {
    for (index_t a = 0; a < mdp.actions(); ++a) {
      const double q = gradient[s][a] + (bonus ? (*bonus)[s][a] : 0);
      gradient[s][a] = d[s] * policy[s][a] * (q - v[s]);
    }
  }
  return gradient;
}

ActionTable optimal_values(const Mdp& mdp, double discount) {
  std::vector<double> v(mdp.states(), 0.0);
  settle("optimal values", mdp, [&] {
    const ActionTable q = action_values(mdp, v, discount);
    Change change;
    for (index_t s = 0; s < mdp.states(); ++s)
      change.set(v[s], *std::max_element(q[s].begin(), q[s].end()));
    return change;
  });
  return action_values(mdp, v, discount);
}

}  // namespace concord::rl::tabular
