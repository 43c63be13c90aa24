// Table: cells of text with a header, for terminals, Markdown and HTML; and means with their
// errors.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concord::experiments {

/// Mean of a sample and the standard error of that mean, s / sqrt(n) with s^2 = sum (x - mean)^2 /
/// (n - 1).
struct Mean {
  double mean = 0;
  double error = 0;  ///< NaN for fewer than two values
  std::size_t count = 0;
};
Mean mean_of(std::span<const double> values);

/// Half the width of the 95 % confidence interval of the mean: Student's t quantile for n - 1
/// degrees of freedom (its expansion in 1 / (n - 1), within 3 % from n = 4 on) times the error.
double half_width_95(const Mean& m);

/// "87.31 ± 0.12"; without an error "87.31"; no values or NaN: "-".
std::string to_string(const Mean& m, int digits = 2);

class Table {
 public:
  /// Columns named with a leading '<' are aligned to the left, others to the right (numbers).
  explicit Table(std::vector<std::string> columns);

  /// Throws ValueError unless there is one cell per column.
  void add(std::vector<std::string> cells);
  /// Sets a cell of the last row in bold: the best of its column, say.
  void mark(std::size_t column) { marked_.back()[column] = true; }
  /// A line above the next row.
  void rule() { rules_before_.push_back(rows_.size()); }
  bool empty() const { return rows_.empty(); }

  /// Lines with aligned columns; marked cells in bold when `colour`.
  std::string text(bool colour = false) const;
  std::string markdown() const;
  std::string html() const;

 private:
  bool ruled(std::size_t row) const;

  struct Column {
    std::string name;
    bool left;
  };
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::vector<bool>> marked_;
  std::vector<std::size_t> rules_before_;  // ascending
};

/// &, <, > and quotes as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace concord::experiments
