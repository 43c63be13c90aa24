#include <concord/data/csv.h>

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace concord::data {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Where a field begins.
struct Place {
  std::size_t offset = 0;
  index_t line = 1, column = 1;
};

[[noreturn]] void fail(std::string_view name, const Place& at, std::string_view what) {
  throw_damaged("csv", name, at.offset,
                fmt::format("line {}, column {}: {}", at.line, at.column, what));
}

/// Walks the file: on_field(text, place) for each field, on_row(place) after the last one of a row.
template <class OnField, class OnRow>
void scan(Bytes bytes, std::string_view name, char delimiter, OnField&& on_field, OnRow&& on_row) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::size_t i =
      text.substr(0, kByteOrderMark.size()) == kByteOrderMark ? kByteOrderMark.size() : 0;
  const auto at_end_of_field = [&] {
    return i == text.size() || text[i] == delimiter || text[i] == '\n' ||
           (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
  };
  std::string unquoted;
  index_t columns = 0;
  Place place{i, 1, 1};
  while (i < text.size()) {
    place.offset = i;
    index_t line = place.line;  // where the field ends
    if (text[i] == '"') {
      unquoted.clear();
      for (++i;; ++i) {
        if (i == text.size()) fail(name, place, "quoted field is never closed");
        if (text[i] == '"') {
          if (i + 1 == text.size() || text[i + 1] != '"') break;
          ++i;
        } else if (text[i] == '\n') {
          ++line;
        }
        unquoted += text[i];
      }
      ++i;
      if (!at_end_of_field()) {
        fail(name, {i, line, place.column},
             "text follows a closing quote, expected a delimiter or the end of the line");
      }
      on_field(std::string_view(unquoted), place);
    } else {
      while (!at_end_of_field()) {
        if (text[i] == '"')
          fail(name, {i, line, place.column}, "quote within a field that does not begin with one");
        if (text[i] == '\r')
          fail(name, {i, line, place.column}, "carriage return without a line feed");
        ++i;
      }
      on_field(text.substr(place.offset, i - place.offset), place);
    }
    if (i < text.size() && text[i] == delimiter) {
      ++i;
      place = {i, line, place.column + 1};
      if (i < text.size()) continue;
      on_field(std::string_view(), place);  // the file ends with a delimiter: one more, empty field
    }
    if (columns == 0) columns = place.column;
    if (place.column != columns) {
      fail(name, place, fmt::format("row has {} fields, expected {}", place.column, columns));
    }
    on_row(place);
    if (i < text.size()) i += text[i] == '\r' ? 2 : 1;
    place = {i, line + 1, 1};
  }
}

double number(std::string_view text, std::string_view name, const Place& at) {
  constexpr std::string_view kBlank = " \t";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) fail(name, at, "field is empty, expected a number");
  std::string_view digits = text.substr(first, text.find_last_not_of(kBlank) - first + 1);
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  constexpr std::size_t kShown = 32;
  const auto shown =
      fmt::format("'{}{}'", text.substr(0, kShown), text.size() > kShown ? "..." : "");
  if (error == std::errc::result_out_of_range)
    fail(name, at, shown + " is out of the range of f64");
  if (error != std::errc() || end != digits.data() + digits.size())
    fail(name, at, shown + " is not a number");
  return value;
}

void append_row(std::string& out, const std::vector<std::string>& row, char delimiter) {
  for (std::size_t c = 0; c < row.size(); ++c) {
    if (c > 0) out += delimiter;
    out += csv_field(row[c], delimiter);
  }
  out += '\n';
}

}  // namespace

CsvText parse_csv_text(Bytes bytes, std::string_view name, const CsvOptions& options) {
  if (bytes.size() > kMaxCsvTextBytes) {
    throw_damaged(
        "csv", name, kMaxCsvTextBytes,
        fmt::format("has {} bytes, at most {} are accepted", bytes.size(), kMaxCsvTextBytes));
  }
  CsvText table;
  std::vector<std::string> row;
  bool in_header = options.header;
  scan(
      bytes, name, options.delimiter,
      [&](std::string_view field, const Place&) { row.emplace_back(field); },
      [&](const Place&) {
        if (in_header)
          table.header = std::move(row);
        else
          table.rows.push_back(std::move(row));
        in_header = false;
        row.clear();
      });
  return table;
}

CsvMatrix parse_csv(Bytes bytes, std::string_view name, const CsvOptions& options, DType dtype) {
  if (dtype != DType::f64 && dtype != DType::f32) {
    throw DTypeError(
        fmt::format("csv: matrices are f64 or f32, asked for {}", concord::name(dtype)));
  }
  CsvMatrix table;
  std::vector<double> values;
  index_t rows = 0, columns = 0;
  bool in_header = options.header;
  scan(
      bytes, name, options.delimiter,
      [&](std::string_view field, const Place& at) {
        if (in_header) {
          table.header.emplace_back(field);
          return;
        }
        const double value = number(field, name, at);
        if (dtype == DType::f32 && std::isfinite(value) &&
            !std::isfinite(static_cast<float>(value))) {
          fail(name, at, fmt::format("'{}' is out of the range of f32", field));
        }
        values.push_back(value);
      },
      [&](const Place& at) {
        columns = at.column;
        rows += !in_header;
        in_header = false;
      });
  table.values = Tensor::from(std::span<const double>(values), {rows, columns});
  if (dtype == DType::f32) table.values = table.values.to(DType::f32);
  return table;
}

CsvText load_csv_text(const std::filesystem::path& path, const CsvOptions& options) {
  return parse_csv_text(read_file(path, kMaxCsvTextBytes), path.string(), options);
}

CsvMatrix load_csv(const std::filesystem::path& path, const CsvOptions& options, DType dtype) {
  return parse_csv(read_file(path), path.string(), options, dtype);
}

std::string csv_field(std::string_view text, char delimiter) {
  const char special[] = {delimiter, '"', '\r', '\n'};
  const bool plain =
      text.find_first_of(std::string_view(special, sizeof special)) == std::string_view::npos;
  if (plain && text.substr(0, kByteOrderMark.size()) != kByteOrderMark) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string to_csv(const CsvText& table, char delimiter) {
  std::string out;
  if (!table.header.empty()) append_row(out, table.header, delimiter);
  for (const auto& row : table.rows) append_row(out, row, delimiter);
  return out;
}

std::string to_csv(const CsvMatrix& table, char delimiter) {
  check_rank("csv", "values", table.values, 2);
  std::string out;
  if (!table.header.empty()) append_row(out, table.header, delimiter);
  const index_t columns = table.values.dim(1);
  const auto append = [&](auto values) {
    for (index_t i = 0; i < table.values.numel(); ++i) {
      fmt::format_to(std::back_inserter(out), "{}{}", values[i],
                     (i + 1) % columns ? delimiter : '\n');
    }
  };
  switch (table.values.dtype()) {
    case DType::f32:
      append(table.values.values<float>());
      break;
    case DType::f64:
      append(table.values.values<double>());
      break;
    case DType::i64:
      append(table.values.values<std::int64_t>());
      break;
    case DType::u8:
      append(table.values.values<std::uint8_t>());
      break;
    case DType::bf16:
      append(table.values.to(DType::f32).values<float>());
      break;
  }
  return out;
}

}  // namespace concord::data
