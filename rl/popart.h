// PopArt: value targets of every task on one scale, without a jump in what the network says.
// Hessel et al., "Multi-task deep reinforcement learning with PopArt", 1809.04474, sec. 3.
#pragma once

#include <concord/autograd/parameters.h>
#include <concord/rl/archive.h>

#include <span>
#include <string>
#include <vector>

namespace concord::rl {

/// Per task t the mean mu_t and second moment nu_t of its targets, moved by `rate` with each batch;
/// sigma_t = sqrt(nu_t - mu_t^2) in [1e-4, 1e6]. The value is V_t = sigma_t n_t + mu_t with n_t the
/// output of head t, a linear layer with one output. At the start mu = 0, sigma = 1.
class PopArt {
 public:
  /// The heads are `<heads>.0.weight`, `<heads>.0.bias`, ... in `store`, one per task. With rate 0
  /// the scale stays as it is, which is the same as no PopArt.
  PopArt(const ParameterStore& store, const std::string& heads, int tasks, double rate);

  /// Moves task t's statistics towards those of `targets` and the head's weights with them:
  /// w <- w sigma / sigma', b <- (sigma b + mu - mu') / sigma', so that V_t stays.
  void update(const Theta& theta, int task, std::span<const float> targets);

  double mean(int task) const { return mean_[static_cast<std::size_t>(task)]; }
  double deviation(int task) const;

  void archive(const Archive& a);

 private:
  double rate_;
  std::vector<double> mean_, second_;
  std::vector<SliceId> weight_, bias_;
};

}  // namespace concord::rl
