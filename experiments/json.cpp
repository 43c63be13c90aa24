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

Json from_text(const Text& t) {
  switch (t.type()) {
    case Text::value_t::boolean:
      return t.get<bool>();
    case Text::value_t::number_integer:
      return t.get<std::int64_t>();
    case Text::value_t::number_unsigned: {
      const auto n = t.get<std::uint64_t>();
      if (n <= static_cast<std::uint64_t>(INT64_MAX)) return static_cast<std::int64_t>(n);
      return static_cast<double>(n);
    }
    case Text::value_t::number_float:
      return t.get<double>();
    case Text::value_t::string:
      return t.get<std::string>();
    case Text::value_t::array: {
      Json::Array values;
      for (const Text& element : t) values.push_back(from_text(element));
      return values;
    }
    case Text::value_t::object: {
      Json::Object members;
      for (const auto& [name, value] : t.items()) members.emplace_back(name, from_text(value));
      return members;
    }
    default:
      return {};
  }
}

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
  try {
    return from_text(Text::parse(text));
  } catch (const Text::exception& e) {
    const std::string_view what = e.what();  // "[json.exception...] parse error at ...: ..."
    throw ValueError(
        fmt::format("json: {}", what.substr(std::min(what.size(), what.find("] ") + 2))));
  }
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
