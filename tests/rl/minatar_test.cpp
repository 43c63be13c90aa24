// MinAtar's games against traces of the authors' package (golden/generate.py) and against the
// returns and lengths of random play that were measured with it.
#include <concord/rl/registry.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/rl/playing.h>

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <string_view>

using namespace concord;
using namespace concord::rl;

namespace {

std::uint64_t fnv(std::uint64_t h, const std::uint8_t* data, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) h = (h ^ data[i]) * 0x100000001B3U;
  return h;
}

}  // namespace

TEST_CASE("minatar: equal to the authors' package in each of 10,000 steps") {
  const TensorFile golden =
      load_safetensors(std::string(CONCORD_TEST_FILES) + "/rl/golden/minatar.safetensors");
  for (const std::string game : {"breakout", "asterix", "freeway", "seaquest", "space_invaders"}) {
    CAPTURE(game);
    const Tensor actions = golden.tensors.at(game + ".actions");
    const Tensor hashes = golden.tensors.at(game + ".hashes");
    const EnvPtr env = make_env(game, {.size = 1, .seed = 2026});
    const StepBuffers out = env->buffers();
    const Tensor action = env->actions();
    const auto see = [](std::uint64_t h, const Tensor& t) {
      return fnv(h, t.data<std::uint8_t>(), t.bytes());
    };
    env->reset(out.observation);
    std::uint64_t h = see(0xCBF29CE484222325U, out.observation);
    index_t equal = 0;
    for (; equal < actions.numel(); ++equal) {
      action.data<std::int64_t>()[0] = actions.data<std::uint8_t>()[equal];
      env->step(action, out);
      const bool over = out.terminated.item() == 1;
      const std::uint8_t result[] = {static_cast<std::uint8_t>(out.reward.item()), over};
      h = fnv(h, result, 2);
      if (over) h = see(h, out.final_observation);
      h = see(h, out.observation);
      const std::uint8_t* expected = hashes.data<std::uint8_t>() + 2 * equal;
      if ((h & 255) != expected[0] || (h >> 8 & 255) != expected[1]) break;
    }
    CHECK(equal == 10000);
  }
}

TEST_CASE("minatar: returns and lengths of random play") {
  struct Fingerprint {
    std::string_view game;
    double mean, error, length, length_error, minimal_mean, minimal_error;
  };
  // Measured with minatar 1.0.15, sticky 0.1, ramping: 10^6 steps of all six actions, 3 10^5 of the
  // minimal set; means and standard errors.
  constexpr Fingerprint kMeasured[] = {
      {"asterix", 0.511, 0.007, 70.5, 0.4, 0.509, 0.013},
      {"breakout", 0.512, 0.002, 11.2, 0.03, 0.387, 0.004},
      {"freeway", 0.133, 0.019, 2501, 0, 0.319, 0.046},
      {"seaquest", 0.098, 0.002, 30.7, 0.2, 0.103, 0.004},
      {"space_invaders", 2.834, 0.016, 51.3, 0.3, 4.076, 0.045},
  };
  struct Sample {
    double n = 0, sum = 0, squares = 0;
    void add(double v) {
      ++n;
      sum += v;
      squares += v * v;
    }
    double mean() const { return sum / n; }
    double error() const { return std::sqrt(std::max(squares / n - mean() * mean(), 0.0) / n); }
  };
  constexpr index_t kSize = 256, kSteps = 4000;
  for (const Fingerprint& f : kMeasured) {
    for (const bool minimal : {false, true}) {
      CAPTURE(f.game);
      CAPTURE(minimal);
      const EnvPtr env =
          make_env(f.game, {.size = kSize, .seed = 12}, {{"minimal", minimal ? "1" : "0"}});
      const StepBuffers out = env->buffers();
      const Tensor actions = env->actions();
      Sample returns, lengths;
      std::vector<double> sum(kSize, 0.0), length(kSize, 0.0);
      env->reset(out.observation);
      Draws draws(Rng(77));
      for (index_t t = 0; t < kSteps; ++t) {
        for (std::int64_t& a : actions.values<std::int64_t>())
          a = draws.below(static_cast<int>(env->spec().action.count));
        env->step(actions, out);
        for (index_t i = 0; i < kSize; ++i) {
          sum[i] += out.reward.data<float>()[i];
          ++length[i];
          if (!out.terminated.data<std::uint8_t>()[i]) continue;
          returns.add(sum[i]);
          lengths.add(length[i]);
          sum[i] = length[i] = 0;
        }
      }
      const double mean = minimal ? f.minimal_mean : f.mean;
      const double error = minimal ? f.minimal_error : f.error;
      CAPTURE(returns.mean());
      CAPTURE(lengths.mean());
      CHECK(std::abs(returns.mean() - mean) < 4 * std::hypot(error, returns.error()));
      if (!minimal)
        CHECK(std::abs(lengths.mean() - f.length) <=
              4 * std::hypot(f.length_error, lengths.error()));
    }
  }
}
