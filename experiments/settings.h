// Settings: the table of everything an experiment lets its user choose, with defaults, the values
// of the literature's length (--full), limits and a line of help each.
//
//   Settings s("multifashion");
//   s.add("epochs", Integer{.standard = 4, .full = 100, .low = 1, .high = 100000}, "passes over the
//   data"); s.add("rate", Real{.standard = 1e-3, .low = 0, .high = 10}, "learning rate");
//   s.assign("epochs=2");              // what --set epochs=2 does
//   s.integer("epochs");               // 2
#pragma once

#include <concord/experiments/json.h>
#include <concord/tensor/types.h>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace concord::experiments {

// The types of a setting. `full` is the value under --full; without it that is the default.
struct Integer {
  std::int64_t standard;
  std::optional<std::int64_t> full = {};
  std::int64_t low = std::numeric_limits<std::int64_t>::min();
  std::int64_t high = std::numeric_limits<std::int64_t>::max();
};
struct Real {
  double standard;
  std::optional<double> full = {};
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
};
struct Flag {  ///< true or false; on, off, yes, no, 1, 0 are taken too
  bool standard;
  std::optional<bool> full = {};
};
struct Text {
  std::string standard;
  std::optional<std::string> full = {};
};
struct Choice {  ///< one of `valid`
  std::string standard;
  std::vector<std::string> valid;
  std::optional<std::string> full = {};
  std::string kind = {};  ///< what errors call it: "unknown network 'x'"
};
struct Choices {  ///< some of `valid`, in the order given, none twice; at least one; or "all"
  std::vector<std::string> standard;
  std::vector<std::string> valid;
  std::optional<std::vector<std::string>> full = {};
  std::string kind = {};
};

class Settings {
 public:
  using Value = std::variant<std::int64_t, double, bool, std::string, std::vector<std::string>>;
  using Type = std::variant<Integer, Real, Flag, Text, Choice, Choices>;

  struct Setting {
    std::string name;
    std::string help;
    Type type;
    Value value;
    bool changed = false;  ///< set by the user, as opposed to the default or --full
  };

  /// `experiment` is what errors begin with.
  explicit Settings(std::string experiment) : experiment_(std::move(experiment)) {}

  void add(std::string name, Type type, std::string help);

  /// Takes a value from text. Throws ValueError for an unknown name (with the nearest) and for a
  /// value of the wrong type or out of range (with what was expected).
  void set(std::string_view name, std::string_view text);
  /// "name=value". Throws ValueError when there is no '='.
  void assign(std::string_view pair);
  /// Every setting the user has not changed takes its value of full length.
  void use_full();

  // The value. Throws UsageError when the setting has another type: a mistake of the program.
  std::int64_t integer(std::string_view name) const { return get<std::int64_t>(name); }
  double real(std::string_view name) const { return get<double>(name); }
  bool flag(std::string_view name) const { return get<bool>(name); }
  const std::string& text(std::string_view name) const { return get<std::string>(name); }
  const std::vector<std::string>& list(std::string_view name) const {
    return get<std::vector<std::string>>(name);
  }

  bool has(std::string_view name) const;

  const std::string& experiment() const { return experiment_; }
  const std::vector<Setting>& all() const { return settings_; }
  bool full() const { return full_; }

  /// {"full": false, "values": {"epochs": 4, ...}, "changed": ["epochs"]}: what a run folder keeps.
  Json to_json() const;
  /// Values written by to_json, checked as if typed. Throws ValueError.
  void from_json(const Json& json);

  /// "concord run multifashion --full --set epochs=2": the shortest command with the same settings.
  std::string command() const;

 private:
  template <class T>
  const T& get(std::string_view name) const;
  Setting& find(std::string_view name);

  std::string experiment_;
  std::vector<Setting> settings_;
  bool full_ = false;
};

/// The setting of experiments that train on any device (--device), and its value. Throws ValueError
/// for a text that names none, DeviceError with the reason when the device is not there.
void add_device(Settings& settings);
Device device_of(const Settings& settings);

/// "4", "0.001", "true", "equal,pcgrad": as `set` takes it.
std::string to_string(const Settings::Value& value);
/// "a whole number of at least 1", "one of lenet, resnet18": what the setting takes.
std::string describe(const Settings::Type& type);
/// The default, as text.
std::string standard_value(const Settings::Type& type);
/// The value under --full where it differs from the default; otherwise empty.
std::string full_value(const Settings::Type& type);

/// {"name": "value", ...} from texts "name=value", for options that somebody else checks. Throws
/// ValueError that begins with `verb` when there is no '='.
std::map<std::string, std::string> options_from(std::string_view verb,
                                                const std::vector<std::string>& assignments);

}  // namespace concord::experiments
