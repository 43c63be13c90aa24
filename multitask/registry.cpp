#include <concord/autograd/parameters.h>
#include <concord/multitask/methods.h>
#include <concord/multitask/registry.h>
#include <concord/multitask/training_methods.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::multitask {

namespace {

// clang-format off
constexpr MethodInfo kMethods[] = {
    // Fixed weights
    {"single", Kind::fixed, "nothing", "-", "one task alone (option task); the others are left out", make_single},
    {"equal", Kind::fixed, "nothing", "-", "equal weights: the sum of the losses (scale=mean: their mean)", make_equal},
    {"sum", Kind::fixed, "nothing", "-", "the sum of the gradients", make_sum},
    {"mean", Kind::fixed, "nothing", "-", "the mean of the gradients", make_mean},
    {"constant", Kind::fixed, "nothing", "-", "weights by hand (option w=1,0.5,...)", make_constant},
    // Loss weighting
    {"rlw", Kind::weighting, "random numbers", "Lin et al. 2021, arXiv 2111.10603", "random weights, drawn anew in each step", make_rlw},
    {"si", Kind::weighting, "losses", "Navon et al. 2022, arXiv 2202.01017", "scale-invariant: the sum of the logarithms of the losses", make_si},
    {"gls", Kind::weighting, "losses", "Chennupati et al. 2019, arXiv 1904.08492", "the geometric mean of the losses", make_gls},
    {"dwa", Kind::weighting, "losses, state", "Liu et al. 2018, arXiv 1803.10704 (MTAN)", "more weight for losses that fall slowly from epoch to epoch", make_dwa},
    {"uw", Kind::weighting, "losses, state", "Kendall et al. 2017, arXiv 1705.07115", "weights from learned task uncertainties", make_uw},
    {"imtl_l", Kind::weighting, "losses, state", "Liu et al. 2021, ICLR (IMTL)", "learned weights that bring all losses to one scale", make_imtl_l},
    {"stch", Kind::weighting, "losses, state", "Lin et al. 2024, arXiv 2402.19078", "smooth Tchebycheff: the worst loss, softly", make_stch},
    {"cosmos", Kind::weighting, "losses", "Ruchte and Grabocka 2021, arXiv 2103.13392", "steers to the point of the Pareto front along a preference", make_cosmos},
    {"pbi", Kind::weighting, "losses", "Zhang and Li 2007 (MOEA/D)", "along a preference, with a penalty on the distance from it", make_pbi},
    {"famo", Kind::weighting, "losses before and after the step, state", "Liu et al. 2023, arXiv 2306.03792", "more weight for losses that fell less in the last steps", make_famo},
    {"gradnorm", Kind::weighting, "Gram, losses, state", "Chen et al. 2018, arXiv 1711.02257", "learned weights that balance the gradients' norms and the rates of training", make_gradnorm},
    {"excess_mtl", Kind::weighting, "elements, T x P state", "He et al. 2024, arXiv 2402.02009", "more weight for tasks far from their optimum", make_excess_mtl},
    // Gradient combination
    {"cosine_gate", Kind::gradient, "Gram", "Du et al. 2018, arXiv 1812.02224", "a main task, and auxiliaries while their gradients do not point against it", make_cosine_gate},
    {"pcgrad", Kind::gradient, "Gram, random order", "Yu et al. 2020, arXiv 2001.06782", "projects conflicting gradients onto each other's normal planes", make_pcgrad},
    {"mgda", Kind::gradient, "Gram", "Sener and Koltun 2018, arXiv 1810.04650", "the shortest convex combination of the gradients, exact", make_mgda},
    {"cagrad", Kind::gradient, "Gram", "Liu et al. 2021, arXiv 2110.14048", "the best worst-case descent in a ball around the mean gradient, exact", make_cagrad},
    {"cagrad_fast", Kind::gradient, "Gram, random subset", "Liu et al. 2021, arXiv 2110.14048", "cagrad for a few sampled tasks and the mean of the others", make_cagrad_fast},
    {"upgrad", Kind::gradient, "Gram", "Quinton and Rey 2024, arXiv 2406.16232", "mean of the gradients, each projected so that no task gets worse, exact", make_upgrad},
    {"dualproj", Kind::gradient, "Gram", "Lopez-Paz and Ranzato 2017, arXiv 1706.08840 (GEM)", "the mean gradient, projected so that no task gets worse, exact", make_dualproj},
    {"imtl_g", Kind::gradient, "Gram", "Liu et al. 2021, ICLR (IMTL)", "equal projections on all task gradients", make_imtl_g},
    {"nash_mtl", Kind::gradient, "Gram", "Navon et al. 2022, arXiv 2202.01017", "the Nash bargaining solution: G w = 1 / w, exact", make_nash_mtl},
    {"fairgrad", Kind::gradient, "Gram", "Ban and Ji 2024, arXiv 2402.15638", "alpha-fair progress: G w = w^(-1/alpha), exact", make_fairgrad},
    {"aligned_mtl", Kind::gradient, "Gram", "Senushkin et al. 2023, arXiv 2305.19000", "gradients made orthogonal and equally long along their principal components", make_aligned_mtl},
    {"config", Kind::gradient, "Gram", "Liu, Chu, Thuerey 2024, arXiv 2408.11104", "equal angles to all gradients, length of the summed projections", make_config},
    {"gradvac", Kind::gradient, "Gram, random order, state", "Wang et al. 2021, arXiv 2010.05874", "raises each pair's cosine to its running mean", make_gradvac},
    {"krum", Kind::gradient, "Gram", "Blanchard et al. 2017, NeurIPS", "the gradients with the nearest neighbours, against outliers", make_krum},
    {"trimmed_mean", Kind::gradient, "elements", "Yin et al. 2018, arXiv 1803.01498", "the mean without the largest and smallest element of each parameter", make_trimmed_mean},
    {"graddrop", Kind::gradient, "elements, random numbers", "Chen et al. 2020, arXiv 2010.06808", "keeps one sign per parameter, drawn by the gradients' purity", make_graddrop},
    {"pcd", Kind::gradient, "Gram, state", "2026, arXiv 2606.29521", "nearest to the main task's gradient with a share of progress for all others, exact", make_pcd},
    {"moco", Kind::gradient, "elements, T x P state", "Fernando et al. 2023, arXiv 2210.12624", "tracked gradients, weights by a gradient step on MGDA's problem", make_moco},
    {"db_mtl", Kind::gradient, "elements, losses, T x P state", "Lin et al. 2023, arXiv 2308.12029", "averaged gradients of the log-losses, made equally long", make_db_mtl},
    {"m_config", Kind::gradient, "elements, T x P state", "Liu, Chu, Thuerey 2024, arXiv 2408.11104", "config on moving averages, with a second moment; use plain sgd", make_m_config},
    {"cr_mogm", Kind::gradient, "the base method's, state", "Zhou et al. 2022, NeurIPS", "the weights of another method (option base), smoothed", make_cr_mogm},
    // Whole training steps
    {"sgsu", Kind::step, "gradients at theta'", "Lee and Son 2020, arXiv 2005.09910", "inner and outer loop of the shared layers, heads apart (a reconstruction)", nullptr, make_sgsu},
    {"look_ahead", Kind::step, "losses at theta'", "Du et al. 2018, arXiv 1812.02224, eq 2", "the auxiliary weight that is best for the main task one step ahead", nullptr, make_look_ahead},
    {"auto_lambda", Kind::step, "gradients at theta' and of a second batch, state", "Liu et al. 2022, arXiv 2202.03091", "learned weights that lower the primary tasks' loss on another batch", nullptr, make_auto_lambda},
    {"modo", Kind::step, "three independent batches, state", "Chen et al. 2023, arXiv 2305.20057", "mgda by double sampling, without the bias of one batch", nullptr, make_modo},
    {"sdmgrad", Kind::step, "three independent batches, state", "Xiao et al. 2023, arXiv 2305.18409", "mgda near the mean gradient, by double sampling", nullptr, make_sdmgrad},
    {"mtadam", Kind::step, "its own optimiser, 2 T x P state", "Malkiel and Wolf 2020, arXiv 2006.14683", "Adam's moments per task, gradients of equal length in every tensor", nullptr, make_mtadam},
    {"rotograd", Kind::step, "gradients at the features, state", "Javaloy and Valera 2022, arXiv 2103.02631", "a learned rotation of the features per task, gradients of equal length", nullptr, make_rotograd},
};
// clang-format on

}  // namespace

std::span<const MethodInfo> all_methods() { return kMethods; }

std::span<const MethodInfo> methods() {
  static const auto* const end = std::find_if(  // Kind::step stands last
      std::begin(kMethods), std::end(kMethods),
      [](const MethodInfo& m) { return m.kind == Kind::step; });
  return {kMethods, end};
}

const MethodInfo& find_method(std::string_view name) {
  std::vector<std::string> names;
  for (const MethodInfo& m : kMethods) {
    if (m.name == name) return m;
    names.emplace_back(m.name);
  }
  throw_unknown("method", name, names);
}

const MethodInfo& find_aggregator(std::string_view name) {
  const MethodInfo& info = find_method(name);
  if (info.kind == Kind::step) {
    throw ValueError(
        fmt::format("{}: a matrix of gradients, expected a training run: the method needs {}", name,
                    info.needs));
  }
  return info;
}

std::unique_ptr<Aggregator> make_aggregator(std::string_view name, const OptionMap& values) {
  Options options{std::string(name), values};
  auto aggregator = find_aggregator(name).make(options);
  options.finish();
  return aggregator;
}

std::vector<std::pair<std::string, std::string>> default_options(std::string_view name) {
  Options options{std::string(name)};
  const MethodInfo& info = find_method(name);
  if (info.kind == Kind::step) {
    const ParameterStore none;  // defaults do not depend on the parameters
    info.make_method(options, Theta(none), 1);
  } else {
    info.make(options);
  }
  return options.read();
}

std::string_view name(Kind kind) {
  switch (kind) {
    case Kind::fixed:
      return "fixed weights";
    case Kind::weighting:
      return "loss weighting";
    case Kind::gradient:
      return "gradient combination";
    case Kind::step:
      return "training step";
  }
  return "?";
}

}  // namespace concord::multitask
