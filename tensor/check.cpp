#include <concord/tensor/check.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace concord {

Error::Error(std::string headline, std::vector<Field> fields, Loc called_at)
    : headline_(std::move(headline)), fields_(std::move(fields)), called_at_(called_at) {
  compose();
}

void Error::in_module(std::string_view path, Loc called_at) {
  if (module_.empty()) module_ = path;
  called_at_ = called_at;
  compose();
}

void Error::compose() {
  std::size_t width = module_.empty() ? 0 : 6;
  for (const auto& [label, value] : fields_) width = std::max(width, label.size());
  text_ = headline_;
  for (const auto& [label, value] : fields_)
    text_ += fmt::format("\n  {:<{}}  {}", label, width, value);
  const std::string at =
      called_at_.line ? fmt::format("called at {}:{}", called_at_.file, called_at_.line) : "";
  if (!module_.empty()) {
    text_ +=
        fmt::format("\n  {:<{}}  {}{}{}", "module", width, module_, at.empty() ? "" : "   ", at);
  } else if (!at.empty()) {
    text_ += "\n  " + at;
  }
}

namespace {

/// Levenshtein distance, where a case-insensitive match of a letter costs nothing.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = std::tolower(static_cast<unsigned char>(a[i - 1])) ==
                        std::tolower(static_cast<unsigned char>(b[j - 1]));
      const std::size_t replace = diagonal + (same ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> nearest(std::string_view wanted, const std::vector<std::string>& names,
                                 std::size_t most) {
  std::vector<std::pair<std::size_t, std::string>> scored;
  for (const auto& n : names) {
    const std::size_t d = edit_distance(wanted, n);
    const bool part = !wanted.empty() && n.find(wanted) != std::string::npos;
    if (part || d <= std::max<std::size_t>(2, wanted.size() / 2))
      scored.emplace_back(part ? d / 2 : d, n);
  }
  std::stable_sort(scored.begin(), scored.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> best;
  for (std::size_t i = 0; i < std::min(most, scored.size()); ++i) best.push_back(scored[i].second);
  return best;
}

void throw_unknown(std::string_view kind, std::string_view wanted,
                   const std::vector<std::string>& names) {
  std::vector<Error::Field> fields;
  if (const auto close = nearest(wanted, names); !close.empty()) {
    fields.emplace_back("nearest", fmt::format("{}", fmt::join(close, ", ")));
  }
  fields.emplace_back("valid", fmt::format("{}", fmt::join(names, ", ")));
  throw ValueError(fmt::format("unknown {} '{}'", kind, wanted), std::move(fields));
}

}  // namespace concord
