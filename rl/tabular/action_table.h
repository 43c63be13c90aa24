// ActionTable: what tabular methods learn, one number for each action in each state.
#pragma once

#include <concord/tensor/tensor.h>

#include <span>
#include <vector>

namespace concord::rl::tabular {

/// [S,A], row-major: action values, logits, counts, or a policy, whose rows add up to 1.
class ActionTable {
 public:
  ActionTable(index_t states, index_t actions, double value = 0)
      : states_(states), actions_(actions), values_(states * actions, value) {}

  index_t states() const { return states_; }
  index_t actions() const { return actions_; }

  /// Row s: the actions of one state.
  std::span<double> operator[](index_t s) { return values().subspan(s * actions_, actions_); }
  std::span<const double> operator[](index_t s) const {
    return values().subspan(s * actions_, actions_);
  }
  std::span<double> values() { return values_; }
  std::span<const double> values() const { return values_; }

  friend bool operator==(const ActionTable&, const ActionTable&) = default;

 private:
  index_t states_, actions_;
  std::vector<double> values_;
};

/// Each action as likely as the others.
ActionTable uniform_policy(index_t states, index_t actions);
/// Each row's softmax.
ActionTable softmax(const ActionTable& logits);
/// Each row divided by its sum, which must be positive.
ActionTable normalised(const ActionTable& counts);

}  // namespace concord::rl::tabular
