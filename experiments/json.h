// Json: a value of JSON, for settings, run folders and machine-readable output. The parser behind
// it is confined to json.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace concord::experiments {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  ///< in the order of writing

  Json() = default;  ///< null
  Json(bool b) : value_(b) {}
  Json(int i) : value_(std::int64_t{i}) {}
  Json(std::int64_t i) : value_(i) {}
  Json(std::size_t i) : value_(static_cast<std::int64_t>(i)) {}
  /// NaN and infinities have no JSON number: they are written as null.
  Json(double d) : value_(d) {}
  Json(const char* s) : value_(std::string(s)) {}
  Json(std::string_view s) : value_(std::string(s)) {}
  Json(std::string s) : value_(std::move(s)) {}
  Json(Array a) : value_(std::move(a)) {}
  Json(Object o) : value_(std::move(o)) {}
  Json(const std::vector<double>& values) : value_(Array(values.begin(), values.end())) {}
  Json(const std::vector<std::string>& values) : value_(Array(values.begin(), values.end())) {}
  static Json object(std::initializer_list<std::pair<std::string, Json>> members) {
    return Object(members);
  }

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(value_);
  }
  /// The value as bool, std::int64_t, double (also from a whole number), std::string, Array or
  /// Object. Throws ValueError "json: <name> is a ..., expected a ...".
  template <class T>
  const T& as(std::string_view name = "value") const;
  double number(std::string_view name = "value") const;

  /// Member of an object. Throws ValueError when there is none of that name.
  const Json& operator[](std::string_view name) const;
  /// Null when there is none.
  const Json* find(std::string_view name) const;
  /// Adds or replaces a member; null becomes an object first.
  void set(std::string_view name, Json value);

  /// Two spaces of indentation per level, or one line with indent < 0. Doubles keep every bit.
  std::string dump(int indent = 2) const;
  /// Throws ValueError with the place of the first error, or for lists and objects nested more than
  /// 64 deep. Of members with the same name, find() sees the first.
  static Json parse(std::string_view text);
  /// Throws FileError naming the file.
  static Json load(const std::filesystem::path& path);
  void save(const std::filesystem::path& path) const;

  friend bool operator==(const Json& a, const Json& b) { return a.value_ == b.value_; }

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

}  // namespace concord::experiments
