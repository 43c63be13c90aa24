#include <concord/data/files.h>
#include <concord/experiments/json.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace concord::experiments {

namespace {

using Text = nlohmann::ordered_json;

constexpr const char* kKinds[] = {"null", "true or false", "whole number", "number",
                                  "text", "list",          "object"};

template <class T>
constexpr std::size_t kind_of() {
  return std::variant<std::monostate, bool, std::int64_t, double, std::string, Json::Array,
                      Json::Object>(T{})
      .index();
}

/// Takes the parser's events. Deep nesting is refused before it can exhaust the stack: values are
/// destroyed and written recursively.
class Builder : public nlohmann::json_sax<Text> {
 public:
  Json take() { return std::move(root_); }

  bool null() override { return put({}); }
  bool boolean(bool b) override { return put(b); }
  bool number_integer(std::int64_t i) override { return put(i); }
  bool number_unsigned(std::uint64_t n) override {
    if (n <= static_cast<std::uint64_t>(INT64_MAX)) return put(static_cast<std::int64_t>(n));
    return put(static_cast<double>(n));
  }
  bool number_float(double d, const std::string&) override { return put(d); }
  bool string(std::string& s) override { return put(std::move(s)); }
  bool binary(Text::binary_t&) override { return false; }  // not in text
  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    open_.back().members.emplace_back(std::move(name), Json());
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Text::exception& e) override {
    const std::string_view what = e.what();  // "[json.exception...] parse error at ...: ..."
    throw ValueError(
        fmt::format("json: {}", what.substr(std::min(what.size(), what.find("] ") + 2))));
  }

 private:
  static constexpr std::size_t kMaxDepth = 64;

  struct Level {
    bool object;
    Json::Object members;
    Json::Array elements;
  };

  bool open(bool object) {
    if (open_.size() == kMaxDepth)
      throw ValueError(fmt::format("json: nested deeper than {} levels", kMaxDepth));
    open_.push_back({object, {}, {}});
    return true;
  }
  bool close() {
    Level level = std::move(open_.back());
    open_.pop_back();
    return level.object ? put(std::move(level.members)) : put(std::move(level.elements));
  }
  bool put(Json value) {
    if (open_.empty())
      root_ = std::move(value);
    else if (open_.back().object)
      open_.back().members.back().second = std::move(value);
    else
      open_.back().elements.push_back(std::move(value));
    return true;
  }

  Json root_;
  std::vector<Level> open_;
};

Text to_text(const Json& j) {
  if (j.is<bool>()) return j.as<bool>();
  if (j.is<std::int64_t>()) return j.as<std::int64_t>();
  if (j.is<double>()) return j.as<double>();
  if (j.is<std::string>()) return j.as<std::string>();
  if (j.is<Json::Array>()) {
    Text out = Text::array();
    for (const Json& element : j.as<Json::Array>()) out.push_back(to_text(element));
    return out;
  }
  if (j.is<Json::Object>()) {
    Text out = Text::object();
    for (const auto& [name, value] : j.as<Json::Object>()) out[name] = to_text(value);
    return out;
  }
  return nullptr;
}

}  // namespace

template <class T>
const T& Json::as(std::string_view name) const {
  if (const T* value = std::get_if<T>(&value_)) return *value;
  throw ValueError(fmt::format("json: '{}' is a {}, expected a {}", name, kKinds[value_.index()],
                               kKinds[kind_of<T>()]));
}
template const bool& Json::as(std::string_view) const;
template const std::int64_t& Json::as(std::string_view) const;
template const double& Json::as(std::string_view) const;
template const std::string& Json::as(std::string_view) const;
template const Json::Array& Json::as(std::string_view) const;
template const Json::Object& Json::as(std::string_view) const;

double Json::number(std::string_view name) const {
  return is<std::int64_t>() ? static_cast<double>(as<std::int64_t>()) : as<double>(name);
}

const Json* Json::find(std::string_view name) const {
  if (const auto* members = std::get_if<Object>(&value_)) {
    for (const auto& [key, value] : *members) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

const Json& Json::operator[](std::string_view name) const {
  if (const Json* value = find(name)) return *value;
  throw ValueError(fmt::format("json: there is no '{}'", name));
}

void Json::set(std::string_view name, Json value) {
  if (is<std::monostate>()) value_ = Object();
  for (auto& [key, old] : std::get<Object>(value_)) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  std::get<Object>(value_).emplace_back(name, std::move(value));
}

std::string Json::dump(int indent) const {
  // Bytes that are not UTF-8 (a file name, say) are replaced rather than lost in an exception.
  return to_text(*this).dump(indent, ' ', false, Text::error_handler_t::replace);
}

Json Json::parse(std::string_view text) {
  Builder builder;
  Text::sax_parse(text, &builder);
  return builder.take();
}

Json Json::load(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = data::read_file(path);
  try {
    return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  } catch (const ValueError& e) {
    throw FileError(e.headline(), {{"file", path.string()}});
  }
}

void Json::save(const std::filesystem::path& path) const {
  const std::string text = dump() + "\n";
  data::write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace concord::experiments
