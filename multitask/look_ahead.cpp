// Look-ahead: the ideal weight of an auxiliary task, Du, Czarnecki, Jayakumar, Farajtabar, Pascanu,
// Lakshminarayanan, "Adapting Auxiliary Losses Using Gradient Similarity", arXiv 1812.02224, eq 2.
// With g the main task's gradient and h the auxiliary's, a the learning rate and phi the main head:
//
//   lambda = argmin_l L_main(theta - a (g + l h), phi - a grad_phi L_main)
//   d      = g + lambda h
//
// The paper calls it too expensive and takes the cosine gate in its place; here it is, as the
// measure of such gates, and over their range. The minimum over [low, high] is searched on a grid
// of `points`, then by golden sections of the two intervals beside the best point; each point costs
// one forward pass. Several auxiliaries are searched one after the other, with those before at
// their best and those after at 0. `batch=fresh` judges by an independent batch.
#include <concord/multitask/driver.h>
#include <concord/multitask/training_methods.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::multitask {

namespace {

struct Search {
  double low, high;
  int points, sections;
};

class LookAhead final : public Driver {
 public:
  LookAhead(const Theta& like, int tasks, int main, const Search& search, bool fresh)
      : Driver("look_ahead", like, tasks, tasks),
        main_(main),
        search_(search),
        fresh_(fresh),
        beside_(like) {}

  int batches() const override { return fresh_ ? 2 : 1; }
  int vectors() const override { return tasks() + 1; }
  void save(State&) const override {}
  void load(const State&) override {}

  void step(Model& model, const Context& ctx, optim::Optimizer& optimizer,
            const Step::When& when) override {
    begin(model, ctx, when);
    clear_answer();
    const int main = inputs().row_of(main_);
    if (main < 0) {
      answer_.note = "main task absent";
    } else {
      answer_.weights[static_cast<std::size_t>(main)] = 1;
      for (std::size_t r = 0; r < present_.size(); ++r) {
        if (present_[r] != main_) find_weight(model, ctx, optimizer.rate(), answer_.weights[r]);
      }
    }
    vars_.clear();  // Vars hold on to tensors
    optimizer.step(*ctx.theta, direction(Heads::own), gram_.squared_norm(answer_.weights));
  }

 private:
  /// Sets the weight to the argmin; the other weights stay.
  void find_weight(Model& model, const Context& ctx, double rate, double& weight) {
    const auto loss_at = [&](double w) {
      weight = w;
      const Theta& moved = beside_.at(*ctx.theta, direction(Heads::own), rate);
      forward(model, {.theta = &moved, .training = ctx.training, .rng = ctx.rng}, fresh_ ? 1 : 0);
      const double loss = vars_[static_cast<std::size_t>(main_)].item();
      return std::isnan(loss) ? std::numeric_limits<double>::infinity() : loss;
    };
    const double width = (search_.high - search_.low) / (search_.points - 1);
    double best = 0, least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < search_.points; ++i) {
      const double w = search_.low + i * width, loss = loss_at(w);
      if (loss < least) best = w, least = loss;
    }
    double low = std::max(best - width, search_.low), high = std::min(best + width, search_.high);
    const double golden = (std::sqrt(5.0) - 1) / 2;
    double a = high - golden * (high - low), b = low + golden * (high - low);
    double at_a = loss_at(a), at_b = loss_at(b);
    for (int i = 2;; ++i) {
      if (at_a < least) best = a, least = at_a;
      if (at_b < least) best = b, least = at_b;
      if (i >= search_.sections) break;
      if (at_a < at_b) {
        high = b, b = a, at_b = at_a;
        at_a = loss_at(a = high - golden * (high - low));
      } else {
        low = a, a = b, at_a = at_b;
        at_b = loss_at(b = low + golden * (high - low));
      }
    }
    weight = best;
  }

  int main_;
  Search search_;
  bool fresh_;
  Beside beside_;
};

}  // namespace

MethodPtr make_look_ahead(Options& options, const Theta& like, int tasks) {
  const int main = options.integer("main", 0, 0, 1 << 30);
  Search search{};
  search.low = options.number("low", 0, -1e6, 1e6);
  search.high = options.number("high", 1, search.low, 1e6);
  search.points = options.integer("points", 9, 2, 1 << 20);
  search.sections = options.integer("sections", 8, 2, 200);
  const bool fresh = options.choice("batch", {"same", "fresh"}) == "fresh";
  return std::make_unique<LookAhead>(like, tasks, main, search, fresh);
}

}  // namespace concord::multitask
