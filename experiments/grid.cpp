#include <concord/experiments/grid.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::experiments {

namespace {

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(at, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

std::vector<GridAxis> parse_grid(std::string_view text) {
  std::vector<GridAxis> axes;
  if (text.empty()) return axes;
  std::vector<std::string> pieces;
  for (std::string& piece : split(text, ',')) {
    if (piece.find('=') == std::string::npos && !pieces.empty())
      pieces.back() += "," + piece;
    else
      pieces.push_back(std::move(piece));
  }
  for (const std::string& piece : pieces) {
    const std::size_t equals = piece.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw ValueError(
          fmt::format("grid: '{}', expected name=value:value, with commas between names", piece));
    }
    GridAxis axis{piece.substr(0, equals), split(std::string_view(piece).substr(equals + 1), ':')};
    for (std::size_t i = 0; i < axis.values.size(); ++i) {
      const auto& v = axis.values;
      if (v[i].empty() || std::find(v.begin(), v.begin() + static_cast<long>(i), v[i]) !=
                              v.begin() + static_cast<long>(i)) {
        throw ValueError(fmt::format("grid: {} has the value '{}' {}, expected values, each once",
                                     axis.setting, v[i], v[i].empty() ? "(nothing)" : "twice"));
      }
    }
    for (const GridAxis& other : axes) {
      if (other.setting == axis.setting)
        throw ValueError(
            fmt::format("grid: {} is named twice, expected each setting once", axis.setting));
    }
    axes.push_back(std::move(axis));
  }
  return axes;
}

std::vector<GridPoint> points_of(const std::vector<GridAxis>& axes) {
  std::vector<GridPoint> points{{}};
  for (const GridAxis& axis : axes) {
    std::vector<GridPoint> longer;
    for (const GridPoint& point : points) {
      for (const std::string& value : axis.values) {
        longer.push_back(point);
        longer.back().emplace_back(axis.setting, value);
      }
    }
    points = std::move(longer);
  }
  return points;
}

std::string to_string(const GridPoint& point) {
  std::string text;
  for (const auto& [name, value] : point)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  return text.empty() ? "-" : text;
}

}  // namespace concord::experiments
