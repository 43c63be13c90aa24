#include <concord/multitask/step_options.h>

#include <algorithm>
#include <initializer_list>

namespace concord::multitask {
namespace {

constexpr int kMost = 1 << 20;

template <class Enum>
Enum choice(Options& options, const char* name, std::initializer_list<std::string_view> names,
            Enum standard) {
  const std::string chosen =
      options.choice(name, names, names.begin()[static_cast<std::size_t>(standard)]);
  return static_cast<Enum>(std::find(names.begin(), names.end(), chosen) - names.begin());
}

}  // namespace

StepOptions read_step_options(Options& options, const StepOptions& standard) {
  StepOptions o = standard;
  o.granularity =
      choice(options, "granularity", {"whole", "part", "layer", "tensor"}, o.granularity);
  o.measure = choice(options, "measure", {"whole", "part", "layer", "tensor"}, o.measure);
  o.level = choice(options, "level", {"parameters", "features"}, o.level);
  o.rescale =
      choice(options, "rescale", {"none", "times_tasks", "over_tasks", "sum_length"}, o.rescale);
  o.heads = choice(options, "heads", {"own", "weighted"}, o.heads);
  o.refresh = options.integer("refresh", o.refresh, 1, kMost);
  o.tasks_per_step = options.integer("tasks_per_step", o.tasks_per_step, 0, kMost);
  o.keep = choice(options, "keep", {"full", "bf16", "none", "automatic"}, o.keep);
  return o;
}

}  // namespace concord::multitask
