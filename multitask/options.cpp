#include <concord/multitask/options.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace concord::multitask {

namespace {

/// The whole text as a T, or false.
template <class T>
bool parse(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

/// Comma separated values, or false.
template <class T>
bool parse_list(std::string_view text, std::vector<T>& values) {
  values.clear();
  while (true) {
    const std::size_t comma = text.find(',');
    if (!parse(text.substr(0, comma), values.emplace_back())) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

bool contains(std::initializer_list<std::string_view> allowed, std::string_view value) {
  return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

}  // namespace

const std::string* Options::find(const std::string& name, std::string standard) {
  const bool known =
      std::any_of(read_.begin(), read_.end(), [&](const auto& r) { return r.first == name; });
  if (!known) read_.emplace_back(name, std::move(standard));
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

void Options::wrong(const std::string& name, const std::string& value,
                    const std::string& expected) const {
  throw ValueError(
      fmt::format("{}: option {} is '{}', expected {}", method_, name, value, expected));
}

double Options::number(const std::string& name, double standard, double low, double high) {
  const std::string* text = find(name, fmt::format("{}", standard));
  if (!text) return standard;
  double value = 0;
  if (!parse(*text, value) || !(value >= low && value <= high)) {
    const std::string range = std::isinf(high) ? fmt::format("a number >= {}", low)
                                               : fmt::format("a number in [{}, {}]", low, high);
    wrong(name, *text, range);
  }
  return value;
}

int Options::integer(const std::string& name, int standard, int low, int high) {
  const std::string* text = find(name, fmt::format("{}", standard));
  if (!text) return standard;
  int value = 0;
  if (!parse(*text, value) || value < low || value > high) {
    wrong(name, *text, fmt::format("a whole number in [{}, {}]", low, high));
  }
  return value;
}

std::string Options::choice(const std::string& name,
                            std::initializer_list<std::string_view> allowed,
                            std::string_view standard) {
  const std::string fallback(standard.empty() ? *allowed.begin() : standard);
  const std::string* text = find(name, fallback);
  if (!text) return fallback;
  if (!contains(allowed, *text))
    wrong(name, *text, fmt::format("one of {}", fmt::join(allowed, ", ")));
  return *text;
}

std::string Options::text(const std::string& name, std::string_view standard) {
  const std::string* given = find(name, std::string(standard));
  return given ? *given : std::string(standard);
}

std::vector<double> Options::numbers(const std::string& name) {
  std::vector<double> values;
  const std::string* text = find(name, "");
  if (text && !parse_list(*text, values)) wrong(name, *text, "numbers with commas between them");
  return values;
}

template <class T>
std::pair<std::string, std::vector<T>> Options::choice_or_list(
    const std::string& name, std::initializer_list<std::string_view> allowed,
    std::string_view what) {
  const std::string* text = find(name, std::string(*allowed.begin()));
  if (!text) return {std::string(*allowed.begin()), {}};
  if (contains(allowed, *text)) return {*text, {}};
  std::vector<T> values;
  if (!parse_list(*text, values)) {
    wrong(name, *text,
          fmt::format("one of {}, or {} with commas between them", fmt::join(allowed, ", "), what));
  }
  return {"", values};
}

std::pair<std::string, std::vector<int>> Options::choice_or_tasks(
    const std::string& name, std::initializer_list<std::string_view> allowed) {
  return choice_or_list<int>(name, allowed, "task numbers");
}

std::pair<std::string, std::vector<double>> Options::choice_or_numbers(
    const std::string& name, std::initializer_list<std::string_view> allowed) {
  return choice_or_list<double>(name, allowed, "numbers");
}

void Options::finish() const {
  for (const auto& [name, value] : values_) {
    const auto same = [&, &key = name](const auto& r) { return r.first == key; };
    if (std::any_of(read_.begin(), read_.end(), same)) continue;
    std::vector<std::string> names;
    for (const auto& r : read_) names.push_back(r.first);
    if (names.empty()) {
      throw ValueError(fmt::format(
          "{}: option {} is given, expected none: the method has no options", method_, name));
    }
    throw_unknown("option of " + method_, name, names);
  }
}

}  // namespace concord::multitask
