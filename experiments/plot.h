// Plots through gnuplot, as SVG: lines with error bands, bars with error bars, a matrix in colours,
// contours of landscapes with the ways of descent through them.
// Each plot leaves <base>.gp (the script with its data: a plot can be restyled or redrawn by hand)
// and <base>.svg.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concord::experiments {

struct Axis {
  std::string label;  ///< with its unit: "accuracy (%)"
  std::optional<double> low = {}, high = {};
  bool logarithmic = false;
};

/// Series of one plot in one order get the palette's colours in that order: keep the order of
/// methods the same in all plots of a report.
struct Series {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> error = {};  ///< half height of the band (lines) or of the bar; empty: none
  bool marks = false;              ///< lines: a mark at each point and no line between them
};

/// Series of few points show them.
struct LinePlot {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
};

/// Groups of bars: series s has one value per category (its x is not used).
struct BarPlot {
  std::string title;
  Axis y;
  std::vector<std::string> categories;
  std::vector<Series> series;
};

/// values[row][column]; row 0 on top; NaN stays empty. Few columns have their numbers written in,
/// many have narrow cells and some of their names.
struct HeatMap {
  std::string title;
  std::string label;  ///< what the colours mean
  std::vector<std::string> rows, columns;
  std::vector<std::vector<double>> values;
  double low = -1, high = 1;
  bool diverging = true;     ///< red, white, blue around the middle; otherwise white to blue
  std::string x_label = {};  ///< what the columns are
};

/// A line through a contour plot, or an area of it.
struct Trajectory {
  std::vector<double> x, y;
  std::vector<std::uint32_t> colours;  ///< 0xrrggbb, one per vertex or one for all
  double width = 2;
  bool ends = false;    ///< a dot where it begins, a star where it ends
  bool filled = false;  ///< the area inside
};

struct PlotArrow {
  double x, y, dx, dy;
  std::uint32_t colour;
};

/// A rectangle of the plane: colours and contour lines of a landscape, trajectories over them.
struct ContourPanel {
  std::string title;
  std::size_t landscape = 0;             ///< index into ContourPlot::landscapes
  std::vector<Trajectory> trajectories;  ///< the first lies lowest
  std::vector<PlotArrow> arrows = {};
};

/// Values on a regular grid over the whole window: values[row][column], row 0 at the bottom.
struct ContourLandscape {
  std::vector<std::vector<double>> values;
  std::vector<double> levels;  ///< of the contour lines
};

struct LegendEntry {
  std::string name;
  std::uint32_t colour;
};

/// Panels over the same window, row by row.
struct ContourPlot {
  std::string title;
  Axis x, y;  ///< both ends of both are needed
  std::vector<ContourLandscape> landscapes;
  std::vector<ContourPanel> panels;
  int columns = 1;
  double height = 1;                     ///< of a panel, over its width
  std::vector<LegendEntry> legend = {};  ///< under the panels
};

/// What came of it: the SVG text, or why there is none ("gnuplot is not installed ...").
struct Drawing {
  std::string svg;
  std::string problem;
  int width = 0;  ///< pixels it was made for; 0: as wide as the page
};

Drawing draw(const LinePlot& plot, const std::filesystem::path& base);
Drawing draw(const BarPlot& plot, const std::filesystem::path& base);
Drawing draw(const HeatMap& plot, const std::filesystem::path& base);
Drawing draw(const ContourPlot& plot, const std::filesystem::path& base);

/// Colour i of the palette, "#rrggbb". Eight colours that stay apart for colour-blind eyes,
/// repeated.
std::string_view palette(std::size_t i);

}  // namespace concord::experiments
