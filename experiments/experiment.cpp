#include <concord/experiments/experiment.h>
#include <concord/experiments/multifashion.h>

#include <array>

namespace concord::experiments {

std::span<const Experiment> experiments() {
  static const std::array list{multifashion()};
  return list;
}

const Experiment& find_experiment(std::string_view name) {
  std::vector<std::string> names;
  for (const Experiment& e : experiments()) {
    if (e.name == name) return e;
    names.emplace_back(e.name);
  }
  throw_unknown("experiment", name, names);
}

}  // namespace concord::experiments
