// CSV as RFC 4180 has it: fields may be quoted, a quoted field may hold delimiters, line ends and
// doubled quotes; lines end in CRLF or LF; every row has as many fields as the first. A UTF-8 byte
// order mark is skipped.
#pragma once

#include <concord/data/files.h>
#include <concord/tensor/tensor.h>

#include <string>

namespace concord::data {

struct CsvOptions {
  char delimiter = ',';
  bool header = false;  ///< the first row holds names
};

/// Texts take far more memory than their file: tables of text are limited to this size of file.
inline constexpr std::size_t kMaxCsvTextBytes = std::size_t{1} << 27;

struct CsvText {
  std::vector<std::string> header;  ///< empty without one
  std::vector<std::vector<std::string>> rows;
};

struct CsvMatrix {
  std::vector<std::string> header;
  Tensor values;  ///< [rows, columns]
};

/// Throw FileError naming line and column (both from 1; the column counts fields) and the offset: a
/// row of another length, a quote out of place or never closed, a lone carriage return, a field
/// that is no number or does not fit.
CsvText parse_csv_text(Bytes bytes, std::string_view name, const CsvOptions& options = {});
CsvMatrix parse_csv(Bytes bytes, std::string_view name, const CsvOptions& options = {},
                    DType dtype = DType::f64);
CsvText load_csv_text(const std::filesystem::path& path, const CsvOptions& options = {});
CsvMatrix load_csv(const std::filesystem::path& path, const CsvOptions& options = {},
                   DType dtype = DType::f64);

/// The field, quoted when it has to be.
std::string csv_field(std::string_view text, char delimiter = ',');
/// A table of texts or of numbers (shortest text that reads back as the same value), lines ending
/// in LF.
std::string to_csv(const CsvText& table, char delimiter = ',');
std::string to_csv(const CsvMatrix& table, char delimiter = ',');

}  // namespace concord::data
