#include <concord/experiments/table.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace concord::experiments {

namespace {

/// Characters, not bytes, of UTF-8 text; every one takes one column in the texts we write.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

Mean mean_of(std::span<const double> values) {
  Mean m{NAN, NAN, values.size()};
  if (values.empty()) return m;
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (const double v : values) sum += v;
  m.mean = sum / n;
  if (values.size() < 2) return m;
  double squares = 0;
  for (const double v : values) squares += (v - m.mean) * (v - m.mean);
  m.error = std::sqrt(squares / (n - 1) / n);
  return m;
}

double half_width_95(const Mean& m) {
  const double freedom = static_cast<double>(m.count) - 1;
  return (1.95996 + 2.37227 / freedom + 2.82250 / (freedom * freedom)) * m.error;
}

std::string to_string(const Mean& m, int digits) {
  if (!std::isfinite(m.mean)) return "-";
  if (!std::isfinite(m.error)) return fmt::format("{:.{}f}", m.mean, digits);
  return fmt::format("{:.{}f} ± {:.{}f}", m.mean, digits, m.error, digits);
}

Table::Table(std::vector<std::string> columns) {
  for (std::string& name : columns) {
    const bool left = !name.empty() && name[0] == '<';
    columns_.push_back({left ? name.substr(1) : std::move(name), left});
  }
}

void Table::add(std::vector<std::string> cells) {
  if (cells.size() != columns_.size()) {
    throw ValueError(
        fmt::format("table: a row of {} cells, expected {}", cells.size(), columns_.size()));
  }
  rows_.push_back(std::move(cells));
  marked_.emplace_back(columns_.size(), false);
}

bool Table::ruled(std::size_t row) const {
  return row > 0 && std::binary_search(rules_before_.begin(), rules_before_.end(), row);
}

std::string Table::text(bool colour) const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(width(columns_[c].name));
    for (const auto& row : rows_) widths[c] = std::max(widths[c], width(row[c]));
  }
  std::size_t total = 2 * (columns_.size() - 1);
  for (const std::size_t w : widths) total += w;

  std::string out;
  const auto line = [&](const auto& cell, const auto& bold) {
    std::string text;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string& content = cell(c);
      const std::string padding(widths[c] - width(content), ' ');
      const std::string shown = bold(c) ? "\x1b[1m" + content + "\x1b[0m" : content;
      text += (c ? "  " : "") + (columns_[c].left ? shown + padding : padding + shown);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  std::string rule;
  for (std::size_t i = 0; i < total; ++i) rule += "─";
  rule += "\n";
  line([&](std::size_t c) -> const std::string& { return columns_[c].name; },
       [](std::size_t) { return false; });
  out += rule;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    if (ruled(r)) out += rule;
    line([&](std::size_t c) -> const std::string& { return rows_[r][c]; },
         [&](std::size_t c) { return colour && marked_[r][c]; });
  }
  return out;
}

std::string Table::markdown() const {
  std::string out = "|";
  for (const Column& column : columns_) out += " " + column.name + " |";
  out += "\n|";
  for (const Column& column : columns_) out += column.left ? "---|" : "---:|";
  out += "\n";
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    out += "|";
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      out += marked_[r][c] ? " **" + rows_[r][c] + "** |" : " " + rows_[r][c] + " |";
    }
    out += "\n";
  }
  return out;
}

std::string Table::html() const {
  std::string out = "<div class=\"table\"><table>\n<thead><tr>";
  const auto cell = [&](const char* tag, std::size_t c, const std::string& content, bool marked) {
    out += fmt::format("<{}{}>{}{}{}</{}>", tag, columns_[c].left ? "" : " class=\"n\"",
                       marked ? "<b>" : "", escape_html(content), marked ? "</b>" : "", tag);
  };
  for (std::size_t c = 0; c < columns_.size(); ++c) cell("th", c, columns_[c].name, false);
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    out += ruled(r) ? "<tr class=\"rule\">" : "<tr>";
    for (std::size_t c = 0; c < columns_.size(); ++c) cell("td", c, rows_[r][c], marked_[r][c]);
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace concord::experiments
