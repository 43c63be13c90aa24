#include <concord/rl/popart.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::rl {
namespace {

template <class T>
void rescale(const Tensor& t, double factor, double shift) {
  const Tensor host = t.to(kCpu);
  for (T& x : host.values<T>()) x = static_cast<T>(x * factor + shift);
  if (!(t.device() == kCpu)) t.copy_from(host);
}

void rescale(const Tensor& t, double factor, double shift) {
  if (t.dtype() == DType::f32)
    rescale<float>(t, factor, shift);
  else
    rescale<double>(t, factor, shift);
}

}  // namespace

PopArt::PopArt(const ParameterStore& store, const std::string& heads, int tasks, double rate)
    : rate_(rate),
      mean_(static_cast<std::size_t>(tasks), 0.0),
      second_(static_cast<std::size_t>(tasks), 1.0) {
  if (!(rate >= 0 && rate < 1))
    throw ValueError(fmt::format("popart: rate is {}, expected 0 <= rate < 1", rate));
  if (rate == 0) return;
  for (int t = 0; t < tasks; ++t) {
    weight_.push_back(store.find(fmt::format("{}.{}.weight", heads, t)));
    bias_.push_back(store.find(fmt::format("{}.{}.bias", heads, t)));
    if (weight_.back() < 0 || bias_.back() < 0)
      throw ValueError(fmt::format("popart: task {} has no value head of its own", t));
  }
}

double PopArt::deviation(int task) const {
  const auto t = static_cast<std::size_t>(task);
  return std::clamp(std::sqrt(std::max(0.0, second_[t] - mean_[t] * mean_[t])), 1e-4, 1e6);
}

void PopArt::update(const Theta& theta, int task, std::span<const float> targets) {
  if (rate_ == 0 || targets.empty()) return;
  const auto t = static_cast<std::size_t>(task);
  double mean = 0, second = 0;
  for (const double x : targets) {
    mean += x;
    second += x * x;
  }
  const auto n = static_cast<double>(targets.size());
  const double old_mean = mean_[t], old_deviation = deviation(task);
  mean_[t] += rate_ * (mean / n - mean_[t]);
  second_[t] += rate_ * (second / n - second_[t]);
  const double now = deviation(task);
  rescale(theta[weight_[t]], old_deviation / now, 0);
  rescale(theta[bias_[t]], old_deviation / now, (old_mean - mean_[t]) / now);
}

void PopArt::archive(const Archive& a) {
  a("mean", std::span(mean_));
  a("second", std::span(second_));
}

}  // namespace concord::rl
