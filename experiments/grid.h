// A grid of settings to try: "lr=1e-3:3e-3,cagrad.c=0.2:0.4:0.8" has six points.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concord::experiments {

struct GridAxis {
  std::string setting;
  std::vector<std::string> values;
};

/// Axes are separated by commas, their values by colons. A comma that no name= follows belongs to a
/// value: "constant.w=1,0.5:0.5,1" is one axis of two. Empty text: no axes. Throws ValueError for
/// text of another form, a setting named twice, a value given twice.
std::vector<GridAxis> parse_grid(std::string_view text);

/// One value per axis.
using GridPoint = std::vector<std::pair<std::string, std::string>>;

/// All combinations, the last axis fastest; a single empty point without axes.
std::vector<GridPoint> points_of(const std::vector<GridAxis>& axes);

/// "lr=0.001 cagrad.c=0.2"; "-" for the empty point.
std::string to_string(const GridPoint& point);

}  // namespace concord::experiments
