#include <concord/data/csv.h>
#include <concord/data/files.h>
#include <concord/experiments/run_folder.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <ctime>
#include <span>

namespace concord::experiments {

namespace fs = std::filesystem;

namespace {

std::string read_text(const fs::path& path) {
  const std::vector<std::byte> bytes = data::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

CsvLog::CsvLog(fs::path path, std::vector<std::string> columns, std::int64_t rows)
    : path_(std::move(path)), columns_(std::move(columns)), rows_(rows) {
  const std::string header = fmt::format("{}\n", fmt::join(columns_, ","));
  if (!fs::exists(path_)) data::write_file(path_, std::as_bytes(std::span(header)));
  const std::string text = read_text(path_);
  if (text.compare(0, header.size(), header) != 0) {
    throw FileError(
        fmt::format("metrics: columns are '{}', expected '{}'", text.substr(0, text.find('\n')),
                    header.substr(0, header.size() - 1)),
        {{"file", path_.string()}});
  }
  std::size_t end = header.size();
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::size_t newline = text.find('\n', end);
    if (newline == std::string::npos) {
      throw FileError(
          fmt::format("metrics: {} rows, the checkpoint was written after {}", row, rows),
          {{"file", path_.string()}});
    }
    end = newline + 1;
  }
  if (end < text.size()) fs::resize_file(path_, end);
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) fail("opened");
}

void CsvLog::append(const std::vector<Cell>& cells) {
  if (cells.size() != columns_.size()) {
    throw ValueError(
        fmt::format("metrics: a row of {} cells, expected {}", cells.size(), columns_.size()));
  }
  fmt::memory_buffer line;
  for (const Cell& cell : cells) {
    if (const auto* text = std::get_if<std::string_view>(&cell)) {
      if (text->find_first_of(",\"\r\n") != std::string_view::npos) {
        throw ValueError(
            fmt::format("metrics: the text '{}' has a comma, quote or line break", *text));
      }
    }
    if (&cell != cells.data()) line.push_back(',');
    std::visit([&](const auto& value) { fmt::format_to(fmt::appender(line), "{}", value); }, cell);
  }
  line.push_back('\n');
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
      std::fflush(file_.get()) != 0) {
    fail("written");
  }
  ++rows_;
}

void CsvLog::sync() {
  if (::fsync(::fileno(file_.get())) != 0) fail("synced");
}

void CsvLog::fail(std::string_view doing) const {
  throw FileError(fmt::format("metrics: cannot be {}: {}", doing, std::strerror(errno)),
                  {{"file", path_.string()}});
}

CsvTable CsvTable::load(const fs::path& path) {
  std::vector<std::byte> bytes = data::read_file(path);
  while (!bytes.empty() && bytes.back() != std::byte{'\n'}) bytes.pop_back();
  data::CsvText text = data::parse_csv_text(bytes, path.string(), {.header = true});
  return {std::move(text.header), std::move(text.rows)};
}

std::size_t CsvTable::column(std::string_view name) const {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] == name) return i;
  }
  throw_unknown("column", name, columns);
}

double CsvTable::number(std::size_t row, std::string_view column_name) const {
  const std::string& cell = text(row, column_name);
  if (cell.empty()) return NAN;
  double value = 0;
  const auto [stop, code] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (code != std::errc() || stop != cell.data() + cell.size()) {
    throw ValueError(fmt::format("metrics: {} in row {} is '{}', expected a number", column_name,
                                 row + 1, cell));
  }
  return value;
}

RunFolder RunFolder::create(const fs::path& parent, std::string_view experiment,
                            const Json& config) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
  const std::string name = fmt::format("{}-{}", experiment, stamp);
  try {
    fs::create_directories(parent);
    fs::path path = parent / name;
    // create_directory tells whether it made the folder: two runs of one second do not share one.
    for (int number = 2; !fs::create_directory(path); ++number)
      path = parent / fmt::format("{}-{}", name, number);
    fs::create_directory(path / "checkpoints");
    fs::create_directory(path / "plots");
    RunFolder folder(path, config);
    folder.config_.save(path / "config.json");
    return folder;
  } catch (const fs::filesystem_error& e) {
    throw FileError("run folder: cannot be made: " + e.code().message(),
                    {{"folder", (parent / name).string()}});
  }
}

RunFolder RunFolder::open(const fs::path& path) {
  const fs::path config = path / "config.json";
  if (!fs::exists(config)) {
    const fs::path clean = path.has_filename() ? path : path.parent_path();
    std::vector<std::string> beside;
    std::error_code code;
    for (const auto& entry :
         fs::directory_iterator(clean.has_parent_path() ? clean.parent_path() : ".", code)) {
      if (fs::exists(entry.path() / "config.json"))
        beside.push_back(entry.path().filename().string());
    }
    std::vector<Error::Field> fields{{"folder", path.string()}};
    if (const auto close = nearest(clean.filename().string(), beside); !close.empty()) {
      fields.emplace_back("nearest", fmt::format("{}", fmt::join(close, ", ")));
    }
    throw FileError("run folder: there is no config.json, expected a folder made by 'concord run'",
                    std::move(fields));
  }
  return {path, Json::load(config)};
}

fs::path RunFolder::checkpoint(std::string_view name) const {
  return path_ / "checkpoints" / (std::string(name) + ".safetensors");
}

}  // namespace concord::experiments
