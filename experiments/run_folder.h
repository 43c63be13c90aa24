// RunFolder: where a run lives, and everything needed to read, resume or repeat it.
//
//   runs/multifashion-20260102-030405/
//     config.json    settings, versions, machine, the command that repeats the run
//     metrics.csv    what was measured; the same bits for the same settings, seeds and thread count
//     timings.csv    what depends on the machine's mood: seconds, images per second
//     checkpoints/   safetensors
//     plots/         gnuplot scripts and the SVG they make
//     report.html
#pragma once

#include <concord/experiments/json.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace concord::experiments {

/// A CSV file that grows row by row and survives interruption. Every row reaches the system before
/// append() returns; numbers keep every bit.
class CsvLog {
 public:
  using Cell = std::variant<std::int64_t, double, std::string_view>;

  /// Opens the file, makes it with `columns` as its first line if there is none, and keeps the
  /// first `rows` rows: what a checkpoint saw. Rows after those were computed after the checkpoint
  /// and will be computed again. Throws FileError when the file has other columns or fewer rows.
  CsvLog(std::filesystem::path path, std::vector<std::string> columns, std::int64_t rows);

  /// One cell per column. Text may not hold commas, quotes or line breaks: ValueError.
  void append(const std::vector<Cell>& cells);
  std::int64_t rows() const { return rows_; }
  /// Waits until the disk has it: call before the checkpoint that counts these rows is written.
  void sync();

 private:
  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };

  [[noreturn]] void fail(std::string_view doing) const;

  std::filesystem::path path_;
  std::vector<std::string> columns_;
  std::int64_t rows_;
  std::unique_ptr<std::FILE, Close> file_;
};

/// A log read back. A last line without its line break (a kill in mid-write) is left out.
struct CsvTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;

  /// Throws FileError for a missing file, or as data/csv.h does for a damaged one.
  static CsvTable load(const std::filesystem::path& path);

  /// Throws ValueError for a name that is no column.
  std::size_t column(std::string_view name) const;
  const std::string& text(std::size_t row, std::string_view column_name) const {
    return rows[row][column(column_name)];
  }
  /// NaN for an empty cell. Throws ValueError for text.
  double number(std::size_t row, std::string_view column_name) const;
};

class RunFolder {
 public:
  /// Makes <parent>/<experiment>-<date>-<time> (with -2, -3 ... when taken) and writes config.json.
  static RunFolder create(const std::filesystem::path& parent, std::string_view experiment,
                          const Json& config);
  /// An existing one. Throws FileError when there is none, naming the nearest folders beside it.
  static RunFolder open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const Json& config() const { return config_; }
  std::string experiment() const { return config_["experiment"].as<std::string>("experiment"); }

  std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
  std::filesystem::path timings() const { return path_ / "timings.csv"; }
  std::filesystem::path report() const { return path_ / "report.html"; }
  std::filesystem::path plots() const { return path_ / "plots"; }
  /// checkpoints/<name>.safetensors
  std::filesystem::path checkpoint(std::string_view name) const;

 private:
  RunFolder(std::filesystem::path path, Json config)
      : path_(std::move(path)), config_(std::move(config)) {}

  std::filesystem::path path_;
  Json config_;
};

}  // namespace concord::experiments
