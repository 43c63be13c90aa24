// Small MDPs and random tables for the tests of tabular methods.
#pragma once

#include <concord/rl/mdp.h>
#include <concord/rl/tabular/action_table.h>
#include <concord/tensor/random.h>
#include <doctest/doctest.h>

namespace concord::rl {

/// Every action leads everywhere and may end the episode; rewards between -1 and 1; starts in two
/// states.
inline Mdp small_mdp(std::uint64_t seed, index_t states, index_t actions) {
  Mdp mdp("small", states, std::vector<std::string>(actions, "a"));
  const Rng rng(seed);
  std::uint64_t i = 0;
  for (index_t s = 0; s < states; ++s) {
    for (index_t a = 0; a < actions; ++a) {
      std::vector<Consequence> list;
      double sum = 0;
      for (index_t next = 0; next < states; ++next) {
        list.push_back({rng.uniform(i) + 0.05, static_cast<std::int32_t>(next),
                        static_cast<float>(2 * rng.uniform(i + 1) - 1), next == states - 1});
        sum += list.back().probability;
        i += 2;
      }
      for (Consequence& c : list) c.probability /= sum;
      mdp.set(s, a, list);
    }
  }
  mdp.start[0] = 0.7;
  mdp.start[1] = 0.3;
  return mdp;
}

inline tabular::ActionTable random_table(index_t states, index_t actions, std::uint64_t seed) {
  tabular::ActionTable table(states, actions);
  for (std::size_t k = 0; k < table.values().size(); ++k) table.values()[k] = Rng(seed).normal(k);
  return table;
}

/// `gradient` against central differences of f() with respect to each number of the table.
template <class F>
void check_gradient(const F& f, tabular::ActionTable& at, const tabular::ActionTable& gradient) {
  constexpr double kStep = 1e-5;
  for (std::size_t k = 0; k < at.values().size(); ++k) {
    CAPTURE(k);
    const double here = at.values()[k];
    at.values()[k] = here + kStep;
    const double up = f();
    at.values()[k] = here - kStep;
    const double down = f();
    at.values()[k] = here;
    CHECK(gradient.values()[k] ==
          doctest::Approx((up - down) / (2 * kStep)).epsilon(1e-5).scale(1e-2));
  }
}

}  // namespace concord::rl
