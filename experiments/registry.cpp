#include <concord/experiments/cagrad_toy.h>
#include <concord/experiments/distral.h>
#include <concord/experiments/du_gridworld.h>
#include <concord/experiments/du_toy.h>
#include <concord/experiments/experiment.h>
#include <concord/experiments/minatar.h>
#include <concord/experiments/multifashion.h>
#include <concord/experiments/pcgrad_toy.h>
#include <concord/experiments/sgsu_toy.h>
#include <concord/experiments/zeng.h>
#include <concord/tensor/check.h>

namespace concord::experiments {

std::span<const Experiment> experiments() {
  static const std::vector<Experiment> all{
      multifashion(), du_toy(),       pcgrad_toy(), cagrad_toy(), sgsu_toy(),  distral(),
      distral_deep(), du_gridworld(), zeng(),       minatar(),    mt_minatar()};
  return all;
}

const Experiment& find_experiment(std::string_view name, std::span<const Experiment> all) {
  std::vector<std::string> names;
  for (const Experiment& e : all) {
    if (e.name == name) return e;
    names.push_back(e.name);
  }
  throw_unknown("experiment", name, names);
}

}  // namespace concord::experiments
