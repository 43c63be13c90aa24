#include <concord/nn/state.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

namespace concord::nn {

namespace {

bool is_float(DType t) { return t == DType::f32 || t == DType::f64; }

}  // namespace

void load_state(const Theta& theta, const std::map<std::string, Tensor>& state,
                const LoadOptions& options) {
  const auto skipped = [&](std::string_view name) {
    return std::any_of(options.except.begin(), options.except.end(),
                       [&](const std::string& prefix) { return name.starts_with(prefix); });
  };
  const std::map<std::string, Tensor> own = theta.state();
  std::vector<std::string> missing, unexpected, misfits;
  for (const auto& [name, to] : own) {
    if (skipped(name)) continue;
    const auto from = state.find(name);
    if (from == state.end()) {
      missing.push_back(name);
    } else if (!(from->second.shape() == to.shape()) || !is_float(from->second.dtype())) {
      misfits.push_back(fmt::format("{} is {}{}, the network has {}", name,
                                    concord::name(from->second.dtype()),
                                    to_string(from->second.shape()), to_string(to.shape())));
    }
  }
  for (const auto& [name, from] : state) {
    if (!own.contains(name) && !skipped(name) && !name.ends_with("num_batches_tracked"))
      unexpected.push_back(name);
  }
  if (!missing.empty() || !unexpected.empty() || !misfits.empty()) {
    std::vector<Error::Field> fields;
    const auto list = [&](const char* label, const std::vector<std::string>& names) {
      if (!names.empty()) fields.emplace_back(label, fmt::format("{}", fmt::join(names, ", ")));
    };
    list("missing", missing);
    list("unexpected", unexpected);
    list("misfits", misfits);
    throw ValueError(
        fmt::format("load_state: {} names missing, {} unexpected, {} of another shape or type",
                    missing.size(), unexpected.size(), misfits.size()),
        std::move(fields));
  }
  for (const auto& [name, to] : own) {
    if (!skipped(name)) to.copy_from(state.at(name).to(to.dtype()));
  }
}

}  // namespace concord::nn
