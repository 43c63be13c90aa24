#include <concord/experiments/settings.h>
#include <concord/tensor/check.h>
#include <concord/tensor/device.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace concord::experiments {

namespace {

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

template <class T>
bool parse_number(std::string_view text, T& out) {
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, out);
  return code == std::errc() && stop == end && !text.empty();
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

template <class T>
std::string between(const char* what, T low, T high, T least, T most) {
  if (low == least && high == most) return what;
  if (high == most) return fmt::format("{} of at least {}", what, low);
  if (low == least) return fmt::format("{} of at most {}", what, high);
  return fmt::format("{} from {} to {}", what, low, high);
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The value that `text` stands for, or nothing when it is no value of this type.
std::optional<Settings::Value> parse(const Settings::Type& type, std::string_view text) {
  using Result = std::optional<Settings::Value>;
  return std::visit(
      Overload{
          [&](const Integer& t) -> Result {
            std::int64_t v = 0;
            if (!parse_number(text, v) || v < t.low || v > t.high) return {};
            return v;
          },
          [&](const Real& t) -> Result {
            double v = 0;
            if (!parse_number(text, v) || !std::isfinite(v) || v < t.low || v > t.high) return {};
            return v;
          },
          [&](const Flag&) -> Result {
            for (const char* yes : {"true", "on", "yes", "1"}) {
              if (text == yes) return true;
            }
            for (const char* no : {"false", "off", "no", "0"}) {
              if (text == no) return false;
            }
            return {};
          },
          [&](const Text&) -> Result { return std::string(text); },
          [&](const Choice& t) -> Result {
            if (!contains(t.valid, std::string(text))) return {};
            return std::string(text);
          },
          [&](const Choices& t) -> Result {
            if (text == "all") return t.valid;
            std::vector<std::string> names = split(text);
            for (const std::string& name : names) {
              if (!contains(t.valid, name) || std::count(names.begin(), names.end(), name) > 1)
                return {};
            }
            if (names.empty()) return {};
            return names;
          },
      },
      type);
}

Settings::Value standard(const Settings::Type& type) {
  return std::visit([](const auto& t) -> Settings::Value { return t.standard; }, type);
}

Settings::Value full(const Settings::Type& type) {
  return std::visit([](const auto& t) -> Settings::Value { return t.full.value_or(t.standard); },
                    type);
}

/// Quotes for a shell, where it needs any.
std::string shell(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  if (word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

Json to_json(const Settings::Value& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

/// As the user would type it, so that one set of checks serves both.
std::string from_json(const Json& json, const std::string& name) {
  if (json.is<bool>()) return json.as<bool>() ? "true" : "false";
  if (json.is<std::int64_t>()) return fmt::format("{}", json.as<std::int64_t>());
  if (json.is<double>()) return fmt::format("{}", json.as<double>());
  if (json.is<std::string>()) return json.as<std::string>();
  std::vector<std::string> parts;
  for (const Json& part : json.as<Json::Array>(name)) parts.push_back(part.as<std::string>(name));
  return fmt::format("{}", fmt::join(parts, ","));
}

}  // namespace

std::string to_string(const Settings::Value& value) {
  return std::visit(Overload{[](const std::vector<std::string>& v) {
                               return fmt::format("{}", fmt::join(v, ","));
                             },
                             [](const auto& v) { return fmt::format("{}", v); }},
                    value);
}

std::string describe(const Settings::Type& type) {
  return std::visit(
      Overload{
          [](const Integer& t) {
            using Limits = std::numeric_limits<std::int64_t>;
            return between("a whole number", t.low, t.high, Limits::min(), Limits::max());
          },
          [](const Real& t) {
            const double infinity = std::numeric_limits<double>::infinity();
            return between("a number", t.low, t.high, -infinity, infinity);
          },
          [](const Flag&) { return std::string("true or false"); },
          [](const Text&) { return std::string("text"); },
          [](const Choice& t) { return fmt::format("one of {}", fmt::join(t.valid, ", ")); },
          [](const Choices& t) {
            return fmt::format("all, or some of {} with commas between them",
                               fmt::join(t.valid, ", "));
          },
      },
      type);
}

std::string standard_value(const Settings::Type& type) { return to_string(standard(type)); }

std::string full_value(const Settings::Type& type) {
  return full(type) == standard(type) ? "" : to_string(full(type));
}

void Settings::add(std::string name, Type type, std::string help) {
  Value value = standard(type);
  settings_.push_back({std::move(name), std::move(help), std::move(type), std::move(value)});
}

Settings::Setting& Settings::find(std::string_view name) {
  std::vector<std::string> names;
  for (Setting& setting : settings_) {
    if (setting.name == name) return setting;
    names.push_back(setting.name);
  }
  throw_unknown("setting of " + experiment_, name, names);
}

void Settings::set(std::string_view name, std::string_view text) {
  Setting& setting = find(name);
  std::optional<Value> value = parse(setting.type, text);
  if (!value) {
    // An unknown name in a list or choice gets the nearest valid ones, as everywhere.
    const auto check = [&](const auto& type, const std::vector<std::string>& given) {
      for (const std::string& one : given) {
        if (contains(type.valid, one)) continue;
        throw_unknown(type.kind.empty() ? "value of " + setting.name : type.kind, one, type.valid);
      }
    };
    if (const auto* t = std::get_if<Choice>(&setting.type)) check(*t, {std::string(text)});
    if (const auto* t = std::get_if<Choices>(&setting.type)) check(*t, split(text));
    throw ValueError(fmt::format("{}: {} is '{}', expected {}", experiment_, setting.name, text,
                                 describe(setting.type)),
                     {{"setting", setting.name + ": " + setting.help}});
  }
  setting.value = *std::move(value);
  setting.changed = true;
}

namespace {

std::pair<std::string_view, std::string_view> name_and_value(std::string_view who,
                                                             std::string_view pair) {
  const std::size_t equals = pair.find('=');
  if (equals == std::string_view::npos) {
    throw ValueError(fmt::format("{}: --set has '{}', expected name=value", who, pair));
  }
  return {pair.substr(0, equals), pair.substr(equals + 1)};
}

}  // namespace

bool Settings::has(std::string_view name) const {
  return std::any_of(settings_.begin(), settings_.end(),
                     [&](const Setting& s) { return s.name == name; });
}

void add_device(Settings& settings) {
  settings.add("device", Text{.standard = "cpu"},
               "where to train: cpu, cuda, cuda:1 (concord info)");
}

Device device_of(const Settings& settings) { return device_from(settings.text("device")); }

void Settings::assign(std::string_view pair) {
  const auto [name, value] = name_and_value(experiment_, pair);
  set(name, value);
}

std::map<std::string, std::string> options_from(std::string_view verb,
                                                const std::vector<std::string>& assignments) {
  std::map<std::string, std::string> options;
  for (const std::string& pair : assignments) {
    const auto [name, value] = name_and_value(verb, pair);
    options[std::string(name)] = value;
  }
  return options;
}

void Settings::use_full() {
  full_ = true;
  for (Setting& setting : settings_) {
    if (!setting.changed) setting.value = experiments::full(setting.type);
  }
}

template <class T>
const T& Settings::get(std::string_view name) const {
  for (const Setting& setting : settings_) {
    if (setting.name != name) continue;
    if (const T* value = std::get_if<T>(&setting.value)) return *value;
    break;
  }
  throw UsageError(fmt::format("{}: no setting '{}' of this type", experiment_, name));
}
template const std::int64_t& Settings::get(std::string_view) const;
template const double& Settings::get(std::string_view) const;
template const bool& Settings::get(std::string_view) const;
template const std::string& Settings::get(std::string_view) const;
template const std::vector<std::string>& Settings::get(std::string_view) const;

Json Settings::to_json() const {
  Json::Object values;
  Json::Array changed;
  for (const Setting& setting : settings_) {
    values.emplace_back(setting.name, experiments::to_json(setting.value));
    if (setting.changed) changed.emplace_back(setting.name);
  }
  return Json::object({{"full", full_}, {"values", values}, {"changed", changed}});
}

void Settings::from_json(const Json& json) {
  if (json["full"].as<bool>("full")) use_full();
  for (const auto& [name, value] : json["values"].as<Json::Object>("values")) {
    set(name, experiments::from_json(value, name));
  }
  for (Setting& setting : settings_) setting.changed = false;
  for (const Json& name : json["changed"].as<Json::Array>("changed")) {
    find(name.as<std::string>("changed")).changed = true;
  }
}

std::string Settings::command() const {
  std::string line = "concord run " + experiment_;
  if (full_) line += " --full";
  for (const Setting& setting : settings_) {
    if (setting.changed) line += " --set " + shell(setting.name + "=" + to_string(setting.value));
  }
  return line;
}

}  // namespace concord::experiments
