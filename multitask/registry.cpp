#include <concord/multitask/methods.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/check.h>

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
    // Gradient combination
    {"cosine_gate", Kind::gradient, "Gram", "Du et al. 2018, arXiv 1812.02224", "a main task, and auxiliaries while their gradients do not point against it", make_cosine_gate},
    {"pcgrad", Kind::gradient, "Gram, random order", "Yu et al. 2020, arXiv 2001.06782", "projects conflicting gradients onto each other's normal planes", make_pcgrad},
    {"mgda", Kind::gradient, "Gram", "Sener and Koltun 2018, arXiv 1810.04650", "the shortest convex combination of the gradients, exact", make_mgda},
    {"cagrad", Kind::gradient, "Gram", "Liu et al. 2021, arXiv 2110.14048", "the best worst-case descent in a ball around the mean gradient, exact", make_cagrad},
    {"upgrad", Kind::gradient, "Gram", "Quinton and Rey 2024, arXiv 2406.16232", "mean of the gradients, each projected so that no task gets worse, exact", make_upgrad},
    {"dualproj", Kind::gradient, "Gram", "Lopez-Paz and Ranzato 2017, arXiv 1706.08840 (GEM)", "the mean gradient, projected so that no task gets worse, exact", make_dualproj},
    {"imtl_g", Kind::gradient, "Gram", "Liu et al. 2021, ICLR (IMTL)", "equal projections on all task gradients", make_imtl_g},
    {"nash_mtl", Kind::gradient, "Gram", "Navon et al. 2022, arXiv 2202.01017", "the Nash bargaining solution: G w = 1 / w, exact", make_nash_mtl},
    {"fairgrad", Kind::gradient, "Gram", "Ban and Ji 2024, arXiv 2402.15638", "alpha-fair progress: G w = w^(-1/alpha), exact", make_fairgrad},
    {"aligned_mtl", Kind::gradient, "Gram", "Senushkin et al. 2023, arXiv 2305.19000", "gradients made orthogonal and equally long along their principal components", make_aligned_mtl},
    {"config", Kind::gradient, "Gram", "Liu, Chu, Thuerey 2024, arXiv 2408.11104", "equal angles to all gradients, length of the summed projections", make_config},
    {"gradvac", Kind::gradient, "Gram, random order, state", "Wang et al. 2021, arXiv 2010.05874", "raises each pair's cosine to its running mean", make_gradvac},
    {"krum", Kind::gradient, "Gram", "Blanchard et al. 2017, NeurIPS", "the gradients with the nearest neighbours, against outliers", make_krum},
};
// clang-format on

}  // namespace

std::span<const MethodInfo> methods() { return kMethods; }

const MethodInfo& find_method(std::string_view name) {
  std::vector<std::string> names;
  for (const MethodInfo& m : kMethods) {
    if (m.name == name) return m;
    names.emplace_back(m.name);
  }
  throw_unknown("method", name, names);
}

std::unique_ptr<Aggregator> make_aggregator(std::string_view name, const OptionMap& values) {
  Options options{std::string(name), values};
  auto aggregator = find_method(name).make(options);
  options.finish();
  return aggregator;
}

std::vector<std::pair<std::string, std::string>> default_options(std::string_view name) {
  Options options{std::string(name)};
  find_method(name).make(options);
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
  }
  return "?";
}

}  // namespace concord::multitask
