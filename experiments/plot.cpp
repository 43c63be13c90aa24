#include <concord/data/files.h>
#include <concord/experiments/plot.h>
#include <concord/tensor/check.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <numbers>
#include <span>

extern char** environ;

namespace concord::experiments {

namespace fs = std::filesystem;

namespace {

// Okabe and Ito's palette, the yellow left out (too light on white) and grey added.
constexpr std::array<std::string_view, 8> kPalette{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                   "#e69f00", "#56b4e9", "#7f3fbf", "#6b6b6b"};

constexpr std::size_t kFewPoints = 12;

/// A text in gnuplot's single quotes.
std::string quote(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "''";
    else
      out += c == '\n' ? ' ' : c;
  }
  return out + "'";
}

std::string range(const Axis& axis) {
  const auto end = [](const std::optional<double>& v) {
    return v ? fmt::format("{}", *v) : std::string("*");
  };
  return fmt::format("[{}:{}]", end(axis.low), end(axis.high));
}

fs::path with(const fs::path& base, const char* extension) { return base.string() + extension; }

std::string preamble(std::string_view title, int width, int height, const fs::path& base) {
  std::string s;
  s += fmt::format(
      "set terminal svg size {},{} dynamic noenhanced font 'sans-serif,13' background '#ffffff'\n",
      width, height);
  s += fmt::format("set output {}\n", quote(with(base.filename(), ".svg").string()));
  s += "set encoding utf8\n";
  s += "set border 3 lc rgb '#999999' lw 1\n";
  s += "set tics nomirror out scale 0.5 textcolor rgb '#333333'\n";
  s += "set grid ytics lt 1 lc rgb '#e6e6e6' lw 1\n";
  // gnuplot centres titles; ours stand above the left end of the axis. An empty title keeps the
  // room.
  s += fmt::format(
      "set title ' '\nset label 1 {} at graph 0, graph 1 left offset character 0, character 1.1 "
      "font "
      "'sans-serif,15' textcolor rgb '#111111'\n",
      quote(title));
  return s;
}

/// The legend stands to the right of the plot: it covers no data, whatever the number of series.
constexpr const char* kLegend =
    "set key outside right top vertical Left reverse samplen 1.5 spacing 1.25 textcolor rgb "
    "'#333333'\n";

std::string axis(char name, const Axis& a) {
  std::string s = fmt::format("set {}label {} textcolor rgb '#333333'\n", name, quote(a.label));
  s += fmt::format("set {}range {}\n", name, range(a));
  if (a.logarithmic) s += fmt::format("set logscale {0}\nset format {0} '%g'\n", name);
  return s;
}

void check_sizes(const char* what, const Series& s, std::size_t expected) {
  if (s.y.size() != expected || (!s.error.empty() && s.error.size() != expected)) {
    throw ValueError(fmt::format("plot: series '{}' has {} values and {} errors, expected {} {}",
                                 s.name, s.y.size(), s.error.size(), expected, what));
  }
}

std::string read_text(const fs::path& path) {
  const std::vector<std::byte> bytes = data::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Runs gnuplot on <base>.gp. Returns what went wrong, or nothing.
std::string run_gnuplot(const fs::path& base) {
  const fs::path log = with(base, ".log");
  const fs::path folder = base.has_parent_path() ? base.parent_path() : fs::path(".");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // From inside the folder: the script names its SVG without a path, so that both may be moved.
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.filename().c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0666);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  // -d: the user's own gnuplot settings do not change the look of a report.
  std::string program = "gnuplot", option = "-d", argument = with(base.filename(), ".gp").string();
  std::array<char*, 4> arguments{program.data(), option.data(), argument.data(), nullptr};
  pid_t child = 0;
  const int code = ::posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (code != 0) {
    std::error_code ignored;
    fs::remove(log, ignored);
    if (code == ENOENT) return "gnuplot is not installed (Debian: apt-get install gnuplot-nox)";
    return fmt::format("gnuplot cannot be started: {}", std::strerror(code));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const std::string words = read_text(log);
  fs::remove(log);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  return fmt::format("gnuplot failed on {}: {}", with(base, ".gp").string(), words);
}

Drawing render(std::string script, const fs::path& base) {
  script += "\n";
  data::write_file(with(base, ".gp"), std::as_bytes(std::span(script)));
  Drawing drawing;
  drawing.problem = run_gnuplot(base);
  if (!drawing.problem.empty()) return drawing;
  const std::string text = read_text(with(base, ".svg"));
  // Inside HTML the <svg> element stands alone, without XML declaration and document type.
  drawing.svg = text.substr(std::min(text.size(), text.find("<svg")));
  return drawing;
}

/// "'#rrggbb'", as gnuplot takes it.
std::string colour_of(std::uint32_t rgb) { return fmt::format("'#{:06x}'", rgb); }

/// Inline data under the name $<name>.
std::string data_block(const std::string& name, const std::string& lines) {
  return fmt::format("${} << END\n{}END\n", name, lines);
}

/// A five-pointed star, `radius` in widths and heights of the window.
std::string star(const ContourPlot& plot, double x, double y, double radius) {
  const double wide = radius * (*plot.x.high - *plot.x.low);
  const double high = radius / plot.height * (*plot.y.high - *plot.y.low);
  std::string lines;
  for (int k = 0; k <= 10; ++k) {
    const double angle = std::numbers::pi * (0.5 + k / 5.0), r = k % 2 == 0 ? 1 : 0.42;
    lines += fmt::format("{:.6g} {:.6g}\n", x + wide * r * std::cos(angle),
                         y + high * r * std::sin(angle));
  }
  return lines;
}

/// The data of a trajectory, as block $<name>, and its part of the plot command.
std::pair<std::string, std::string> trajectory(const ContourPlot& plot, const Trajectory& t,
                                               const std::string& name) {
  const std::size_t n = t.x.size();
  if (n == 0 || t.y.size() != n || (t.colours.size() != n && t.colours.size() != 1)) {
    throw ValueError(fmt::format(
        "plot: a trajectory has {} x values, {} y values and {} colours, expected as many each, or "
        "one colour",
        n, t.y.size(), t.colours.size()));
  }
  std::string lines;
  for (std::size_t i = 0; i < n; ++i) {
    lines +=
        fmt::format("{:.6g} {:.6g} {}\n", t.x[i], t.y[i], t.colours[t.colours.size() == 1 ? 0 : i]);
  }
  std::string blocks = data_block(name, lines), parts;
  if (t.filled) {
    parts = fmt::format("  ${} using 1:2 with filledcurves closed fc rgb {} notitle, \\\n", name,
                        colour_of(t.colours.front()));
  } else {
    parts = fmt::format("  ${} using 1:2:3 with lines lw {} lc rgb variable notitle, \\\n", name,
                        t.width);
  }
  if (!t.ends) return {blocks, parts};
  blocks += data_block(name + "begin", fmt::format("{:.6g} {:.6g}\n", t.x[0], t.y[0]));
  blocks += data_block(name + "star", star(plot, t.x[n - 1], t.y[n - 1], 0.024));
  parts += fmt::format(
      "  ${0}begin with points pt 7 ps 0.6 lc rgb '#222222' notitle, \\\n"
      "  ${0}star with filledcurves closed fc rgb {1} notitle, \\\n"
      "  ${0}star with lines lw 1 lc rgb '#222222' notitle, \\\n",
      name, colour_of(t.colours.back()));
  return {blocks, parts};
}

/// Data of landscape number `index`: its grid and the lines that gnuplot finds in it.
std::string landscape(const ContourPlot& plot, std::size_t index) {
  const ContourLandscape& l = plot.landscapes[index];
  const std::size_t rows = l.values.size(), columns = rows == 0 ? 0 : l.values[0].size();
  if (rows < 2 || columns < 2) {
    throw ValueError(
        fmt::format("plot: a landscape of {} x {} values, expected 2 x 2 or more", rows, columns));
  }
  const auto at = [](const Axis& axis, std::size_t k, std::size_t n) {
    return *axis.low +
           (*axis.high - *axis.low) * static_cast<double>(k) / static_cast<double>(n - 1);
  };
  std::string lines;
  for (std::size_t r = 0; r < rows; ++r) {
    if (l.values[r].size() != columns) {
      throw ValueError(fmt::format("plot: row {} of a landscape has {} values, expected {}", r,
                                   l.values[r].size(), columns));
    }
    for (std::size_t c = 0; c < columns; ++c) {
      lines += fmt::format("{:.5g} {:.5g} {:.5g}\n", at(plot.x, c, columns), at(plot.y, r, rows),
                           l.values[r][c]);
    }
    lines += "\n";  // ends a scan line
  }
  std::string s = data_block(fmt::format("grid{}", index), lines);
  if (l.levels.empty()) return s;
  s += fmt::format("set cntrparam levels discrete {}\n", fmt::join(l.levels, ", "));
  s += fmt::format("set table $lines{0}\nsplot $grid{0} with lines\nunset table\n", index);
  return s;
}

}  // namespace

std::string_view palette(std::size_t i) { return kPalette[i % kPalette.size()]; }

Drawing draw(const LinePlot& plot, const fs::path& base) {
  std::string s =
      preamble(plot.title, 760, 400, base) + kLegend + axis('x', plot.x) + axis('y', plot.y);
  std::string bands, lines;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const Series& series = plot.series[i];
    check_sizes("x values", series, series.x.size());
    s += fmt::format("$data{} << END\n", i);
    for (std::size_t k = 0; k < series.x.size(); ++k) {
      const double error =
          series.error.empty() || !std::isfinite(series.error[k]) ? 0 : series.error[k];
      s += fmt::format("{} {} {} {}\n", series.x[k], series.y[k], series.y[k] - error,
                       series.y[k] + error);
    }
    s += "END\n";
    const std::string_view colour = palette(i);
    if (!series.error.empty()) {
      bands += fmt::format("  $data{} using 1:3:4 with filledcurves lc rgb '#d8{}' notitle, \\\n",
                           i, colour.substr(1));
    }
    // Beyond the palette's length the lines are dashed.
    const std::size_t dash = 1 + i / kPalette.size();
    const char* style = series.marks                    ? "points pt 7 ps 0.7"
                        : series.x.size() <= kFewPoints ? "linespoints pt 7 ps 0.5"
                                                        : "lines";
    lines += fmt::format("  $data{} using 1:2 with {} lw 2 lc rgb '{}' dt {} title {}, \\\n", i,
                         style, colour, dash, quote(series.name));
  }
  s += "plot \\\n" + bands + lines;
  s.resize(s.size() - 4);  // the last ", \" and its line break
  return render(std::move(s), base);
}

Drawing draw(const BarPlot& plot, const fs::path& base) {
  Axis x;
  x.low = -0.6;
  x.high = static_cast<double>(plot.categories.size()) - 0.4;
  Axis y = plot.y;
  std::string s = preamble(plot.title, 760, 380, base) + kLegend + axis('x', x) + axis('y', y);
  s += "set xtics scale 0 (";
  for (std::size_t c = 0; c < plot.categories.size(); ++c) {
    s += fmt::format("{}{} {}", c ? ", " : "", quote(plot.categories[c]), c);
  }
  constexpr std::size_t kMostLevel = 8;  // names that fit beside one another
  s += plot.categories.size() > kMostLevel ? ") rotate by 45 right\n" : ")\n";
  s += "set style fill solid 1 noborder\n";
  const double width = 0.8 / static_cast<double>(std::max<std::size_t>(plot.series.size(), 1));
  std::string parts;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const Series& series = plot.series[i];
    check_sizes("categories", series, plot.categories.size());
    s += fmt::format("$data{} << END\n", i);
    for (std::size_t c = 0; c < plot.categories.size(); ++c) {
      const double at = static_cast<double>(c) - 0.4 + (static_cast<double>(i) + 0.5) * width;
      s += fmt::format("{} {} {}\n", at, series.y[c], series.error.empty() ? NAN : series.error[c]);
    }
    s += "END\n";
    parts += fmt::format("  $data{} using 1:2:({}) with boxes lc rgb '{}' title {}, \\\n", i,
                         0.92 * width, palette(i), quote(series.name));
    if (!series.error.empty()) {
      parts += fmt::format(
          "  $data{} using 1:($2-$3):(0):(2*$3) with vectors heads size graph 0.008,90 lw 1.5 "
          "lc rgb '#222222' notitle, \\\n",
          i);
    }
  }
  s += "plot \\\n" + parts;
  s.resize(s.size() - 4);
  return render(std::move(s), base);
}

Drawing draw(const HeatMap& plot, const fs::path& base) {
  if (plot.values.size() != plot.rows.size()) {
    throw ValueError(fmt::format("plot: a matrix of {} rows has {} row names", plot.values.size(),
                                 plot.rows.size()));
  }
  constexpr std::size_t kMostNumbers = 12, kMostNames = 12;  // columns
  const std::size_t rows = plot.rows.size(), columns = plot.columns.size();
  const bool numbers = columns <= kMostNumbers;
  const int cell_width = numbers ? 46 : std::max(12, 600 / static_cast<int>(columns));
  const int cell_height = rows <= kMostNumbers ? 44 : 20;
  std::size_t longest = 0;
  for (const std::string& name : plot.rows) longest = std::max(longest, name.size());
  const int left = 40 + 9 * static_cast<int>(longest), top = 44, right = 110;  // a letter is 9 wide
  const int bottom = plot.x_label.empty() ? 76 : 64;
  const int width = left + cell_width * static_cast<int>(columns) + right;
  const int height = top + cell_height * static_cast<int>(rows) + bottom;
  std::string s =
      preamble(plot.title, width, height, base) + "unset key\nunset grid\nunset border\n";
  s += fmt::format(
      "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\nset tmargin at screen {:.4f}\n"
      "set bmargin at screen {:.4f}\n",
      1.0 * left / width, 1 - 1.0 * right / width, 1 - 1.0 * top / height, 1.0 * bottom / height);
  const auto names = [](char axis, const std::vector<std::string>& labels, std::size_t every) {
    std::string text;
    for (std::size_t i = 0; i < labels.size(); i += every)
      text += fmt::format("{}{} {}", i ? ", " : "", quote(labels[i]), i);
    return fmt::format("set {}tics scale 0 ({})", axis, text);
  };
  s += names('x', plot.columns, (columns + kMostNames - 1) / kMostNames) +
       (plot.x_label.empty() ? " rotate by 30 right\n" : "\n") + names('y', plot.rows, 1) + "\n";
  if (!plot.x_label.empty())
    s += fmt::format("set xlabel {} textcolor rgb '#333333'\n", quote(plot.x_label));
  s += fmt::format("set xrange [-0.5:{}]\nset yrange [{}:-0.5]\n",
                   static_cast<double>(columns) - 0.5, static_cast<double>(rows) - 0.5);
  const double middle = (plot.low + plot.high) / 2;
  s += plot.diverging
           ? fmt::format("set palette defined ({} '#c0392b', {} '#f7f7f7', {} '#2471a3')\n",
                         plot.low, middle, plot.high)
           : fmt::format("set palette defined ({} '#f7fbff', {} '#6baed6', {} '#08306b')\n",
                         plot.low, middle, plot.high);
  s += fmt::format("set cbrange [{}:{}]\nset cblabel {} textcolor rgb '#333333'\n$data << END\n",
                   plot.low, plot.high, quote(plot.label));
  for (std::size_t r = 0; r < plot.values.size(); ++r) {
    if (plot.values[r].size() != columns) {
      throw ValueError(fmt::format("plot: row {} of a matrix has {} values, expected {}", r,
                                   plot.values[r].size(), columns));
    }
    for (std::size_t c = 0; c < columns; ++c) {
      if (!std::isnan(plot.values[r][c])) s += fmt::format("{} {} {}\n", c, r, plot.values[r][c]);
    }
  }
  s += "END\n";
  s += "plot $data using 1:2:($1-0.5):($1+0.5):($2-0.5):($2+0.5):3 with boxxyerror "
       "fillstyle solid noborder lc palette";
  if (numbers) {
    // Numbers turn white where the colour below them is dark.
    const double half = (plot.high - plot.low) / 2;
    s += fmt::format(
        ", \\\n  $data using 1:2:(sprintf(abs($3) < 10 ? '%.2f' : '%.1f', $3)):({} > {} ? 0xffffff "
        ": 0x222222) with "
        "labels textcolor rgb variable font 'sans-serif,11'",
        plot.diverging ? fmt::format("abs($3 - {})", middle) : fmt::format("$3 - {}", middle),
        plot.diverging ? 0.6 * half : 0.0);
  }
  Drawing drawing = render(std::move(s), base);
  drawing.width = width;
  return drawing;
}

Drawing draw(const ContourPlot& plot, const fs::path& base) {
  if (!plot.x.low || !plot.x.high || !plot.y.low || !plot.y.high || plot.columns < 1) {
    throw ValueError("plot: contours need both ends of both axes and a column or more");
  }
  // All in pixels of the drawing; gnuplot wants shares of it.
  constexpr double kLeft = 68, kRight = 14, kHeading = 34, kTitle = 26, kBottom = 56,
                   kLegendLine = 32;
  constexpr double kBetween = 16, kWidth = 800, kWidest = 420;
  const auto columns = static_cast<std::size_t>(plot.columns);
  const std::size_t rows = (plot.panels.size() + columns - 1) / columns;
  const double wide =
      std::min(kWidest, (kWidth - kLeft - kRight - kBetween * static_cast<double>(columns - 1)) /
                            static_cast<double>(columns));
  const double high = wide * plot.height;
  const double total = kHeading + static_cast<double>(rows) * (kTitle + high) + kBottom +
                       (plot.legend.empty() ? 0 : kLegendLine);

  std::string s = preamble("", static_cast<int>(kWidth), static_cast<int>(total), base);
  s += "unset key\nunset grid\nunset colorbox\nset border 15 lc rgb '#999999' lw 1\n";
  s += axis('x', plot.x) + axis('y', plot.y);
  s += "set contour base\nunset surface\n";
  for (std::size_t i = 0; i < plot.landscapes.size(); ++i) s += landscape(plot, i);
  s += "unset contour\nset palette defined (0 '#c3d3e4', 1 '#fbfcfd')\n";
  // Title and legend belong to the drawing, so that they are written once, with the first panel.
  std::string once = "unset title\n";
  once += fmt::format(
      "set label 1 {} at screen {:.4f}, screen {:.4f} left offset 0,0 font 'sans-serif,15' "
      "textcolor "
      "rgb '#111111'\n",
      quote(plot.title), kLeft / kWidth, 1 - 18 / total);
  double x = kLeft;
  int tag = 10;
  for (const LegendEntry& entry : plot.legend) {
    const double y = 14 / total;
    once += fmt::format(
        "set arrow {} from screen {:.4f}, screen {:.4f} to screen {:.4f}, screen {:.4f} nohead lw "
        "4 lc "
        "rgb {}\n",
        tag, x / kWidth, y, (x + 22) / kWidth, y, colour_of(entry.colour));
    once += fmt::format(
        "set label {} {} at screen {:.4f}, screen {:.4f} left textcolor rgb '#333333'\n", tag,
        quote(entry.name), (x + 29) / kWidth, y);
    x += 29 + 7.2 * static_cast<double>(entry.name.size()) + 24;  // a letter is about 7 pixels wide
    ++tag;
  }
  s += once + "set multiplot\n";
  for (std::size_t i = 0; i < plot.panels.size(); ++i) {
    const ContourPanel& panel = plot.panels[i];
    if (panel.landscape >= plot.landscapes.size()) {
      throw ValueError(fmt::format("plot: panel {} shows landscape {}, there are {}", i,
                                   panel.landscape, plot.landscapes.size()));
    }
    const std::size_t row = i / columns, column = i % columns;
    const double left = kLeft + static_cast<double>(column) * (wide + kBetween);
    const double top = kHeading + static_cast<double>(row) * (kTitle + high) + kTitle;
    s += fmt::format(
        "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\n"
        "set tmargin at screen {:.4f}\nset bmargin at screen {:.4f}\n",
        left / kWidth, (left + wide) / kWidth, 1 - top / total, 1 - (top + high) / total);
    s += fmt::format("set label 2 {} at graph 0, screen {:.4f} left textcolor rgb '#333333'\n",
                     quote(panel.title), 1 - (top - 10) / total);
    // Shared axes have their numbers at the outer panels only.
    const bool outer_x = i + columns >= plot.panels.size(), outer_y = column == 0;
    s += outer_x ? axis('x', plot.x) + "set xlabel offset 0,0.6\nset format x\n"
                 : "set xlabel ''\nset format x ''\n";
    s += outer_y ? axis('y', plot.y) + "set ylabel offset 1.5,0\nset format y\n"
                 : "set ylabel ''\nset format y ''\n";
    std::string parts =
        fmt::format("  $grid{} using 1:2:3 with image notitle, \\\n", panel.landscape);
    if (!plot.landscapes[panel.landscape].levels.empty()) {
      parts += fmt::format("  $lines{} using 1:2 with lines lw 0.7 lc rgb '#8fa3b8' notitle, \\\n",
                           panel.landscape);
    }
    for (std::size_t k = 0; k < panel.trajectories.size(); ++k) {
      const auto [block, part] =
          trajectory(plot, panel.trajectories[k], fmt::format("panel{}way{}x", i, k));
      s += block;
      parts += part;
    }
    for (const PlotArrow& a : panel.arrows) {
      s += fmt::format(
          "set arrow from {:.6g},{:.6g} rto {:.6g},{:.6g} front filled size graph 0.025,22 lw 2 lc "
          "rgb {}\n",
          a.x, a.y, a.dx, a.dy, colour_of(a.colour));
    }
    parts.resize(parts.size() - 4);
    s += "plot \\\n" + parts + "\nunset label\nunset arrow\n";
  }
  s += "unset multiplot\n";
  return render(std::move(s), base);
}

}  // namespace concord::experiments
